"""A run from where it stands to its end, watched and saved on the way."""

import pathlib
import signal
import time
import warnings

import numpy as np

from .._minimize import Solution, minimize
from .._result import Result
from ._checkpoint import Checkpoint, save
from ._live import Progress
from ._settings import Settings
from ._task import MEASURE_EVERY, Task

# Outer steps between two records, of which the curves are made.
_RECORD_EVERY = 5
ALL_STEPS, OUT_OF_TIME = "all steps were taken", "the time given was over"


class Interruption:
    """Turns a first Ctrl-C (or SIGTERM) into a wish; a second one is the usual one."""

    def __init__(self):
        self.wanted = False

    def __enter__(self) -> "Interruption":
        self._before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        for number in self._before:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, frame) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


def train(
    task: Task,
    settings: Settings,
    checkpoint: Checkpoint,
    path: pathlib.Path,
    show: Progress,
    interruption: Interruption,
) -> Checkpoint:
    """The run's last checkpoint, which has been saved.

    It has no `ended` where the run was interrupted.
    """
    run = _Run(settings, checkpoint, path, show, interruption)
    left = settings.steps - checkpoint.step
    if left <= 0:
        return run.end(checkpoint, ALL_STEPS)
    with warnings.catch_warnings(record=True, action="always") as caught:
        solution = minimize(
            task.problem,
            task.algorithm,
            num_steps=left,
            state=checkpoint.state,
            metrics=task.metrics,
            record_every=min(_RECORD_EVERY, settings.save_every),
            measure_every=MEASURE_EVERY,
            callback=run.record,
        )
    for warning in {str(warning.message) for warning in caught}:
        show.say(f"Warning: {warning}")
    last = run.checkpoint(solution)
    if last.step >= settings.steps:
        return run.end(last, ALL_STEPS)
    if not bool(solution.result == Result.stopped):
        return run.end(last, Result[solution.result])
    return run.end(last, "" if interruption.wanted else OUT_OF_TIME)


class _Run:
    """What happens at every record."""

    def __init__(self, settings, checkpoint, path, show, interruption):
        self._settings, self._before, self._path = settings, checkpoint, path
        self._show, self._interruption = show, interruption
        self._started, self._saved = time.perf_counter(), checkpoint.step

    def record(self, solution: Solution) -> bool:
        """Show and save the state; say whether to stop."""
        row = {name: column[-1] for name, column in solution.history.items()}
        self._show(row | {"seconds": row["seconds"] + self._before.seconds})
        if row["step"] - self._saved >= self._settings.save_every:
            self._saved = int(row["step"])
            try:
                save(self._path, self.checkpoint(solution))
            except OSError as error:
                # The run is worth more than its checkpoint.
                self._show.say(f"Warning: the checkpoint could not be written ({error}).")
        limit = self._settings.seconds
        late = limit is not None and time.perf_counter() - self._started >= limit
        return late or self._interruption.wanted

    def checkpoint(self, solution: Solution) -> Checkpoint:
        """The whole run so far: what was there before, and the new records."""
        seconds = self._before.seconds + time.perf_counter() - self._started
        before, new = self._before.history, solution.history
        if not new or not len(new["step"]):
            return Checkpoint(solution.state, before, seconds)
        new = new | {"seconds": new["seconds"] + self._before.seconds}
        join = lambda name: np.concatenate([before[name], new[name]]) if before else new[name]
        return Checkpoint(solution.state, {name: join(name) for name in new}, seconds)

    def end(self, checkpoint: Checkpoint, reason: str) -> Checkpoint:
        """The same checkpoint with the reason why the run is over, saved."""
        checkpoint.ended = reason
        save(self._path, checkpoint)
        return checkpoint
