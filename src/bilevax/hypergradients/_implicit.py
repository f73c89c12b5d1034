"""Implicit differentiation: solve the inner problem, then the adjoint system."""

from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Float, Int, PyTree

from .._core.cost import Cost
from .._core.keys import split, split_each
from .._core.result import Result, finite_or, first_failure
from .._rows.batch import full
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, FullBatch, as_sampler
from ..solvers import AbstractSolver, SolverState
from ..solvers._base import Solver, check_solver
from ..solvers._equation import AdjointEquation
from ._stages import AbstractTwoStage, InnerState, no_value_yet

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Order = Literal["y first", "x first"]
else:
    Order = Any


class ImplicitState(eqx.Module):
    """The state of `Implicit`: the warm starts, and the states of solvers and samplers."""

    k: Int[Array, ""]
    inner_state: InnerState
    adjoint: PyTree
    value: Float[Array, ""]
    linear_state: SolverState
    outer_sampler: PyTree
    cross_sampler: PyTree

    @property
    def y(self):
        """The last inner variable."""
        return self.inner_state.y

    @property
    def watches(self):
        """What is known of both residuals."""
        return {
            "inner": self.inner_state.solver.watch,
            "adjoint": self.linear_state.watch,
        }


class Implicit(AbstractTwoStage):
    r"""The implicit estimator $\partial_x f + (\partial_x F)^\top z$.

    One estimate at x is (Arbel and Mairal 2022, Alg. 1; Grazzi et al. 2021, Alg. 1):

    1. `inner` improves y towards $F(x, y) = 0$;
    2. $(\partial_x f, \partial_y f)$ at $(x, y)$, on one outer batch;
    3. `linear` improves z towards $(\partial_y F)^\top z = -\partial_y f$, with y and
       $\partial_y f$ frozen;
    4. $(\partial_x F)^\top z$, on a cross batch, independent of the batches of step 3.

    With both levels warm-started this is AmIGO, with a cold adjoint AID, on a stochastic
    fixed point SID, and with `f = g` the implicit estimator g3 of Ablin et al. (2020).

    **Arguments:**

    - `inner`: the solver of the inner problem.
    - `linear`: the solver of the adjoint system.
    - `warm_start_inner`: start from the last y; otherwise from the initial one.
    - `warm_start_adjoint`: start from the last z; otherwise from zero, whose product is
      not paid for.
    - `order`: `"y first"`: as above. `"x first"`: y is improved after each step of x, so that
      the first estimate is at the initial y, and schedules of the inner solver are read at
      k - 1 (BSA and TTSA, as they were published).
    - `outer_batch_size`, `cross_batch_size`: rows for steps 2 and 4: an int (random
      rows), a sampler, or `None` (all).

    >>> import bilevax as bx
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: (y - 1) ** 2 / 2, inner=lambda x, y: (y - x) ** 2)
    >>> estimator = bx.Implicit(bx.GradientDescent(0.4, 30), bx.CG(1))
    >>> h = bx.hypergradient(problem, estimator, x=3.0, y0=0.0)
    >>> round(float(h.gradient), 5), h.cost.total
    (2.0, 34)
    """

    inner: AbstractSolver
    linear: AbstractSolver
    warm_start_inner: bool
    warm_start_adjoint: bool
    order: str = eqx.field(static=True)
    outer_sampler: AbstractSampler
    cross_sampler: AbstractSampler

    def __init__(
        self,
        inner: Solver,
        linear: Solver,
        *,
        warm_start_inner: bool = True,
        warm_start_adjoint: bool = True,
        order: Order = "y first",
        outer_batch_size: BatchSize = None,
        cross_batch_size: BatchSize = None,
    ):
        self.inner = check_solver("inner", inner)
        self.linear = check_solver("linear", linear)
        self.warm_start_inner = warm_start_inner
        self.warm_start_adjoint = warm_start_adjoint
        if order not in ("y first", "x first"):
            raise ValueError(f"order must be 'y first' or 'x first', got {order!r}.")
        self.order = order
        self.outer_sampler = as_sampler(outer_batch_size)
        self.cross_sampler = as_sampler(cross_batch_size)

    @property
    def random(self):
        own = self.linear.random or self.cross_sampler.random
        return own or super().random

    def init(self, problem, x, y, adjoint=None):
        adjoint = optax.tree.zeros_like(y) if adjoint is None else adjoint
        return ImplicitState(
            k=jnp.int32(0),
            inner_state=self.init_inner(problem, x, y),
            adjoint=adjoint,
            value=no_value_yet(problem, x, y),
            linear_state=self.linear.init(AdjointEquation(problem, x, y, adjoint), adjoint),
            outer_sampler=self.outer_sampler.init(problem.outer_data),
            cross_sampler=self.cross_sampler.init(problem.inner_data),
        )

    def drawn_for(self, problem, state, keys):
        inner_keys, outer_keys, linear_keys, cross_keys = split_each(keys, 4)
        inner, outer = self.drawn_by_stages(problem, state, inner_keys, outer_keys)
        data, cross = problem.inner_data, self.cross_sampler
        return (
            inner,
            outer,
            self.linear.drawn_for(data, state.linear_state, linear_keys),
            cross.drawn_for(data, state.cross_sampler, cross_keys, 1),
        )

    def samplers(self, state):
        return *super().samplers(state), state.linear_state.sampler, state.cross_sampler

    def __call__(self, problem, x, state, key):
        inner_key, outer_key, linear_key, cross_key = split(key, 4, self.random)
        inner, inner_cost, inner_result = self.solve_inner(
            problem, x, state.inner_state, inner_key, state.k, self.order == "x first"
        )
        value, (f_x, f_y), outer_sampler, outer_cost, outer_result = self.evaluate_outer(
            problem, x, inner.y, state.outer_sampler, outer_key
        )
        equation = self._adjoint_system(problem, x, inner.y, f_y)
        z, linear, linear_cost, linear_result = self._solve_adjoint(equation, state, linear_key)
        batch, cross_sampler = self.cross_sampler.draw(
            problem.inner_data, state.cross_sampler, cross_key
        )
        linearization = equation.linearization or problem.linearize(x, inner.y, batch)
        gradient = optax.tree.add(f_x, linearization.cross(z))
        cross_cost = Cost.of("cross", 1, self.cross_sampler.rows(problem.inner_data))

        state = ImplicitState(
            state.k + 1, inner, z, value, linear, outer_sampler, cross_sampler
        )
        cost = inner_cost + outer_cost + linear_cost + cross_cost
        finite = finite_or(gradient, Result.outer_nonfinite)
        return (
            gradient,
            state,
            cost,
            first_failure(inner_result, outer_result, linear_result, finite),
        )

    def _solve_adjoint(self, equation, state, key):
        z, solver = state.adjoint, state.linear_state
        if not self.warm_start_adjoint:
            solver = self.linear.restart(equation, z, solver)
            z = None
        return self.linear.solve_or_keep(equation, z, state.adjoint, solver, key, state.k)

    def shortfall(self, state):
        linear = self.linear.shortfall(state.linear_state, Result.linear_max_steps)
        return first_failure(super().shortfall(state), linear)

    def _adjoint_system(self, problem, x, y, f_y):
        """The adjoint system, linearised once where all its products share one batch."""
        equation = AdjointEquation(problem, x, y, f_y)
        batch, cross = self.linear.sampler, self.cross_sampler
        if isinstance(batch, FullBatch) and isinstance(cross, FullBatch) and batch == cross:
            equation = equation.fix(full(problem.inner_data, batch.block_size))
        return equation
