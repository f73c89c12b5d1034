"""What every estimator does first: improve y, then evaluate the outer objective."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from .._core.cost import Cost
from .._core.keys import split_each
from .._core.result import Result, finite_or
from .._rows.batch import full
from .._rows.sampler import AbstractSampler
from ..problems._base import AbstractProblem
from ..solvers import AbstractSolver, SolverState
from ..solvers._equation import InnerEquation
from ._base import AbstractHypergradient


class InnerState(eqx.Module):
    """The last y, the first one where solves start cold, and the solver's state."""

    y: PyTree
    initial: PyTree
    solver: SolverState


class TwoStageState(eqx.Module):
    """The state of an estimator without an adjoint."""

    k: Int[Array, ""]
    inner_state: InnerState
    value: Float[Array, ""]
    outer_sampler: PyTree
    adjoint: None = None

    @property
    def y(self):
        """The last inner variable."""
        return self.inner_state.y

    @property
    def watches(self):
        """What is known of the inner residual."""
        return {"inner": self.inner_state.solver.watch}


class AbstractTwoStage(AbstractHypergradient):
    """An estimator that first improves y with an inner solver."""

    inner: eqx.AbstractVar[AbstractSolver]
    warm_start_inner: eqx.AbstractVar[bool]
    outer_sampler: eqx.AbstractVar[AbstractSampler]

    @property
    def random(self):
        return self.inner.random or self.outer_sampler.random

    def init(self, problem, x, y, adjoint=None) -> Any:
        del adjoint
        inner_state = self.init_inner(problem, x, y)
        sampler = self.outer_sampler.init(problem.outer_data)
        return TwoStageState(jnp.int32(0), inner_state, no_value_yet(problem, x, y), sampler)

    def drawn_for(self, problem, state, keys) -> Any:
        inner_keys, outer_keys = split_each(keys, 2)
        return self.drawn_by_stages(problem, state, inner_keys, outer_keys)

    def drawn_by_stages(self, problem: AbstractProblem, state: Any, inner_keys, outer_keys):
        """What inner solves and outer gradients will draw."""
        solver, outer = state.inner_state.solver, self.outer_sampler
        return (
            self.inner.drawn_for(problem.inner_data, solver, inner_keys),
            outer.drawn_for(problem.outer_data, state.outer_sampler, outer_keys, 1),
        )

    def samplers(self, state):
        return state.inner_state.solver.sampler, state.outer_sampler

    def shortfall(self, state):
        return self.inner.shortfall(state.inner_state.solver, Result.inner_max_steps)

    def init_inner(self, problem: AbstractProblem, x: PyTree, y: PyTree) -> InnerState:
        """The state before the first inner solve."""
        initial = None if self.warm_start_inner else y
        return InnerState(y, initial, self.inner.init(InnerEquation(problem, x), y))

    def start_inner(self, problem: AbstractProblem, x: PyTree, state: InnerState):
        """Where the next inner solve starts: y and the solver's state, warm or cold."""
        if self.warm_start_inner:
            return state.y, state.solver
        solver = self.inner.restart(InnerEquation(problem, x), state.initial, state.solver)
        return state.initial, solver

    def solve_inner(
        self,
        problem: AbstractProblem,
        x: PyTree,
        state: InnerState,
        key: PRNGKeyArray,
        k,
        x_first: bool = False,
    ):
        """The improved y, in its state; the cost and the result.

        Where x moves first, y follows it: at k = 0 it stays, and later solves are those of
        k - 1.
        """
        start, solver = self.start_inner(problem, x, state)
        of, skipped = (jnp.maximum(k - 1, 0), k == 0) if x_first else (k, False)
        y, solver, cost, result = self.inner.solve_or_keep(
            InnerEquation(problem, x), start, state.y, solver, key, of, skipped
        )
        return InnerState(y, state.initial, solver), cost, result

    def evaluate_outer(
        self, problem: AbstractProblem, x: PyTree, y: PyTree, sampler, key: PRNGKeyArray
    ):
        """The outer value, its two gradients, the sampler's state, the cost, the result."""
        batch, sampler = self.outer_sampler.draw(problem.outer_data, sampler, key)
        value, gradients = problem.value_and_gradients(x, y, batch)
        rows = self.outer_sampler.rows(problem.outer_data)
        result = finite_or((value, gradients), Result.outer_nonfinite)
        return value, gradients, sampler, Cost.of("outer_gradient", 1, rows), result


def no_value_yet(problem: AbstractProblem, x: PyTree, y: PyTree) -> Float[Array, ""]:
    """Infinity in the dtype of the outer objective: the value before the first estimate."""
    batch = full(problem.outer_data, None)
    value, _ = jax.eval_shape(lambda: problem.value_and_gradients(x, y, batch))
    return jnp.full((), jnp.inf, value.dtype)
