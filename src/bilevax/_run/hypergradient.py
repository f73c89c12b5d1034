"""One hypergradient, once."""

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from .._core.cost import Cost, on_host
from .._core.program import program
from .._core.result import Result, first_failure
from .._core.tree import maker
from .._core.types import Key
from ..hypergradients._base import Estimator, last_residuals
from ..problems._base import Problem
from .arguments import checked, initial_estimate
from .smoothness import measure_smoothness
from .steps import has_steps_to_measure, with_steps


class Hypergradient(eqx.Module):
    """An estimate of the gradient of x -> f(x, y*(x)), and how it was obtained.

    - `value`: $f(x, y)$ at the approximate y, on the outer batch.
    - `gradient`: the estimate, of x's structure.
    - `y`, `adjoint`: the approximate inner and adjoint solutions.
    - `inner_residual`, `adjoint_residual`: the norms of the last residual that each solver
      computed, infinite where it computes none; `None` without an adjoint.
    - `cost`: a `bx.Cost`; `result`: a `bx.Result`.
    - `state`: the estimator's state, from which the next estimate is warm-started.
    """

    value: Float[Array, ""]
    gradient: PyTree
    y: PyTree
    adjoint: PyTree
    inner_residual: Float[Array, ""]
    adjoint_residual: Float[Array, ""] | None
    cost: Cost
    result: Result
    state: PyTree


def hypergradient(
    problem: Problem,
    estimator: Estimator,
    x: PyTree,
    y0: PyTree,
    *,
    key: Key | None = None,
    adjoint0: PyTree | None = None,
) -> Hypergradient:
    r"""Estimates the gradient of $x \mapsto f(x, y^*(x))$ at one x.

    **Arguments:**

    - `problem`: a `bx.BilevelProblem`, `bx.FixedPointProblem` or `bx.MinProblem`.
    - `estimator`: how, such as `bx.Implicit(inner, linear)`.
    - `x`, `y0`: the outer variable, and where the inner solver starts.
    - `key`: a `jax.random.key`; needed if the estimator draws rows.
    - `adjoint0`: where the adjoint solver starts, zero by default.

    **Returns:** a `bx.Hypergradient` with `value`, `gradient`, `y`, `adjoint`, `cost`,
    `result` and `state`.

    Works under `jit` and `vmap`. A failure of a solver does not raise: look at `result`,
    or print `bx.Result[h.result]`.

    >>> import bilevax as bx
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: y**2 / 2, inner=lambda x, y: (y - 2 * x) ** 2)
    >>> h = bx.hypergradient(
    ...     problem, bx.Implicit(bx.GradientDescent(0.4, 30), bx.CG(1)), x=1.0, y0=0.0)
    >>> float(h.gradient.round(4)), h.cost.inner_gradient, h.result == bx.Result.successful
    (4.0, 30, Array(True, dtype=bool))
    """
    x, y, adjoint, key = checked(problem, estimator, {"x": x, "y0": y0}, adjoint0, key)
    measuring = None
    if has_steps_to_measure(estimator):
        smoothness, measuring = measure_smoothness(problem, estimator, x, y)
        estimator = with_steps(estimator, smoothness.step_size)
    gradient, state, cost, result = _estimate(problem, estimator, x, y, adjoint, key)
    found = state.value, gradient, state.y, state.adjoint, *last_residuals(state)
    cost = on_host(cost if measuring is None else cost + measuring)
    return _made(*found, cost, result, state)


_made = maker(Hypergradient)


@program
def _estimate(problem, estimator, x, y, adjoint, key):
    state = initial_estimate(problem, estimator, x, y, adjoint)
    gradient, state, cost, result = estimator(problem, x, state, key)
    cost = cost + estimator.init_cost(problem)
    return gradient, state, cost, first_failure(result, estimator.shortfall(state))
