"""The linear systems of implicit derivatives."""

import optax.tree
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .._core.result import Result, first_failure
from ..problems._base import Linearization
from ..solvers import CG, AbstractSolver, Direct
from ..solvers._default import is_small, unit_roundoff
from ..solvers._equation import AdjointEquation


def default_linear(y: PyTree, symmetric: bool) -> AbstractSolver:
    """The solver where none was given."""
    if is_small(y) or not symmetric:
        return Direct()
    # Nobody chose its accuracy, so it is held to one.
    tol = unit_roundoff(y) ** 0.75
    return CG(100 * optax.tree.size(y), tol=tol, must_converge=True)


def solve_linear(problem, x, y, linear: AbstractSolver, key, product, right):
    """The solution u of product(u) = right, in one vector, by a solver of adjoint systems.

    The solver sees y's own structure, as its preconditioner and the problem's gauge do.
    """
    _, unravel = ravel_pytree(y)
    like_y = lambda u: unravel(product(ravel_pytree(u)[0]))
    equation = AdjointEquation(problem, x, y, unravel(-right), Linearization(like_y, like_y))
    start = equation.zeros()
    state = linear.init(equation, start)
    u, state, _, result = linear.solve_or_keep(equation, None, start, state, key, 0)
    result = first_failure(result, linear.shortfall(state, Result.linear_max_steps))
    return result.error_if(ravel_pytree(u)[0], result != Result.successful)
