"""Linear solvers on the inner level: one step that solves a quadratic inner problem."""

from typing import Any, TypeGuard

import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, PyTree

from .._core.cost import Cost
from .._core.result import Result, first_failure
from .._core.tree import norm
from .._rows.sampler import without_drawn
from ._equation import ANY, AdjointEquation, InnerEquation


def is_inner(equation: Any) -> TypeGuard[InnerEquation]:
    """Whether a linear solver may take this inner equation, as that of a quadratic."""
    return isinstance(equation, InnerEquation) and equation.symmetric


def at_start(equation: InnerEquation, u: PyTree) -> AdjointEquation:
    """A system like those that will be solved, which costs nothing."""
    return AdjointEquation(equation.problem, equation.x, u, optax.tree.zeros_like(u))


def solve_quadratic(solver, equation: InnerEquation, u: PyTree, state, key, k):
    r"""Solves $H d = -F(u)$ and goes to u + d, the solution where g is quadratic in y.

    There $F(u + d) = F(u) + H d$. Where they differ by more than half the digits of F(u), and
    than rounding at the size of $H (u + d)$, g is not quadratic. That takes two residuals
    and two products more than the linear solve.
    """
    # Rows drawn ahead are those of a linear solve by itself, which reads a key of its own.
    state = state.with_sampler(without_drawn(state.sampler))
    batch, _ = solver.sampler.draw(equation.data, state.sampler, key)
    residual = equation.residual(u, batch)
    system = equation.linearized(u, residual, batch)
    d, state, cost, result = solver.solve(system, None, state, key, k)
    y = optax.tree.add(u, d)
    reached = equation.residual(y, batch)
    quadratic = _is_quadratic(system, y, d, reached)
    told = Result.where(quadratic, Result.successful, Result.not_quadratic)
    rows = solver.sampler.rows(equation.data)
    cost = cost + Cost.of("inner_gradient", 2, rows) + Cost.of("hvp", 2, rows)
    # The residuals of this level, in place of those of the linear system.
    watch = state.watch.begin().see(norm(residual)).see(norm(reached))
    state = state.with_watch(watch)
    return y, state, cost, first_failure(_at_this_level(result), told)


def _is_quadratic(system: AdjointEquation, y, d, reached) -> Bool[Array, ""]:
    product = system.operator(ANY)
    deviation = norm(optax.tree.sub(reached, optax.tree.add(product(d), system.offset)))
    eps = float(jnp.finfo(deviation.dtype).eps)
    allowed = eps**0.5 * norm(system.offset) + _ROUNDINGS * eps * norm(product(y))
    return deviation <= allowed


def _at_this_level(result):
    """What became infinite is y."""
    nonfinite = result == Result.adjoint_nonfinite
    return Result.where(nonfinite, Result.inner_nonfinite, result)


# Of so many unit roundoffs, next to the sizes of what is summed, a residual may be wrong.
_ROUNDINGS = 1000
