"""The compiled part of the outer loop: one scan a chunk."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._core.cost import Cost
from .._core.growth import Growth, half_the_digits
from .._core.result import Result, finite_or, first_failure
from .._core.tree import float_dtype
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


@eqx.filter_jit
def chunk(problem, algorithm, metrics, tol, every, state, records, stop_at):
    """Up to `records` records, and up to the step `stop_at`: one scan.

    Returns the carry and one row a record; the row's `taken` says whether it took a step.

    The state is not donated: a chunk that fails is taken again, from its start to the step
    before the failure, so that the last finite iterate costs no copy at every step.
    """

    def record(carry, index):
        boundary = (carry.state.step // every + 1) * every
        stop = jnp.where(index < records, jnp.minimum(boundary, stop_at), 0)
        before = carry.state.step
        carry = jax.lax.while_loop(
            lambda c: c.running & (c.state.step < stop),
            lambda c: outer_step(problem, algorithm, c, tol),
            carry,
        )
        taken = carry.state.step > before
        row = {
            "taken": taken,
            "step": carry.state.step,
            "value": carry.state.hypergradient.value,
            "gradient_norm": carry.gradient_norm,
            "residuals": residuals(carry.state),
            "cost": carry.cost,
            "metrics": evaluate(metrics, carry.state, taken),
        }
        return carry, row

    return jax.lax.scan(record, Carry.start(state), jnp.arange(RECORDS, dtype=jnp.int32))


def residuals(state: LoopState) -> dict[str, Array]:
    """The last residual of each level, and the inner step where it is followed."""
    watches = state.hypergradient.watches
    found = {f"{level}_residual": watch.last for level, watch in watches.items()}
    if state.smoothness is not None:
        found["inner_step_size"] = state.smoothness.step_size
    return found


def evaluate(metrics, state: LoopState, wanted: Bool[Array, ""]) -> dict[str, Any]:
    """The user's metrics, computed only where wanted."""
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
    nothing = lambda x, y: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    compute = lambda x, y: jax.tree.map(jnp.asarray, metrics(x, y))
    return jax.lax.cond(wanted, compute, nothing, state.x, y)
