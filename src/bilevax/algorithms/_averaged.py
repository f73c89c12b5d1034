"""Averages: of the iterates x, as what is shown; of directions, as an outer step."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import PyTree

from .._core.tree import axpy
from .._core.types import Scalar, Weight
from ..schedules import as_weight, evaluate, polynomial
from ..solvers._directions import AbstractDirection, Clock


class Averaged(eqx.Module):
    r"""$\bar x_k = (1 - \delta_k) \bar x_{k-1} + \delta_k x_k$."""

    weight: Scalar | Callable

    def __call__(self, shown: PyTree, x: PyTree, outer_state: Any, k: Any) -> PyTree:
        """The average with one iterate more, the k-th."""
        del outer_state
        change = optax.tree.sub(x, shown)
        return axpy(evaluate(self.weight, k, k), change, shown)


def averaged(weight: Weight | None = None) -> Averaged:
    r"""An `output` for `bx.Algorithm`: the average $\bar x_k$ of the iterates.

    $\bar x_k = (1 - \delta_k) \bar x_{k-1} + \delta_k x_k$ from $\bar x_0 = x_0$ (Arbel and
    Mairal 2022, section 4). Averages of projected iterates stay in a convex set.

    **Arguments:**

    - `weight`: $\delta$ in (0, 1], or a schedule of k; by default $1 / (k + 1)$, the mean of
      all iterates.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: jnp.sum(y**2) / 2, inner=lambda x, y: jnp.sum((y - x) ** 2) / 2)
    >>> estimator = bx.Implicit(bx.GradientDescent(1.0, 1), bx.CG(1))
    >>> algorithm = bx.Algorithm(estimator, 0.5, output=bx.averaged())
    >>> solution = bx.minimize(problem, algorithm, 4.0, 0.0, num_steps=2)
    >>> round(float(solution.x), 4), float(solution.state.loop.x)
    (2.3333, 1.0)
    """
    return Averaged(polynomial(1.0, 1.0) if weight is None else as_weight("weight", weight))


class MovingAverage(AbstractDirection):
    r"""An outer step along an exponential average of the directions before the present one.

    $u_k = \mathrm{step}(h_k)$ and then $h_{k+1} = (1 - \theta_k) h_k + \theta_k D_k$, from
    $h_0 = 0$.
    """

    step: AbstractDirection
    weight: Scalar | Callable

    def init(self, params):
        zero = optax.tree.zeros_like(params)
        return zero, self.step.init(params)

    def update(self, direction, state, params, clock: Clock):
        average, inner = state
        update, inner = self.step.update(average, inner, params, clock)
        weight = jnp.asarray(evaluate(self.weight, *clock))
        average = axpy(weight, optax.tree.sub(direction, average), average)
        return update, (average, inner)
