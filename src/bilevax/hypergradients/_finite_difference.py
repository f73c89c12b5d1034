"""The response of y to x by finite differences of the inner solver."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jax.flatten_util import ravel_pytree

from .._core.cost import Tally, wide
from .._core.keys import split
from .._core.numbers import as_count, as_positive
from .._core.result import Result, finite_or, first_failure
from .._core.tree import axpy
from .._core.types import Count, Number, Scalar
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, as_sampler
from ..solvers import AbstractSolver
from ..solvers._base import Solver, check_solver
from ..solvers._equation import InnerEquation
from ._stages import AbstractTwoStage, InnerState, TwoStageState


class FiniteDifference(AbstractTwoStage):
    r"""The response of y to x by finite differences of the inner solver.

    $\psi = \partial_x f
    + \frac1Q \sum_{j \le Q} \langle (y_j - y_t)/m, \partial_y f \rangle \, u_j$, where $y_t$
    is what the inner solver makes of y at x, and $y_j$ what it makes of the same y, on the same
    rows, at $x + m u_j$ with a normal $u_j$: the Jacobian of the solver's iterations in random
    directions, without second derivatives. Its variance is of the order of the numbers of x
    over Q, its bias of the order of m.

    It costs 1 + Q inner solves and one outer gradient; the solves at different $u_j$ come one
    after another, so that memory is that of one.

    **Arguments:**

    - `inner`: the inner solver.
    - `num_directions`: Q.
    - `distance`: m.
    - `warm_start_inner`, `outer_batch_size`: as in `bx.Analytic`.

    >>> import bilevax as bx, jax
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: (y - 1) ** 2 / 2, inner=lambda x, y: (y - x) ** 2)
    >>> estimator = bx.FiniteDifference(bx.GradientDescent(0.4, 20), num_directions=500)
    >>> h = bx.hypergradient(problem, estimator, 3.0, 0.0, key=jax.random.key(0))
    >>> bool(abs(h.gradient - 2) < 0.3), h.cost.hvp
    (True, 0)

    **Reference:** D. Sow, K. Ji and Y. Liang, On the convergence theory for Hessian-free
    bilevel algorithms, NeurIPS 2022.
    """

    inner: AbstractSolver
    num_directions: int = eqx.field(static=True)
    distance: Scalar
    warm_start_inner: bool
    outer_sampler: AbstractSampler

    def __init__(
        self,
        inner: Solver,
        *,
        num_directions: Count = 10,
        distance: Number = 0.1,
        warm_start_inner: bool = True,
        outer_batch_size: BatchSize = None,
    ):
        self.inner = check_solver("inner", inner)
        self.num_directions = as_count("num_directions", num_directions)
        self.distance = as_positive("distance", distance)
        self.warm_start_inner = warm_start_inner
        self.outer_sampler = as_sampler(outer_batch_size)

    @property
    def random(self):
        return True

    def __call__(self, problem, x, state, key):
        inner_key, outer_key, own_key = split(key, 3)
        start, solver = self.start_inner(problem, x, state.inner_state)

        def solve(x):
            return self.inner.solve_or_keep(
                InnerEquation(problem, x), start, state.y, solver, inner_key, state.k
            )

        y, solved, inner_cost, result = solve(x)
        value, (f_x, f_y), sampler, outer_cost, outer_result = self.evaluate_outer(
            problem, x, y, state.outer_sampler, outer_key
        )
        response, cost = self._response(solve, x, y, f_y, own_key)
        gradient = optax.tree.add(f_x, response)
        inner = InnerState(y, state.inner_state.initial, solved)
        state = TwoStageState(state.k + 1, inner, value, sampler)
        finite = finite_or(gradient, Result.outer_nonfinite)
        total = inner_cost + outer_cost + cost
        return gradient, state, total, first_failure(result, outer_result, finite)

    def _response(self, solve, x, y, f_y, key):
        """The mean of what y moves along the outer gradient, times the direction of x."""
        flat, unravel = ravel_pytree(x)
        num, distance = self.num_directions, jnp.asarray(self.distance, flat.dtype)
        directions = jax.random.normal(key, (num, flat.size), flat.dtype)
        tally = Tally()

        def add(j, carry):
            total, cost = carry
            moved, _, spent, _ = solve(axpy(distance, unravel(directions[j]), x))
            along = optax.tree.vdot(optax.tree.sub(moved, y), f_y)
            share = jnp.asarray(along, flat.dtype) / (num * distance)
            return axpy(share, directions[j], total), tally.add(cost, spent)

        start = jnp.zeros_like(flat), tally.start
        total, cost = jax.lax.fori_loop(0, num, add, start)
        return unravel(total), wide(tally.total(cost, jnp.uint32(num)))
