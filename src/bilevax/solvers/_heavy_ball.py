"""Polyak's heavy ball."""

import jax.numpy as jnp
import optax.tree

from .._core.numbers import as_positive
from .._core.tree import axpy, scale
from .._core.types import Number, NumSteps, Scalar, StepSize
from .._rows.samplers import BatchSize
from ..schedules import as_step_size, evaluate
from ._descent import Descent
from ._directions import AbstractDirection


class Polyak(AbstractDirection):
    """The update minus a step times direction plus a share of the last update."""

    step_size: StepSize
    strong_convexity: Scalar

    def init(self, params):
        return optax.tree.zeros_like(params)

    def update(self, direction, state, params, clock):
        del params
        high = 1 / jnp.asarray(evaluate(self.step_size, *clock))
        low = jnp.asarray(self.strong_convexity, high.dtype)
        step = 4 / (jnp.sqrt(high) + jnp.sqrt(low)) ** 2
        ends = (1 - jnp.sqrt(step * low)) ** 2, (1 - jnp.sqrt(step * high)) ** 2
        update = axpy(jnp.maximum(*ends), state, scale(-step, direction))
        return update, update


def HeavyBall(  # noqa: N802 - constructs a solver
    step_size: StepSize = None,
    num_steps: NumSteps = 10,
    *,
    strong_convexity: Number,
    batch_size: BatchSize = None,
    tol: Number | None = None,
    must_converge: bool | None = None,
) -> Descent:
    r"""The heavy ball: $u^{i+1} = u^i - \lambda R(u^i) + \theta (u^i - u^{i-1})$.

    With $L = 1 / \alpha$ and the strong convexity $\mu$,
    $\lambda = 4 / (\sqrt L + \sqrt\mu)^2$ and
    $\theta = \max((1 - \sqrt{\lambda\mu})^2, (1 - \sqrt{\lambda L})^2)$ (Polyak 1964): on a
    quadratic the error contracts as
    $((\sqrt\kappa - 1) / (\sqrt\kappa + 1))^i$. The last update goes on from one solve to the
    next, unless a solve starts cold.

    **Arguments:**

    - `step_size`: $\alpha$, 1 / smoothness; `None` measures it.
    - `strong_convexity`: $\mu$, a lower bound on the smallest eigenvalue of the inner Hessian.
    - `num_steps`, `batch_size`, `tol`, `must_converge`: as in `bx.Descent`.

    >>> import bilevax as bx
    >>> solver = bx.HeavyBall(0.1, 50, strong_convexity=0.01)
    """
    direction = Polyak(
        as_step_size(step_size), as_positive("strong_convexity", strong_convexity)
    )
    return Descent(
        direction,
        num_steps,
        batch_size=batch_size,
        tol=tol,
        must_converge=must_converge,
    )
