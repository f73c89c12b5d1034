"""The processor's time of a run, which what else the machine does leaves alone."""

import time
from typing import Any

import numpy as np


class Clock:
    """A callback of `bx.minimize` that reads the time at every record.

    It begins at the first record, when all is compiled, and ends a run after so many seconds.
    A run that fails takes its last records back, so that readings are asked for by step.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2 + y**2)
    >>> run = bx.minimize(problem, bx.algorithms.amigo_cg(outer_step_size=0.5), 1.0, 1.0,
    ...                   num_steps=3, callback=(clock := Clock()))
    >>> clock.seconds(run.history["step"]).shape
    (3,)
    """

    def __init__(self, budget: float = np.inf):
        self._budget, self._steps, self._read = budget, [], []

    def __call__(self, solution: Any) -> bool:
        self._steps.append(int(solution.state.loop.step))
        self._read.append(time.process_time())
        return self._read[-1] - self._read[0] > self._budget

    def seconds(self, steps: np.ndarray) -> np.ndarray:
        """When it was at these steps, in seconds since the first record."""
        return np.interp(steps, self._steps, np.array(self._read) - self._read[0])
