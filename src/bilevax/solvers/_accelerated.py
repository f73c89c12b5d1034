"""Nesterov's accelerated gradient descent."""

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Float, PyTree

from .._core.numbers import as_positive
from .._core.tree import axpy
from .._core.types import Number, NumSteps, Scalar, StepSize
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, as_sampler
from ..schedules import as_step_size
from ._base import checked_num_steps
from ._directions import SteepestDescent
from ._equation import as_linear
from ._tolerance import AbstractTolerantSolver, as_tolerance


class _Momentum(eqx.Module):
    extrapolated: PyTree  # w, where the next residual is taken
    weight: Float[Array, ""]  # t of the rule without strong convexity


class AcceleratedGradientDescent(AbstractTolerantSolver):
    r"""Nesterov's method: $u^{i+1} = w^i - \alpha R(w^i)$,
    $w^{i+1} = u^{i+1} + q_i (u^{i+1} - u^i)$, from $w^0 = u^0$ at every solve.

    With known strong convexity $\mu$, $q = (1 - \sqrt{\alpha\mu}) / (1 + \sqrt{\alpha\mu})$,
    which is $(\sqrt\kappa - 1) / (\sqrt\kappa + 1)$ at $\alpha = 1/L$ (Arbel and Mairal
    2022, A.5.1); the error contracts as $(1 - 1/\sqrt\kappa)^T$. Without,
    $q_i = (t_i - 1) / t_{i+1}$ with $t_{i+1} = (1 + \sqrt{1 + 4 t_i^2}) / 2$ (Beck and
    Teboulle 2009).

    **Arguments:**

    - `step_size`: at most 1 / smoothness; `None` measures it.
    - `num_steps`, `batch_size`, `tol`, `must_converge`: as in `bx.Descent`; `tol` looks at
      $R(w)$.
    - `strong_convexity`: a lower bound on the smallest eigenvalue of the inner Hessian.

    >>> import bilevax as bx
    >>> solver = bx.AcceleratedGradientDescent(0.1, 50, strong_convexity=0.01)
    """

    direction: SteepestDescent
    num_steps: NumSteps
    strong_convexity: Scalar | None
    sampler: AbstractSampler
    tol: Scalar | None
    must_converge: bool | None = eqx.field(static=True)

    def __init__(
        self,
        step_size: StepSize = None,
        num_steps: NumSteps = 10,
        *,
        strong_convexity: Number | None = None,
        batch_size: BatchSize = None,
        tol: Number | None = None,
        must_converge: bool | None = None,
    ):
        self.direction = SteepestDescent(as_step_size(step_size))
        self.num_steps = checked_num_steps(num_steps)
        mu = strong_convexity
        self.strong_convexity = None if mu is None else as_positive("strong_convexity", mu)
        self.sampler = as_sampler(batch_size)
        self.tol = as_tolerance(tol, self.sampler)
        self.must_converge = must_converge

    def init_method(self, equation, u):
        return _Momentum(u, jnp.ones((), optax.tree.dtype(u)))

    def begin(self, equation, u, state):
        start = as_linear(equation).zeros() if u is None else u
        state = state.with_method(self.init_method(equation, start))
        return super().begin(equation, u, state)

    def step(self, equation, u, state, batch):
        w, weight = state.method.extrapolated, state.method.weight
        residual = equation.residual(w, batch)
        update, _ = self.direction.update(residual, (), w, state.clock)
        new = optax.tree.add(w, update)
        next_weight = (1 + jnp.sqrt(1 + 4 * weight**2)) / 2
        momentum = (weight - 1) / next_weight
        if self.strong_convexity is not None:
            root = jnp.sqrt(self.direction.value(state.clock) * self.strong_convexity)
            momentum = (1 - root) / (1 + root)
        extrapolated = axpy(momentum, optax.tree.sub(new, u), new)
        method = _Momentum(extrapolated, next_weight)
        return new, state.tick(method, self.seen(residual))
