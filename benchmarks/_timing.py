"""Wall times, as medians over interleaved repeats so that both sides see the same machine."""

import time
from collections.abc import Callable

import jax
import numpy as np


def interleaved(jobs: dict[str, Callable], repeats: int = 15) -> dict[str, float]:
    """Median seconds of each job, run in turn, after one run each to compile."""
    for job in jobs.values():
        jax.block_until_ready(job())
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            jax.block_until_ready(job())
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}
