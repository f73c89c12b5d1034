"""Many runs taken together, one compiled chunk at a time."""

import time
from typing import Any, NamedTuple

import numpy as np

from .._core.cost import Cost
from .._core.result import Result, is_code
from .chunks import Run, State, failed, next_length
from .history import History
from .loop import RECORDS, Told
from .minimize import Solution
from .stacked import Stack, chunk_of_many, told_each


class Point(NamedTuple):
    """Where a run was after a chunk, and what it had cost."""

    stack: Stack
    step: int
    cost: Cost

    def state(self, index: int) -> State:
        """The state of the run of that number."""
        return State(self.stack[index], self.cost)


class Member:
    """One of many runs: what the host knows of it.

    `sound` is where a run that fails is taken again from: the last point before its present
    growth began.
    """

    def __init__(self, run: Run, start: State):
        self.run, self._history, self.cost = run, History(), start.cost
        self._sound: Point | None = None
        self._recent: Point | None = None
        self._streak = 0
        self._result: Any = Result.successful
        self._state = start
        self.ended = False

    def begins(self, stack: Stack, step: int) -> None:
        """A chunk begins here."""
        here = Point(stack, step, self.cost)
        if self._recent is None or self._recent.step <= step - self._streak:
            self._sound, self._recent = self._recent or here, here

    def hears(self, index: int, stack: Stack, told: Told, last: int, began: float) -> None:
        """What a chunk that began at that time tells of this run."""
        if failed(told):
            self._again_alone(index, last)
            return
        before = self.cost
        self._result, self.ended = self.run.heard(self._history, before, told, last, began)
        self.cost, self._streak = before + told.cost, max(told.streaks.values(), default=0)
        if self.ended or told.step == last:
            self.ended, self._state = True, State(stack[index], self.cost)

    def _again_alone(self, index: int, last: int) -> None:
        """Leaves it to the loop of single runs to fail where all was well before."""
        assert self._sound is not None
        self.ended = True
        self._history.cut(self._sound.step)
        chunks = self.run.chunks(self._sound.state(index), last, self._history, False)
        for self._state, self._result, _ in chunks:
            pass

    def solution(self) -> Solution:
        """How it ended."""
        fine = is_code(self._result, Result.successful)
        result = self.run.shortfall if fine else self._result
        return Solution.of(self._state, self._history, result)


def take_all(members: list[Member], fixed, stack: Stack, last: int, every: int) -> None:
    """All runs to their ends, one chunk after another."""
    length = between = members[0].run.between
    step = 0
    while step < last and not all(member.ended for member in members):
        began = time.perf_counter()
        going = [index for index, member in enumerate(members) if not member.ended]
        for index in going:
            members[index].begins(stack, step)
        ended = np.array([member.ended for member in members])
        stop_at = min(step + length, last)
        numbers = np.asarray([every, step, RECORDS, stop_at, between], np.int32)
        loops, told = chunk_of_many(*fixed, stack.loops, ended, tuple(numbers))
        stack, each = Stack(loops), list(told_each(told))
        step = max(int(each[index].step) for index in going)
        for index in going:
            members[index].hears(index, stack, each[index], last, began)
        length = next_length(length, time.perf_counter() - began)
