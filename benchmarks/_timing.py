"""Times, as medians over interleaved repeats so that both sides see the same machine."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np


class Row(NamedTuple):
    """One line of the table: a job as a ratio to what it is measured against.

    `limit` is the target, which `ratio` should stay below, or above where `larger`.
    """

    benchmark: str
    job: str
    against: str
    seconds: float
    ratio: float
    limit: float | None = None
    larger: bool = False

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return "REPORTED"
        met = self.ratio >= self.limit if self.larger else self.ratio <= self.limit
        return "PASS" if met else "FAIL"

    @property
    def target(self) -> str:
        if self.limit is None:
            return ""
        return f"{'at least' if self.larger else 'at most'} {self.limit}"


def interleaved(
    jobs: dict[str, Callable],
    repeats: int = 15,
    compiled: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each job, run in turn, after one run each where not compiled.

    Wall times, or with `time.process_time` those of the processor.
    """
    seconds = in_turn(jobs, repeats, compiled, clock)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def in_turn(
    jobs: dict[str, Callable],
    repeats: int,
    compiled: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """The seconds that each job took in each round.

    What a round compares has seen the machine in one state: where it has fast and slow
    phases, the median of a round's ratios varies far less than the ratio of medians.
    """
    for job in () if compiled else jobs.values():
        jax.block_until_ready(job())
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = clock()
            jax.block_until_ready(job())
            seconds[name].append(clock() - start)
    return {name: np.array(times) for name, times in seconds.items()}
