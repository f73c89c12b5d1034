"""The only outer loop."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ._algorithm import Algorithm
from ._cost import Cost
from ._history import History, columns_of
from ._hypergradient import checked, initial_state
from ._loop import RECORDS, LoopState, chunk
from ._problem import AbstractProblem
from ._progress import Reporter
from ._result import Result, first_failure

# How long a chunk should last: long enough to hide its dispatch, short enough to watch.
_SECONDS = 0.5


class State(eqx.Module):
    """Everything a run needs to go on bit for bit: pass it back to `bx.minimize`."""

    loop: LoopState
    cost: Cost


class Solution(eqx.Module):
    """What `bx.minimize` returns.

    - `x`, `y`, `adjoint`: the last outer, inner and adjoint variables. y and the adjoint
      were computed at the x before the last step; where the run stopped by `tol` they
      belong to `x` itself.
    - `history`: a dict of arrays with one row per record. `step` counts the steps taken;
      `value` and `gradient_norm` are those of the step's hypergradient, taken before x
      moved; `inner_gradient`, `hvp`, `cross`, `outer_gradient` and `calls` are the oracle
      calls so far, `rows` the rows they read; `seconds` is the time since the call of
      `minimize`, measured at the end of each compiled chunk and interpolated within; the
      entries of `metrics` are those of the variables after the step.
    - `cost`: a `bx.Cost`, over the whole run including what a resumed run did before.
    - `result`: a `bx.Result`; `bx.Result[solution.result]` says what went wrong.
    - `state`: pass it to `bx.minimize` to go on.
    """

    x: PyTree
    y: PyTree
    adjoint: PyTree
    history: dict[str, Any]
    cost: Cost
    result: Any
    state: State

    @classmethod
    def of(cls, state: State, history: History, result) -> "Solution":
        """The solution so far."""
        loop = state.loop
        estimate = loop.hypergradient
        columns = history.columns()
        return cls(loop.x, estimate.y, estimate.adjoint, columns, state.cost, result, state)


def minimize(
    problem: AbstractProblem,
    algorithm: Algorithm,
    x0: PyTree = None,
    y0: PyTree = None,
    num_steps: int = 100,
    key: PRNGKeyArray | None = None,
    adjoint0: PyTree | None = None,
    tol: float | None = None,
    record_every: int = 1,
    metrics: Callable[[PyTree, PyTree], dict[str, Any]] | None = None,
    callback: Callable[[Solution], bool | None] | None = None,
    progress: bool = False,
    state: State | None = None,
) -> Solution:
    r"""Minimises $f(x, y^*(x))$ over x with any algorithm.

    **Arguments:**

    - `problem`: a `bx.BilevelProblem`, `bx.FixedPointProblem` or `bx.MinProblem`.
    - `algorithm`: a preset of `bx.algorithms`, or a `bx.Algorithm` of your own.
    - `x0`, `y0`: where the outer and the inner variable start.
    - `num_steps`: outer steps; with `state`, further ones.
    - `key`: a `jax.random.key`; needed if the algorithm draws rows. The same key gives
      the same answer.
    - `adjoint0`: where the adjoint starts, zero by default.
    - `tol`: stop when the hypergradient's norm is at most this. x is then not moved.
    - `record_every`: outer steps between two rows of the history.
    - `metrics`: `metrics(x, y)` returns a dict of numbers or small arrays to record; it
      is compiled into the loop. Give it data as a `jax.tree_util.Partial`.
    - `callback`: called with the `Solution` so far at every record; if it returns true,
      the run stops. Each record is then a chunk of its own.
    - `progress`: whether to print how the run gets on.
    - `state`: `solution.state` of an earlier run of the same problem and algorithm. `x0`,
      `y0`, `adjoint0` and `key` are then ignored, and the run goes on as if it had never
      stopped, bit for bit.

    **Returns:** a `bx.Solution`.

    A failure of the computation (a diverging step, an indefinite Hessian) does not raise:
    the run stops, `result` says why, and the last finite iterate is returned. Faulty
    arguments raise `TypeError` or `ValueError`.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: jnp.sum((y - 1) ** 2) / 2,
    ...     inner=lambda x, y: jnp.sum((y - x) ** 2) / 2)
    >>> algorithm = bx.algorithms.amigo_cg(
    ...     inner_step_size=0.5, inner_steps=5, adjoint_steps=2, outer_step_size=0.5)
    >>> solution = bx.minimize(problem, algorithm, jnp.zeros(2), jnp.zeros(2), num_steps=40)
    >>> solution.x.round(4).tolist(), solution.cost.inner_gradient
    ([1.0, 1.0], 200)
    """
    _check_counts(num_steps=num_steps, record_every=record_every)
    if state is None:
        variables = {"x0": x0, "y0": y0}
        x, y, adjoint, key = checked(problem, algorithm.hypergradient, variables, adjoint0, key)
        state = State(_start(problem, algorithm, x, y, adjoint, key), Cost())

    first, result, history = int(state.loop.step), Result.successful, History()
    run = _Run(problem, algorithm, metrics, -np.inf if tol is None else tol, record_every)
    with Reporter(progress, num_steps) as report:
        chunks = run.chunks(state, first + num_steps, callback is not None)
        for state, result, rows in chunks:
            history.append(rows)
            report(int(state.loop.step) - first, history)
            if callback is not None and callback(Solution.of(state, history, result)):
                result = first_failure(result, Result.stopped)
                break
    return Solution.of(state, history, result)


@eqx.filter_jit
def _start(problem, algorithm, x, y, adjoint, key) -> LoopState:
    estimate = initial_state(problem, algorithm.hypergradient, x, y, adjoint)
    return LoopState(x, estimate, algorithm.outer.init(x), jax.numpy.int32(0), key)


class _Run:
    """A problem, an algorithm and how to watch them, taken one chunk at a time."""

    def __init__(self, problem, algorithm, metrics, tol: float, every: int):
        self._program = partial(chunk, problem, algorithm, metrics)
        self._tol, self._every = tol, every
        self._started = time.perf_counter()

    def chunks(
        self, state: State, last: int, one_by_one: bool
    ) -> Iterator[tuple[State, Any, dict[str, np.ndarray]]]:
        """The state after each chunk, the result so far, and new rows of the history."""
        step, length, ended = int(state.loop.step), 1, False
        records = 1 if one_by_one else RECORDS
        while step < last and not ended:
            began = time.perf_counter()
            boundary = (step // self._every + 1) * self._every
            stop_at = min(boundary if one_by_one else step + length, last)
            carry, rows = self._advance(state.loop, records, stop_at)
            calls, result = carry.calls.on_host(), carry.result
            failed = bool(result != Result.successful)
            if failed:
                carry, rows = self._advance(state.loop, records, int(carry.state.step) - 1)

            step = int(carry.state.step)
            ended = failed or bool(carry.converged)
            if step == last and not ended and np.isfinite(self._tol):
                result = Result.max_steps_reached
            recorded = rows["taken"] & (rows["step"] % self._every == 0)
            recorded |= rows["taken"] & (rows["step"] == step) & (ended or step == last)
            now = time.perf_counter()
            seconds = (began - self._started, now - self._started)
            columns = columns_of(rows, recorded, state.cost, seconds)
            cost = jax.tree.map(lambda before, new: before + int(new), state.cost, calls)
            state = State(carry.state, cost)
            yield state, result, columns
            length = _next_length(length, now - began)

    def _advance(self, loop: LoopState, records: int, stop_at: int):
        # As arrays, so that other numbers are no other program.
        tol = np.asarray(self._tol, float)
        every, records, stop_at = np.asarray([self._every, records, stop_at], np.int32)
        carry, rows = self._program(tol, every, loop, records, stop_at)
        # Only what the host reads leaves the device.
        fetched = jax.device_get((carry.calls, carry.state.step, carry.converged, rows))
        return carry, fetched[-1]


def _next_length(length: int, seconds: float) -> int:
    """Steps of the next chunk, from those of the last one and how long they took."""
    if seconds < _SECONDS / 2:
        return 4 * length
    return max(1, length // 2) if seconds > 2 * _SECONDS else length


def _check_counts(**counts) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer):
            raise TypeError(f"{name} must be an int, got {count!r}.")
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")
