"""The compiled part of the outer loop: one scan a chunk."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ._algorithm import Algorithm
from ._cost import Cost, Oracles
from ._history import RESERVED
from ._result import Result, all_finite, first_failure
from ._transformation import Clock
from ._tree import float_dtype

# Records a chunk can hold. All chunks run one program: its length never changes, so a run
# cut in two takes the same steps bit for bit, whatever its length.
RECORDS = 256


class LoopState(eqx.Module):
    """Everything that changes from one outer step to the next."""

    x: PyTree
    hypergradient: PyTree
    outer: PyTree
    step: Int[Array, ""]
    key: PRNGKeyArray


class Carry(eqx.Module):
    """What the compiled loop carries."""

    state: LoopState
    calls: "Tally"
    gradient_norm: Float[Array, ""]
    converged: Bool[Array, ""]
    result: Any

    @classmethod
    def start(cls, state: LoopState) -> "Carry":
        """Before the first step of a chunk."""
        norm = jnp.zeros((), float_dtype(state.x))
        return cls(state, Tally.zero(), norm, jnp.array(False), Result.successful)

    @property
    def running(self) -> Bool[Array, ""]:
        """Whether to take another step."""
        return ~self.converged & (self.result == Result.successful)


class Tally(eqx.Module):
    """Exact sums of costs within a chunk: two 32-bit words a number.

    Ten thousand full-batch steps on MNIST read more rows than an int32 can count.
    """

    low: Cost
    high: Cost

    @classmethod
    def zero(cls) -> "Tally":
        """No calls yet."""
        zeros = [jnp.uint32(0)] * 4
        zero = Cost(*zeros, rows=Oracles(*zeros))
        return cls(zero, zero)

    def add(self, cost: Cost) -> "Tally":
        """The sums with one more cost."""
        low = jax.tree.map(lambda a, b: a + jnp.asarray(b, jnp.uint32), self.low, cost)
        carried = jax.tree.map(
            lambda high, new, old: high + (new < old), self.high, low, self.low
        )
        return Tally(low, carried)

    def on_host(self) -> Cost:
        """The sums as 64-bit NumPy integers."""
        join = lambda lo, hi: np.int64(hi) * 2**32 + np.int64(lo)
        return jax.tree.map(join, self.low, self.high)


def outer_step(problem, algorithm: Algorithm, carry: Carry, tol) -> Carry:
    """One outer step: a hypergradient, then x moves."""
    state = carry.state
    key = jax.random.fold_in(state.key, state.step)
    gradient, estimate, cost, result = algorithm.hypergradient(
        problem, state.x, state.hypergradient, key
    )
    norm = optax.tree.norm(gradient)
    converged = norm <= tol
    update, outer = algorithm.outer.update(
        gradient, state.outer, state.x, Clock(state.step, state.step)
    )
    moved = algorithm.apply(state.x, update)
    x = jax.tree.map(lambda new, old: jnp.where(converged, old, new), moved, state.x)
    finite = all_finite((moved, norm, estimate.value))
    result = first_failure(
        result, Result.where(finite, Result.successful, Result.outer_nonfinite)
    )
    return Carry(
        LoopState(x, estimate, outer, state.step + 1, state.key),
        carry.calls.add(cost),
        norm,
        converged,
        result,
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
            "calls": carry.calls,
            "metrics": measure(metrics, carry.state, taken),
        }
        return carry, row

    return jax.lax.scan(record, Carry.start(state), jnp.arange(RECORDS))


def measure(metrics, state: LoopState, wanted: Bool[Array, ""]) -> dict[str, Any]:
    """The user's metrics, computed only where wanted."""
    if metrics is None:
        return {}
    y = state.hypergradient.y
    shapes = jax.eval_shape(metrics, state.x, y)
    if not isinstance(shapes, dict) or RESERVED & shapes.keys():
        raise ValueError(
            "metrics(x, y) must return a dict of numbers or arrays whose names are not "
            f"columns of the history already; got {shapes}."
        )
    nothing = lambda x, y: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    compute = lambda x, y: jax.tree.map(jnp.asarray, metrics(x, y))
    return jax.lax.cond(wanted, compute, nothing, state.x, y)
