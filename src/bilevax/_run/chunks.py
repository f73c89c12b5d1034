"""A run taken one compiled chunk at a time, and taken back where it went astray."""

import time
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from .._core.cost import Cost
from .._core.result import Result, is_code
from ..algorithms._base import Algorithm
from ..problems._base import AbstractProblem
from .history import History, columns_of
from .loop import RECORDS, LoopState, Told, chunk, streaks_of
from .smoothness import Smoothness, measure_smoothness
from .steps import has_steps_to_measure

# How long a chunk should last: long enough to hide its dispatch, short enough to watch.
_SECONDS = 0.5
# How many times longer than the last one a chunk is at most.
_GROWTH = 64
# Whose growth a failure is blamed on.
_BLAMED = {
    "inner": (Result.inner_nonfinite, Result.inner_diverged),
    "adjoint": (Result.adjoint_nonfinite, Result.adjoint_diverged),
    "outer": (Result.outer_nonfinite, Result.outer_diverged),
}


class State(eqx.Module):
    """Everything a run needs to go on bit for bit: pass it back to `bx.minimize`."""

    loop: LoopState
    cost: Cost

    @property
    def step_size(self) -> Array | None:
        """The step that those left out stand for at present."""
        smoothness = self.loop.smoothness
        return None if smoothness is None else smoothness.step_size


def remeasured(problem: AbstractProblem, algorithm: Algorithm, state: State) -> State:
    """The state with the step measured at its own x and y."""
    loop = state.loop
    smoothness, cost = measure_smoothness(problem, algorithm, loop.x, loop.hypergradient.y)
    if algorithm.hypergradient.ahead > 1:
        # A product on all rows at every step would cost more than the step.
        smoothness = Smoothness(smoothness.value, None, smoothness.share)
    return State(loop.with_smoothness(smoothness), state.cost + cost.on_host())


class Run:
    """A problem, an algorithm and how to watch them, taken one chunk at a time.

    `shortfall` is the result that says whether a solver's tolerance was never met so far.
    """

    def __init__(self, problem, algorithm, metrics, tol, every, measure_every):
        self._problem, self._algorithm, self._metrics = problem, algorithm, metrics
        self._tol, self._every = tol, every
        measures = measure_every is not None and has_steps_to_measure(algorithm)
        self._measure_every = measure_every if measures else None
        # A tolerance is looked at after every step.
        self.between = 1 if np.isfinite(tol) else algorithm.hypergradient.ahead
        self._started = time.perf_counter()
        self.shortfall: Any = Result.successful

    def chunks(
        self, state: State, last: int, history: History, one_by_one: bool
    ) -> Iterator[tuple[State, Any, bool]]:
        """The state after each chunk, the result so far, and whether the history has grown."""
        step, length, ended = int(state.loop.step), self.between, False
        sound = recent = state
        streaks: dict[str, Any] = {}
        records = 1 if one_by_one else RECORDS
        while step < last and not ended:
            began = time.perf_counter()
            stop_at = min(self._boundary(step) if one_by_one else step + length, last)
            if self._measure_every is not None:
                if step > 0 and step % self._measure_every == 0:
                    state = sound = recent = remeasured(self._problem, self._algorithm, state)
                stop_at = min(stop_at, (step // self._measure_every + 1) * self._measure_every)
            if int(recent.loop.step) <= step - max(streaks.values(), default=0):
                sound, recent = recent, state
            loop, done = self._advance(state, records, stop_at)
            step, streaks, before = int(done.step), done.streaks, len(history)
            result, ended = self.heard(history, state.cost, done, last, began)
            state = State(loop, state.cost + done.cost)
            if failed(done):
                state = self._retreat(history, sound, state, result)
            yield state, result, len(history) > before
            length = next_length(length, time.perf_counter() - began)

    def heard(self, history, before: Cost, done: Told, last: int, began) -> tuple[Any, bool]:
        """Take down what a chunk told; the result so far, and whether the run has ended."""
        self.shortfall = done.shortfall
        ended, at_last = failed(done) or bool(done.converged), bool(done.step == last)
        self._record(history, before, done, ended or at_last, began)
        short = at_last and not ended and np.isfinite(self._tol)
        return Result.max_steps_reached if short else done.result, ended

    def _record(self, history, before: Cost, done: Told, to_end: bool, began) -> None:
        """Add the rows of a chunk to the history."""
        rows = done.rows
        recorded = rows["taken"] & (rows["step"] % self._every == 0)
        recorded |= rows["taken"] & (rows["step"] == done.step) & to_end
        seconds = (began - self._started, time.perf_counter() - self._started)
        history.append(columns_of(rows, recorded, before, seconds))

    def _retreat(self, history, sound: State, reached: State, result) -> State:
        """The state before things went wrong, taken again from one that was sound.

        The history ends there too, unless nothing would be left of it. What was called for
        the failed steps stays in the cost.
        """
        step = int(reached.loop.step) - max(_streak(reached.loop, result), 1)
        step, state = max(step, int(sound.loop.step)), sound
        last_row = history.last_row()
        history.cut(step)
        while int(state.loop.step) < step:
            began = time.perf_counter()
            loop, done = self._advance(state, RECORDS, step)
            if done.step == step and not history.ends_at(step):
                self._record(history, state.cost, done.last_row(), True, began)
            state = State(loop, state.cost + done.cost)
        if not len(history):
            history.append(last_row)
        return State(state.loop, reached.cost)

    def _boundary(self, step: int) -> int:
        """The step of the next record."""
        return (step // self._every + 1) * self._every

    def _advance(self, state: State, records: int, stop_at: int) -> tuple[LoopState, Told]:
        loop, told = self._taken(state, records, stop_at, self.between)
        if self.between > 1 and not is_code(told.result, Result.successful):
            # It failed somewhere since it was last looked at: see at which step.
            loop, told = self._taken(state, records, stop_at, 1)
        return loop, told

    def _taken(self, state: State, records: int, stop_at: int, between: int):
        # As arrays, so that other numbers are no other program.
        tol = np.asarray(self._tol, float)
        every, records, stop_at, between = np.asarray(
            [self._every, records, stop_at, between], np.int32
        )
        fixed = self._problem, self._algorithm, self._metrics, tol, every
        loop, told = chunk(*fixed, state.loop, records, stop_at, between)
        # Only what the host reads leaves the device, all at once.
        return loop, jax.device_get(told)


def failed(done: Told) -> bool:
    """Whether a chunk ended in a failure."""
    return not is_code(done.result, Result.successful)


def next_length(length: int, seconds: float) -> int:
    """Steps of the next chunk, from those of the last one and how long they took."""
    if seconds < _SECONDS / 2:
        # As many as it should take half as long as wanted for: each chunk copies the state.
        return length * int(np.clip(_SECONDS / 2 / seconds, 2, _GROWTH))
    return max(1, length // 2) if seconds > 2 * _SECONDS else length


def _streaks(loop: LoopState) -> dict[str, int]:
    """For how many steps what is watched has been growing."""
    found = jax.device_get(streaks_of(loop))
    return {level: int(count) for level, count in found.items()}


def _streak(loop: LoopState, result: Any) -> int:
    """For how many steps what failed had been growing."""
    streaks = _streaks(loop)
    blamed = [name for name, codes in _BLAMED.items() if any(is_code(result, c) for c in codes)]
    return max((streaks.get(level, 0) for level in blamed), default=0)
