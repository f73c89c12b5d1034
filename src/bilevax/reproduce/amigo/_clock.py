"""The processor's time of a run, which what else the machine does leaves alone."""

import time
from typing import Any

import numpy as np


class Clock:
    """A callback of `bx.minimize` that reads the time at every record.

    It begins at the first record, when all is compiled, and ends a run after so many seconds.

    >>> clock = Clock()
    >>> clock(None), clock(None), clock.seconds.shape
    (False, False, (2,))
    """

    def __init__(self, budget: float = np.inf):
        self._budget, self._read = budget, []

    def __call__(self, solution: Any) -> bool:
        del solution
        self._read.append(time.process_time())
        return bool(self.seconds[-1] > self._budget)

    @property
    def seconds(self) -> np.ndarray:
        """A number a record."""
        return np.array(self._read) - self._read[0]
