"""Solution maps that JAX can differentiate."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .._core.result import Result, first_failure
from .._core.tree import negative
from .._core.types import Function, Key
from .._rows.batch import full
from .._rows.samplers import common_block_size
from .._run.check import check_domain
from .._run.means import check_means
from ..problems._base import AbstractProblem
from ..solvers._base import Solver, check_solver
from ..solvers._equation import InnerEquation
from .lift import Parts
from .linear import default_linear, solve_linear
from .problem import DATA_TWICE, from_objective, lift, start

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Solved = Function | AbstractProblem
else:
    Solved = Any


def argmin(
    objective: Solved,
    y0: PyTree,
    inner: Solver,
    *,
    linear: Solver | None = None,
    data: PyTree = None,
    key: Key | None = None,
) -> Callable[[PyTree], PyTree]:
    r"""The solution map $x \mapsto y^*(x)$, with implicit derivatives of every order.

    $\frac{dy^*}{dx} = -(\partial_y F)^{-1} \partial_x F$ at the approximate solution, with
    $F = \nabla_y g$, or $F = y - \phi$ for a `bx.FixedPointProblem` (Grazzi et al. 2021,
    Eq. 4; Arbel and Mairal 2022, Prop. 1).

    **Arguments:**

    - `objective`: $g$, called as `objective(x, y)` or, with `data`,
      `objective(x, y, batch)`; or a problem, whose inner level is solved. x and y may be
      Equinox modules.
    - `y0`: where the solver starts, a constant under differentiation.
    - `inner`: the solver of the inner problem.
    - `linear`: the solver of the linear systems: `bx.Direct()` by default for a y of up to
      200 numbers and for maps that are not symmetric, conjugate gradient otherwise.
    - `data`, `key`: as in `bx.minimum`; what it says of globals holds here too.

    **Returns:** a function of x that gives a y like `y0`. It works under `jit`, `vmap`,
    forward mode and reverse mode, and its derivatives with respect to values that
    `objective` has closed over are right too. Derivatives with respect to `data` or step
    sizes raise `TypeError`. Where a solver fails, the call raises with the text of its
    `bx.Result`.

    >>> import bilevax as bx, jax
    >>> solution = bx.argmin(
    ...     lambda x, y: (y - x**2) ** 2, 0.0, bx.GradientDescent(0.4, 30))
    >>> [round(float(f(3.0)), 4) for f in (solution, jax.grad(solution), jax.jacfwd(solution))]
    [9.0, 6.0, 6.0]
    """
    given = isinstance(objective, AbstractProblem)
    if given and data is not None:
        raise TypeError(DATA_TWICE)
    problem: Any = objective if given else from_objective(objective, data)
    y = start(y0)
    inner = check_solver("inner", inner)
    if linear is None:
        linear = default_linear(y.real, problem.symmetric)
    return _SolutionMap(problem, inner, check_solver("linear", linear), y, key)


class _SolutionMap:
    """x -> y*(x), by a solver of the inner problem and one of linear systems.

    Its two programs, for the solution and for the derivative in one direction, are cached as
    those of a value function are (`minimum.py`).
    """

    def __init__(self, problem: Any, inner, linear, y: Parts, key: Key | None):
        self._problem, self._solvers, self._y, self._key = problem, (inner, linear), y, key
        self._arrays, static = eqx.partition(self._solvers, eqx.is_array)
        block_size = common_block_size(self._solvers)
        self._solve = eqx.filter_jit(partial(_solve, static))
        self._push = eqx.filter_jit(partial(_push, static, block_size))

    def __call__(self, x: PyTree) -> PyTree:
        check_domain(self._problem, x)
        y = self._y
        check_means(self._problem, self._solvers, x, y.join(y.real), levels=("inner",))
        lifted, lifted_x, constants = lift(self._problem, x, y, self._arrays, self._key)
        differentiable = jax.custom_jvp(partial(self._solve, lifted))

        def rule(primals, tangents):
            lifted_x, constants = primals
            check_domain(self._problem, lifted_x[0])
            # Differentiable itself, for derivatives of every order.
            solved = differentiable(*primals)
            return solved, self._push(lifted, lifted_x, constants, solved, tangents[0])

        differentiable.defjvp(rule)
        return y.join(differentiable(lifted_x, constants))


def _solve(static, lifted, x, constants):
    """y at x; raises where the solver fails."""
    problem, (inner, _) = lifted.problem_and(static, x, constants)
    equation, y = InnerEquation(problem, x), constants.y
    state = inner.init(equation, y)
    y, state, _, result = inner.solve_or_keep(equation, y, y, state, constants.key, 0)
    result = first_failure(result, inner.shortfall(state, Result.inner_max_steps))
    return result.error_if(y, result != Result.successful)


def _push(static, block_size, lifted, x, constants, y, tangent):
    """dy for dx: the linear system that F(x, y(x)) = 0 implies."""
    problem, (_, linear) = lifted.problem_and(static, x, constants)
    batch = full(constants.data, block_size)
    residual = lambda x, y: problem.residual(x, y, batch)
    _, right = jax.jvp(lambda x: residual(x, y), (x,), (tangent,))
    _, product = jax.linearize(lambda y: residual(x, y), y)
    # As one vector: where x moves some leaves only, the others' zeros are no obstacle.
    right, unravel = ravel_pytree(negative(right))
    flat_product = lambda v: ravel_pytree(product(unravel(v)))[0]
    system = partial(solve_linear, problem, x, y, linear, constants.key)
    return unravel(
        jax.lax.custom_linear_solve(
            flat_product,
            right,
            system,
            transpose_solve=system,
            symmetric=problem.symmetric,
        )
    )
