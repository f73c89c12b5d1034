"""The compiled part of the outer loop: one program for every chunk."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._core.cost import Cost, packed, unpacked
from .._core.growth import Growth, half_the_digits
from .._core.program import program
from .._core.result import Result, finite_or, first_failure
from .._core.tree import float_dtype
from .._core.types import Numbers
from ..algorithms._base import Algorithm
from ..solvers._directions import Clock
from .history import RESERVED
from .smoothness import Smoothness
from .steps import with_steps

# Records a chunk can hold. All chunks run one program: its length never changes, so a run
# cut in two takes the same steps bit for bit, whatever its length.
RECORDS = 256
# Numbers the key of the followed smoothness, out of reach of an estimator's splits.
_FOLLOWING = 2**32 - 1


class LoopState(eqx.Module):
    """Everything that changes from one outer step to the next."""

    x: PyTree
    hypergradient: PyTree
    outer: PyTree
    smoothness: Smoothness | None
    ascent: Growth
    step: Int[Array, ""]
    key: Array
    key_impl: str = eqx.field(static=True)

    @classmethod
    def start(cls, x: PyTree, estimate: PyTree, outer: PyTree, key: PRNGKeyArray):
        """Before the first outer step. The key is kept as numbers, which can be saved."""
        impl, data = str(jax.random.key_impl(key)), jax.random.key_data(key)
        ascent = Growth.none(float_dtype(x))
        return cls(x, estimate, outer, None, ascent, jnp.int32(0), data, impl)

    def with_smoothness(self, smoothness: Smoothness | None) -> "LoopState":
        """The same state, with what is known of the inner smoothness."""
        is_none = lambda node: node is None
        return eqx.tree_at(lambda s: s.smoothness, self, smoothness, is_leaf=is_none)

    def step_key(self) -> PRNGKeyArray:
        """The key of the next outer step."""
        key = jax.random.wrap_key_data(self.key, impl=self.key_impl)
        return jax.random.fold_in(key, self.step)


class Carry(eqx.Module):
    """What the compiled loop carries."""

    state: LoopState
    cost: Cost
    gradient_norm: Float[Array, ""]
    converged: Bool[Array, ""]
    result: Any

    @classmethod
    def start(cls, state: LoopState) -> "Carry":
        """Before the first step of a chunk."""
        norm = jnp.zeros((), float_dtype(state.x))
        return cls(state, Cost().wide(), norm, jnp.array(False), Result.successful)

    @property
    def running(self) -> Bool[Array, ""]:
        """Whether to take another step."""
        return ~self.converged & (self.result == Result.successful)


def outer_step(problem, algorithm: Algorithm, carry: Carry, tol) -> Carry:
    """One outer step: a hypergradient, then x moves."""
    state, key = carry.state, carry.state.step_key()
    smoothness, following = state.smoothness, Cost()
    if smoothness is not None:
        own_key = jax.random.fold_in(key, _FOLLOWING)
        smoothness, following = smoothness.follow(
            problem, algorithm, state.x, state.hypergradient.y, own_key
        )
        algorithm = with_steps(algorithm, smoothness.step_size)
    gradient, estimate, cost, result = algorithm.hypergradient(
        problem, state.x, state.hypergradient, key
    )
    norm = optax.tree.norm(gradient)
    converged = norm <= tol
    update, outer = algorithm.outer.update(
        gradient, state.outer, state.x, Clock(state.step, state.step)
    )
    moved = algorithm.apply(state.x, update)
    stay = lambda new, old: jnp.where(converged, old, new)
    x, outer = jax.tree.map(stay, (moved, outer), (state.x, state.outer))
    finite = finite_or((moved, norm, estimate.value), Result.outer_nonfinite)
    ascent = state.ascent.then(norm, norm, estimate.value > state.hypergradient.value)
    astray = ascent.runs_away(half_the_digits(norm.dtype))
    diverged = Result.where(astray, Result.outer_diverged, Result.successful)
    state = LoopState(
        x,
        estimate,
        outer,
        smoothness,
        ascent,
        state.step + 1,
        state.key,
        state.key_impl,
    )
    return Carry(
        state,
        carry.cost + cost.wide() + following.wide(),
        norm,
        converged,
        first_failure(result, finite, diverged),
    )


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
def chunk(problem, algorithm, metrics, tol, every, state, records, stop_at):
    """Up to `records` records, at most `RECORDS`, and up to the step `stop_at`.

    Returns the state after it, and what the host is told.

    The state is not donated: a chunk that fails is taken again, from its start to the step
    before the failure, so that the last finite iterate costs no copy at every step.
    """

    def record(at):
        index, carry, rows = at
        boundary = (carry.state.step // every + 1) * every
        stop = jnp.minimum(boundary, stop_at)
        carry = jax.lax.while_loop(
            lambda c: c.running & (c.state.step < stop),
            lambda c: outer_step(problem, algorithm, c, tol),
            carry,
        )
        write = lambda column, new: jax.lax.dynamic_update_index_in_dim(column, new, index, 0)
        return index + 1, carry, jax.tree.map(write, rows, row(metrics, carry))

    def wanted(at):
        index, carry, _ = at
        return carry.running & (index < records) & (carry.state.step < stop_at)

    start = Carry.start(state)
    shapes = jax.eval_shape(lambda carry: row(metrics, carry), start)
    room = lambda shape: jnp.zeros((RECORDS, *shape.shape), shape.dtype)
    # As many turns as records are wanted: rows that nobody reads would take a chunk of one
    # step ten times as long.
    _, carry, rows = jax.lax.while_loop(
        wanted, record, (jnp.int32(0), start, jax.tree.map(room, shapes))
    )
    return carry.state, Told(
        carry.state.step,
        carry.converged,
        carry.result,
        algorithm.hypergradient.shortfall(carry.state.hypergradient),
        streaks_of(carry.state),
        rows,
    )


def row(metrics, carry: Carry) -> dict[str, Any]:
    """What is recorded of a step."""
    return {
        "taken": jnp.array(True),
        "step": carry.state.step,
        "value": carry.state.hypergradient.value,
        "gradient_norm": carry.gradient_norm,
        "residuals": residuals(carry.state),
        "cost": packed(carry.cost),
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
    """The user's metrics."""
    if metrics is None:
        return {}
    y = state.hypergradient.y
    shapes = jax.eval_shape(metrics, state.x, y)
    arrays = isinstance(shapes, dict) and all(hasattr(s, "shape") for s in shapes.values())
    if not arrays or RESERVED & shapes.keys():
        raise ValueError(
            "metrics(x, y) must return a dict of numbers or arrays whose names are not "
            f"columns of the history already; got {shapes}."
        )
    return jax.tree.map(jnp.asarray, metrics(state.x, y))
