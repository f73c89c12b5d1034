"""A run of so many CPU seconds, looked at as they double."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from ...._core.result import Result, is_code
from ...._run.minimize import Solution, initial_state, minimize
from ....algorithms._base import Algorithm
from ._problems import Contest

# Steps of the run whose pace is measured.
_TRIAL = 16


class Seen(NamedTuple):
    """A run so far: CPU seconds beside compilation, and what `bx.minimize` returned."""

    seconds: float
    solution: Solution


def timed(
    contest: Contest, algorithm: Algorithm, seconds: float, points: int, seed: int
) -> Iterator[Seen]:
    """What there is after seconds / 2^(points - 1), ..., seconds / 2 and all of the seconds.

    It ends before where a step fails.
    """
    key = jax.random.key(seed)
    state = initial_state(contest.problem, algorithm, contest.x, contest.y0, key=key)
    # The first call compiles; the second tells the pace. Neither is a part of the run.
    pace = [_part(contest, algorithm, state, _TRIAL)[0] for _ in range(2)][1] / _TRIAL
    spent = 0.0
    for target in (seconds / 2**i for i in reversed(range(points))):
        solution = None
        while spent < target:
            # A pace that was a little too slow must not leave a part of a part.
            steps = max(1, round((target - spent) / pace))
            took, solution = _part(contest, algorithm, state, steps)
            spent, state, pace = spent + took, solution.state, max(took / steps, 1e-9)
            if not is_code(solution.result, Result.successful):
                return
        if solution is not None:
            yield Seen(spent, solution)


def _part(contest: Contest, algorithm: Algorithm, state: Any, steps: int):
    """CPU seconds of so many further steps, and what they come to."""
    began = time.process_time()
    solution = minimize(
        contest.problem, algorithm, state=state, num_steps=steps, record_every=steps
    )
    jax.block_until_ready(solution.x)
    return time.process_time() - began, solution
