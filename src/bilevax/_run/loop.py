"""The compiled part of the outer loop: one program for every chunk."""

import dataclasses
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._core.cost import Cost, Packed, Tally, unpacked
from .._core.growth import Growth, half_the_digits
from .._core.keys import fold_in
from .._core.program import program
from .._core.result import Result, finite_or, first_failure
from .._core.tree import float_dtype
from .._core.types import Index, Numbers
from ..algorithms._base import Algorithm
from ..solvers._directions import Clock
from .ahead import Ahead, Supply
from .history import RESERVED
from .side_by_side import SideBySide
from .smoothness import Smoothness
from .steps import with_steps

# Records a chunk can hold. All chunks run one program: its length never changes, so a run
# cut in two takes the same steps bit for bit, whatever its length.
RECORDS = 256


class LoopState(eqx.Module):
    """Everything that changes from one outer step to the next.

    `shown` is what the algorithm's `output` makes of x, `None` where x itself is shown.
    """

    x: PyTree
    shown: PyTree
    hypergradient: PyTree
    outer: PyTree
    smoothness: Smoothness | None
    ascent: Growth
    step: Int[Array, ""]
    key: Array
    key_impl: str = eqx.field(static=True)

    @classmethod
    def start(cls, algorithm: Algorithm, x: PyTree, estimate: PyTree, key: PRNGKeyArray):
        """Before the first outer step. The key is kept as numbers, which can be saved."""
        impl, data = str(jax.random.key_impl(key)), jax.random.key_data(key)
        shown = None if algorithm.output is None else x
        outer, ascent = algorithm.outer.init(x), Growth.none(float_dtype(x))
        return cls(x, shown, estimate, outer, None, ascent, jnp.int32(0), data, impl)

    def with_smoothness(self, smoothness: Smoothness | None) -> "LoopState":
        """The same state, with what is known of the inner smoothness."""
        is_none = lambda node: node is None
        return eqx.tree_at(lambda s: s.smoothness, self, smoothness, is_leaf=is_none)

    @property
    def output(self) -> PyTree:
        """The x that a user sees."""
        return self.x if self.shown is None else self.shown

    def key_of(self, step: int | Int[Array, "..."]) -> Array:
        """The key of an outer step, or of each of many."""
        return fold_in(self.first_key(), step)

    def first_key(self) -> PRNGKeyArray:
        """The key that those of the steps are made from."""
        return jax.random.wrap_key_data(self.key, impl=self.key_impl)

    def step_key(self) -> PRNGKeyArray:
        """The key of the next outer step."""
        return self.key_of(self.step)


class Carry(eqx.Module):
    """What the compiled loop carries; of the cost, what differs from step to step.

    `taken` counts the steps since the chunk began.
    """

    state: LoopState
    ahead: Ahead
    taken: Int[Array, ""]
    cost: Packed
    gradient_norm: Float[Array, ""]
    converged: Bool[Array, ""]
    result: Any

    @classmethod
    def start(
        cls, state: LoopState, ahead: Ahead, cost: Packed, ended: Bool[Array, ""]
    ) -> "Carry":
        """Before the first step of a chunk, of a run that may have ended before."""
        norm = jnp.zeros((), float_dtype(state.x))
        return cls(state, ahead, jnp.int32(0), cost, norm, ended, Result.successful)

    @property
    def running(self) -> Bool[Array, ""]:
        """Whether to take another step."""
        return ~self.converged & (self.result == Result.successful)


