"""The only outer loop."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PyTree

from ._algorithm import Algorithm
from ._cost import Cost
from ._curvature import check_steps, has_steps_to_measure, measure_step, with_steps
from ._history import History, columns_of
from ._hypergradient import checked, initial_estimate
from ._loop import RECORDS, LoopState, chunk
from ._numbers import as_count, as_nonnegative
from ._problem import AbstractProblem
from ._progress import Reporter
from ._result import Result, first_failure
from ._resume import check_state
from ._types import AnyAlgorithm, Count, Key, Number, Problem

# How long a chunk should last: long enough to hide its dispatch, short enough to watch.
_SECONDS = 0.5


class State(eqx.Module):
    """Everything a run needs to go on bit for bit: pass it back to `bx.minimize`."""

    loop: LoopState
    cost: Cost
    step_size: Array | None = None  # what was measured for steps that were left out


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
    problem: Problem,
    algorithm: AnyAlgorithm,
    x0: PyTree = None,
    y0: PyTree = None,
    *,
    num_steps: Count = 100,
    key: Key | None = None,
    adjoint0: PyTree | None = None,
    tol: Number | None = None,
    record_every: Count = 1,
    metrics: Callable[[PyTree, PyTree], dict[str, Any]] | None = None,
    callback: Callable[[Solution], bool | None] | None = None,
    progress: bool = False,
    state: Any = None,
    measure_every: Count | None = None,
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
      stopped, bit for bit. (After a stop by `tol`, x has not moved in the last step and
      the hypergradient there is estimated again; after a failure, the failed step is
      taken again. The cost counts what was called.)
    - `measure_every`: outer steps between two measurements of the inner smoothness, for
      steps that were left out; by default it is measured once, where the run starts.

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
    num_steps = as_count("num_steps", num_steps)
    record_every = as_count("record_every", record_every)
    if measure_every is not None:
        measure_every = as_count("measure_every", measure_every, remedy=_NEVER)
    stop_at = -np.inf if tol is None else as_nonnegative("tol", tol)
    if not isinstance(algorithm, Algorithm):
        raise TypeError(_NO_ALGORITHM.format(type(algorithm).__name__))
    if not isinstance(state, State | None):
        raise TypeError("state must be `solution.state` of an earlier run.")
    if state is None:
        state = initial_state(problem, algorithm, x0, y0, key=key, adjoint0=adjoint0)
    else:
        needs_measured = has_steps_to_measure(algorithm)
        check_state(problem, algorithm, state, needs_measured=needs_measured)

    first, result, history = int(state.loop.step), Result.successful, History()
    run = _Run(problem, algorithm, metrics, stop_at, record_every, measure_every)
    with Reporter(progress, num_steps) as report:
        chunks = run.chunks(state, first + num_steps, callback is not None)
        for state, result, rows in chunks:
            history.append(rows)
            report(int(state.loop.step) - first, history)
            recorded = len(rows["step"]) > 0
            if callback and recorded and callback(Solution.of(state, history, result)):
                result = first_failure(result, Result.stopped)
                break
    if bool((result == Result.inner_nonfinite) | (result == Result.adjoint_nonfinite)):
        loop = state.loop
        used = with_steps(algorithm, state.step_size)
        check_steps(problem, used.hypergradient, loop.x, loop.hypergradient.y)
    return Solution.of(state, history, result)


def initial_state(
    problem: Problem,
    algorithm: AnyAlgorithm,
    x0: PyTree,
    y0: PyTree,
    *,
    key: Key | None = None,
    adjoint0: PyTree | None = None,
) -> State:
    """The state before the first step, from which `bx.minimize(..., state=)` starts.

    It has the structure of every later state, so that a saved one can be read back. Step
    sizes that were left out are measured: `step_size` holds what was found.

    **Arguments:** as in `bx.minimize`.

    >>> import bilevax as bx, equinox as eqx, io
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2 + y**2)
    >>> algorithm = bx.algorithms.amigo_cg(outer_step_size=0.5)
    >>> solution = bx.minimize(problem, algorithm, 1.0, 1.0, num_steps=5)
    >>> file = io.BytesIO()
    >>> eqx.tree_serialise_leaves(file, solution.state); _ = file.seek(0)
    >>> like = bx.initial_state(problem, algorithm, 0.0, 0.0)
    >>> state = eqx.tree_deserialise_leaves(file, like)
    >>> int(bx.minimize(problem, algorithm, num_steps=5, state=state).state.loop.step)
    10
    """
    variables = {"x0": x0, "y0": y0}
    x, y, adjoint, key = checked(problem, algorithm.hypergradient, variables, adjoint0, key)
    state = State(_start(problem, algorithm, x, y, adjoint, key), Cost())
    if has_steps_to_measure(algorithm):
        state = _measured(problem, algorithm, state)
    return state


def _measured(problem: AbstractProblem, algorithm: Algorithm, state: State) -> State:
    """The state with the step measured at its own x and y."""
    loop = state.loop
    step_size, cost = measure_step(problem, algorithm, loop.x, loop.hypergradient.y)
    return State(loop, state.cost + cost.on_host(), step_size)


@eqx.filter_jit
def _start(problem, algorithm, x, y, adjoint, key) -> LoopState:
    estimate = initial_estimate(problem, algorithm.hypergradient, x, y, adjoint)
    return LoopState.start(x, estimate, algorithm.outer.init(x), key)


class _Run:
    """A problem, an algorithm and how to watch them, taken one chunk at a time."""

    def __init__(self, problem, algorithm, metrics, tol, every, measure_every):
        self._problem, self._algorithm, self._metrics = problem, algorithm, metrics
        self._tol, self._every = tol, every
        measures = measure_every is not None and has_steps_to_measure(algorithm)
        self._measure_every = measure_every if measures else None
        self._started = time.perf_counter()

    def chunks(
        self, state: State, last: int, one_by_one: bool
    ) -> Iterator[tuple[State, Any, dict[str, np.ndarray]]]:
        """The state after each chunk, the result so far, and new rows of the history."""
        step, length, ended = int(state.loop.step), 1, False
        records = 1 if one_by_one else RECORDS
        while step < last and not ended:
            began = time.perf_counter()
            stop_at = min(self._boundary(step) if one_by_one else step + length, last)
            if self._measure_every is not None:
                if step > 0 and step % self._measure_every == 0:
                    state = _measured(self._problem, self._algorithm, state)
                stop_at = min(stop_at, (step // self._measure_every + 1) * self._measure_every)
            done = self._advance(state, records, stop_at)
            spent, result = done.cost.on_host(), done.result
            failed = bool(result != Result.successful)
            if failed:
                done = self._advance(state, records, done.step - 1)

            step, rows = done.step, done.rows
            ended = failed or done.converged
            if step == last and not ended and np.isfinite(self._tol):
                result = Result.max_steps_reached
            recorded = rows["taken"] & (rows["step"] % self._every == 0)
            recorded |= rows["taken"] & (rows["step"] == step) & (ended or step == last)
            now = time.perf_counter()
            seconds = (began - self._started, now - self._started)
            columns = columns_of(rows, recorded, state.cost, seconds)
            state = State(done.loop, state.cost + spent, state.step_size)
            yield state, result, columns
            length = _next_length(length, now - began)

    def _boundary(self, step: int) -> int:
        """The step of the next record."""
        return (step // self._every + 1) * self._every

    def _advance(self, state: State, records: int, stop_at: int) -> "_Chunk":
        # As arrays, so that other numbers are no other program.
        tol = np.asarray(self._tol, float)
        every, records, stop_at = np.asarray([self._every, records, stop_at], np.int32)
        algorithm = with_steps(self._algorithm, state.step_size)
        carry, rows = chunk(
            self._problem, algorithm, self._metrics, tol, every, state.loop, records, stop_at
        )
        # Only what the host reads leaves the device, all at once.
        step, cost, converged, rows = jax.device_get(
            (carry.state.step, carry.cost, carry.converged, rows)
        )
        return _Chunk(carry.state, carry.result, int(step), cost, bool(converged), rows)


class _Chunk(NamedTuple):
    """What a chunk came to: the loop's state on the device, the rest on the host."""

    loop: LoopState
    result: Any
    step: int
    cost: Cost
    converged: bool
    rows: dict[str, Any]


def _next_length(length: int, seconds: float) -> int:
    """Steps of the next chunk, from those of the last one and how long they took."""
    if seconds < _SECONDS / 2:
        return 4 * length
    return max(1, length // 2) if seconds > 2 * _SECONDS else length


_NEVER = ": leave it out to measure once, where the run starts"
_NO_ALGORITHM = (
    "algorithm must be a bx.Algorithm, such as a preset of bx.algorithms or "
    "bx.Algorithm(estimator, outer_step_size), got {}."
)
