"""The linear systems of implicit derivatives."""

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .._core.result import Result, first_failure
from .._core.tree import float_dtype
from ..problems._base import Linearization
from ..solvers import CG, AbstractSolver, Direct
from ..solvers._equation import AdjointEquation

# Up to this many numbers a dense factorisation is cheaper than anything else.
_SMALL = 200


def default_linear(y: PyTree, symmetric: bool) -> AbstractSolver:
    """The solver where none was given."""
    size = optax.tree.size(y)
    if size <= _SMALL or not symmetric:
        return Direct()
    # Nobody chose its accuracy, so it is held to one.
    eps = float(jnp.finfo(float_dtype(y)).eps)
    return CG(100 * size, tol=eps**0.75, must_converge=True)


def solve_linear(problem, x, y, linear: AbstractSolver, key, product, right):
    """The solution u of product(u) = right, in one vector, by a solver of adjoint systems."""
    linearization = Linearization(product, product)
    flat_y, unravel = ravel_pytree(y)
    flat_gauge = None
    if problem.gauge is not None:
        flat_gauge = lambda v: ravel_pytree(problem.gauge(unravel(v)))[0]
    flat_problem = eqx.tree_at(
        lambda p: p.gauge, problem, flat_gauge, is_leaf=lambda leaf: leaf is None
    )
    equation = AdjointEquation(flat_problem, x, flat_y, -right, linearization)
    state = linear.init(equation, right)
    u, state, _, result = linear.solve_or_keep(equation, None, right, state, key, 0)
    result = first_failure(result, linear.shortfall(state, Result.linear_max_steps))
    return result.error_if(u, result != Result.successful)
