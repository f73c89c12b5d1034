"""Descent along the residual, with any step-size rule or optax transformation."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
import optax.tree

from .._core.types import Number, NumSteps, Scalar, StepSize
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, as_sampler
from ..schedules import constant_step, is_measured
from ._base import checked_num_steps
from ._directions import (
    AbstractDirection,
    Objective,
    Searched,
    Searching,
    SteepestDescent,
    Step,
    as_transformation,
)
from ._followed import FollowedDescent
from ._tolerance import AbstractTolerantSolver, as_tolerance


class Descent(AbstractTolerantSolver):
    r"""Steps along an optax transformation of the residual.

    On the inner problem the residual is $\nabla_y g$ and this is any first-order method;
    on the adjoint system it is $H z + \partial_y f$, the gradient of
    $z^\top H z / 2 + z^\top \partial_y f$.

    **Arguments:**

    - `transformation`: an optax transformation. Its state (momentum, moments, counts)
      goes on from one outer step to the next, unless the solve starts cold. One that asks for
      values, such as `optax.lbfgs()` and what has a line search, gets `value`, `grad` and
      `value_fn` of the objective (on the adjoint system of the quadratic), on the batch of
      the step. Beside the gradient of each step, what its state calls
      `num_linesearch_steps` is counted, each one value with its gradient.
    - `num_steps`: iterations of one solve, an int or a function of the outer step k.
    - `batch_size`: rows a step sees: an int (random rows), a sampler, or `None` (all).
    - `tol`: stop after the first step whose residual had at most this norm. The number of
      steps made is then in the cost, and the norm in the solver state's `residual`.
    - `must_converge`: whether a solve that has not met `tol` after `num_steps` has failed.
      By default it has in `bx.argmin` and `bx.minimum`; elsewhere the run goes on, and its
      result says so if no solve ever met it.

    >>> import bilevax as bx, optax
    >>> bx.Descent(optax.adam(0.1), num_steps=5).num_steps
    5
    >>> lbfgs = bx.Descent(optax.lbfgs(), num_steps=20)
    """

    transformation: AbstractDirection
    num_steps: NumSteps
    sampler: AbstractSampler
    tol: Scalar | None
    must_converge: bool | None = eqx.field(static=True)

    def __init__(
        self,
        transformation: Step,
        num_steps: NumSteps,
        *,
        batch_size: BatchSize = None,
        tol: Number | None = None,
        must_converge: bool | None = None,
    ):
        self.num_steps = checked_num_steps(num_steps)
        self.sampler = as_sampler(batch_size)
        direction = as_transformation(transformation)
        step: Any = direction.step_size if isinstance(direction, SteepestDescent) else None
        follows = is_measured(step) and self.sampler.deterministic
        self.transformation = FollowedDescent(step) if follows else direction
        self.tol = as_tolerance(tol, self.sampler)
        self.must_converge = must_converge

    def init_method(self, equation, u):
        return self.transformation.init(u)

    @property
    def stops_early(self):
        # A line search is a loop whose length nobody knows.
        return super().stops_early or isinstance(self.transformation, Searching)

    def begin(self, equation, u, state):
        if isinstance(self.transformation, Searching):
            zero = jnp.zeros_like(state.method.evaluations)
            state = state.with_method(Searched(state.method.state, zero))
        return super().begin(equation, u, state)

    def step(self, equation, u, state, batch):
        if isinstance(self.transformation, Searching):
            return self._search(self.transformation, equation, u, state, batch)
        direction = equation.residual(u, batch)
        update, method = self.transformation.update(direction, state.method, u, state.clock)
        residual = self.transformation.residual(direction, method)
        return optax.apply_updates(u, update), state.tick(method, self.seen(residual))

    def _search(self, transformation: Searching, equation, u, state, batch):
        """A step by a transformation that asks for the objective."""
        value, residual = equation.value_and_residual(u, batch)
        objective = Objective(value, equation.objective(batch))
        update, method = transformation.search(residual, state.method, u, objective)
        return optax.apply_updates(u, update), state.tick(method, self.seen(residual))

    def extra_calls(self, state):
        searched = isinstance(state.method, Searched)
        return state.method.evaluations if searched else super().extra_calls(state)

    @property
    def plain_step(self):
        direction = self.transformation
        if not isinstance(direction, SteepestDescent | FollowedDescent):
            return None
        return constant_step(direction.step_size)


def GradientDescent(  # noqa: N802 - constructs a solver
    step_size: StepSize = None,
    num_steps: NumSteps = 10,
    *,
    batch_size: BatchSize = None,
    tol: Number | None = None,
    must_converge: bool | None = None,
) -> Descent:
    r"""Gradient descent: $u^{i+1} = u^i - \alpha_i R(u^i)$.

    The inner solver of Arbel and Mairal (2022, Alg. 2) and, on the adjoint system, their
    Alg. 3; with `batch_size`, stochastic gradient descent with fresh rows at every step.

    **Arguments:**

    - `step_size`: a float, a schedule of `bx.schedules` or an optax schedule. Below
      2 / smoothness of the inner problem it converges. `None` measures the smoothness
      where a run starts, takes 1 / smoothness and follows it (see `bx.curvature`); a step on
      all rows that turns out to be too long is taken back.
    - `num_steps`, `batch_size`, `tol`, `must_converge`: as in `bx.Descent`.

    >>> import bilevax as bx
    >>> solver = bx.GradientDescent(step_size=0.1, num_steps=10)
    >>> bx.GradientDescent(step_size=0.1, num_steps=0)
    Traceback (most recent call last):
    ...
    ValueError: num_steps must be at least 1, got 0: every solve takes a step.
    """
    return Descent(
        as_transformation(step_size),
        num_steps,
        batch_size=batch_size,
        tol=tol,
        must_converge=must_converge,
    )


def SGD(  # noqa: N802
    step_size: StepSize, num_steps: NumSteps, batch_size: BatchSize
) -> Descent:
    r"""Stochastic gradient descent: `GradientDescent` on fresh rows at every step.

    **Arguments:**

    - `step_size`: a float or a schedule, whose index restarts at every solve
      (`schedule.outer()` reads it at the outer step instead).
    - `num_steps`: steps of one solve.
    - `batch_size`: an int (random rows with replacement) or a sampler.

    >>> import bilevax as bx
    >>> solver = bx.SGD(bx.schedules.polynomial(1.0, 0.5), num_steps=100, batch_size=1)
    """
    if batch_size is None:
        raise TypeError("SGD needs a batch_size; bx.GradientDescent is on all rows.")
    return GradientDescent(step_size, num_steps, batch_size=batch_size)