class Loop:
    """Outer steps of an algorithm on a problem, in a program that is being traced.

    `side_by_side` says how it is told whether any of several runs goes on.
    """

    def __init__(
        self,
        problem,
        algorithm: Algorithm,
        tol,
        state: LoopState,
        ended: Bool[Array, ""],
        side_by_side: SideBySide | None,
    ):
        self._problem, self._algorithm, self._tol = problem, algorithm, tol
        self._supply = Supply(problem, algorithm.hypergradient, state)
        self._together = side_by_side
        self.tally = Tally()
        self.start = Carry.start(state, self._supply.room(state), self.tally.start, ended)

    def goes_on(self, carry: Carry) -> Bool[Array, ""]:
        """Whether to take another step, for this run or for one beside it."""
        return self._together.any(carry.running) if self._together else carry.running

    def advance(self, carry: Carry, stop: Index, between: Index) -> Carry:
        """Steps up to a step, or to the first that is examined and ends the run.

        What is prepared for many estimates is examined after `between` of them.
        """
        ahead = self._algorithm.hypergradient.ahead
        unfinished = lambda c: self.goes_on(c) & (c.state.step < stop)
        if ahead == 1:
            return jax.lax.while_loop(unfinished, self._one, carry)

        def several(before):
            start = before.state.step
            end = jnp.minimum((start // ahead + 1) * ahead, jnp.minimum(stop, start + between))
            short = lambda c: c.state.step < end
            after = jax.lax.while_loop(short, self._step, self._prepared(before))
            return self._examined(before, after, end % ahead == 0)

        return jax.lax.while_loop(unfinished, several, carry)

    def _one(self, before: Carry) -> Carry:
        """A step and a look at it, on rows that are drawn for many steps where they can be."""
        if self._supply.num:
            ahead = self._supply.ready(before.ahead, before.state)
            before = eqx.tree_at(lambda c: c.ahead, before, ahead)
        return self._examined(before, self._step(before), True)

    def _prepared(self, carry: Carry) -> Carry:
        """The same, with what the next estimates draw where there is nothing left."""
        estimator, state = self._algorithm.hypergradient, carry.state
        due, key = state.step % estimator.ahead == 0, self._key(state)
        new = estimator.ready(self._problem, state.hypergradient, key, due)
        return eqx.tree_at(lambda c: c.state.hypergradient, carry, new)

    def _step(self, carry: Carry) -> Carry:
        """One outer step: a hypergradient, then x moves."""
        problem, algorithm, state = self._problem, self._algorithm, carry.state
        smoothness, following = state.smoothness, Cost()
        if smoothness is not None:
            smoothness, following = smoothness.follow(
                problem, algorithm, state.x, state.hypergradient.y, state.step
            )
            algorithm = with_steps(algorithm, smoothness.step_size)
        gradient, estimate, cost, result = self._estimate(algorithm, carry)
        norm = optax.tree.norm(gradient)
        converged = norm <= self._tol
        update, outer = algorithm.outer.update(
            gradient, state.outer, state.x, Clock(state.step, state.step)
        )
        moved, shown = algorithm.apply(state.x, update), state.shown
        if algorithm.output is not None:
            converged, extra = self._output_converged(algorithm, carry, estimate, converged)
            cost = cost + extra
            shown = algorithm.output(shown, moved, outer, state.step + 1)
        stay = lambda new, old: jnp.where(converged, old, new)
        x, shown, outer = jax.tree.map(
            stay, (moved, shown, outer), (state.x, state.shown, state.outer)
        )
        state = LoopState(
            x,
            shown,
            estimate,
            outer,
            smoothness,
            state.ascent,
            state.step + 1,
            state.key,
            state.key_impl,
        )
        cost = self.tally.add(carry.cost, cost + following)
        return Carry(state, carry.ahead, carry.taken + 1, cost, norm, converged, result)

    def _estimate(self, algorithm: Algorithm, carry: Carry):
        estimator, state = algorithm.hypergradient, carry.state
        if estimator.ahead == 1:
            given = state.hypergradient
            if self._supply.num:
                given = self._supply.given(carry.ahead, state)
            return estimator(self._problem, state.x, given, self._key(state))
        found = estimator.estimate(self._problem, state.x, state.hypergradient)
        return *found, Result.successful

    def _key(self, state: LoopState) -> PRNGKeyArray:
        """The key of a step; where nothing is drawn, one that is there already."""
        random = self._algorithm.hypergradient.random
        return state.step_key() if random else state.first_key()

    def _output_converged(self, algorithm: Algorithm, carry: Carry, estimate, converged):
        """Whether the gradient is small at what is shown too, and what it took to know.

        That is looked at only where it is small at x.
        """
        where = lambda c: (c.state.x, c.state.hypergradient)
        there = eqx.tree_at(where, carry, (carry.state.shown, estimate))

        def look():
            gradient, _, cost, _ = self._estimate(algorithm, there)
            return optax.tree.norm(gradient) <= self._tol, cost.wide()

        return jax.lax.cond(converged, look, lambda: (jnp.array(False), Cost().wide()))

    def _examined(self, before: Carry, after: Carry, counts: Bool[Array, ""] | bool) -> Carry:
        """The steps from `before` to `after`, with what is wrong with them.

        `counts` says whether their growth is one of those that are compared.
        """
        state, norm = after.state, after.gradient_norm
        value, last = state.hypergradient.value, before.state.hypergradient.value
        told = self._algorithm.hypergradient.examine(state.hypergradient)
        finite = finite_or((state.x, norm, value), Result.outer_nonfinite)
        ascent = state.ascent.then(norm, norm, value > last)
        if counts is not True:
            keep = lambda new, old: jnp.where(counts, new, old)
            ascent = jax.tree.map(keep, ascent, state.ascent)
        astray = ascent.runs_away(half_the_digits(norm.dtype))
        diverged = Result.where(astray, Result.outer_diverged, Result.successful)
        state = eqx.tree_at(lambda s: s.ascent, state, ascent)
        result = first_failure(after.result, told, finite, diverged)
        after = Carry(
            state, after.ahead, after.taken, after.cost, norm, after.converged, result
        )
        return self._together.held(before, after) if self._together else after


class Told(eqx.Module):
    """What the host reads of a chunk, all at once.

    - `shortfall`: whether a solver's tolerance was never met so far;
    - `streaks`: for how many steps what is watched has been growing;
    - `rows`: columns with room for `RECORDS` rows, one a record; a row's `taken` says whether
      it was written.
    """

    step: Numbers
    converged: Numbers
    result: Any
    shortfall: Any
    streaks: dict[str, Any]
    rows: dict[str, Any]

    @property
    def cost(self) -> Cost:
        """What the chunk called, on the host: the last record counts it all."""
        return unpacked(self.rows["cost"][np.count_nonzero(self.rows["taken"]) - 1])

    def last_row(self) -> "Told":
        """The same, as if only its last step had been recorded."""
        taken = self.rows["taken"] & (self.rows["step"] == self.step)
        return dataclasses.replace(self, rows=self.rows | {"taken": taken})


@program
def chunk(problem, algorithm, metrics, tol, every, state, records, stop_at, between=1):
    """Up to `records` records, at most `RECORDS`, and up to the step `stop_at`.

    `between` steps are taken between two looks at how an estimator does that draws ahead.
    Returns the state after it, and what the host is told.

    The state is not donated: a chunk that fails is taken again, from its start to the step
    before the failure, so that the last finite iterate costs no copy at every step.
    """
    loop = Loop(problem, algorithm, tol, state, jnp.array(False), None)
    return records_of(loop, algorithm, metrics, every, records, stop_at, between)


def records_of(loop: Loop, algorithm, metrics, every, records, stop_at, between):
    """The same, of a loop that is there."""
    first = loop.start.state.step

    def record(at):
        index, carry, rows = at
        boundary = (carry.state.step // every + 1) * every
        stop = jnp.minimum(boundary, stop_at)
        taken = carry.running
        carry = loop.advance(carry, stop, between)
        write = lambda column, new: jax.lax.dynamic_update_index_in_dim(column, new, index, 0)
        cost = loop.tally.total(carry.cost, carry.taken)
        new = row(metrics, carry, cost) | {"taken": taken, "step": first + carry.taken}
        return index + 1, carry, jax.tree.map(write, rows, new)

    def wanted(at):
        index, carry, _ = at
        return loop.goes_on(carry) & (index < records) & (carry.state.step < stop_at)

    shapes = jax.eval_shape(lambda carry: row(metrics, carry, loop.tally.start), loop.start)
    room = lambda shape: jnp.zeros((RECORDS, *shape.shape), shape.dtype)
    # As many turns as records are wanted: rows that nobody reads would take a chunk of one
    # step ten times as long.
    _, carry, rows = jax.lax.while_loop(
        wanted, record, (jnp.int32(0), loop.start, jax.tree.map(room, shapes))
    )
    return carry.state, Told(
        first + carry.taken,
        carry.converged,
        carry.result,
        algorithm.hypergradient.shortfall(carry.state.hypergradient),
        streaks_of(carry.state),
        rows,
    )


def row(metrics, carry: Carry, cost: Packed) -> dict[str, Any]:
    """What is recorded of a step, where a chunk has cost so much."""
    return {
        "taken": carry.running,
        "step": carry.state.step,
        "value": carry.state.hypergradient.value,
        "gradient_norm": carry.gradient_norm,
        "residuals": residuals(carry.state),
        "cost": cost,
        "metrics": evaluate(metrics, carry.state),
    }


def residuals(state: LoopState) -> dict[str, Array]:
    """The last residual of each level, and the inner step where it is followed."""
    watches = state.hypergradient.watches
    found = {f"{level}_residual": watch.last for level, watch in watches.items()}
    if state.smoothness is not None:
        found["inner_step_size"] = state.smoothness.step_size
    return found


def streaks_of(state: LoopState) -> dict[str, Any]:
    """For how many steps what is watched has been growing."""
    watches = state.hypergradient.watches
    counts = {level: watch.solves.count for level, watch in watches.items()}
    return counts | {"outer": state.ascent.count}


def evaluate(metrics, state: LoopState) -> dict[str, Any]:
    """The user's metrics, of x and y, and of z where they ask for three."""
    if metrics is None:
        return {}
    estimate = state.hypergradient
    variables = (state.output, estimate.y, estimate.adjoint)[: _num_variables(metrics)]
    shapes = jax.eval_shape(metrics, *variables)
    arrays = isinstance(shapes, dict) and all(hasattr(s, "shape") for s in shapes.values())
    if not arrays or RESERVED & shapes.keys():
        raise ValueError(
            "metrics must return a dict of numbers or arrays whose names are not columns of "
            f"the history already; got {shapes}."
        )
    return jax.tree.map(jnp.asarray, metrics(*variables))


def _num_variables(metrics) -> int:
    """Three where a function cannot be called with two, else two."""
    try:
        signature = inspect.signature(metrics)
    except (TypeError, ValueError):
        return 2
    try:
        signature.bind(None, None)
    except TypeError:
        return 3
    return 2
