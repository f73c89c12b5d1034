"""A run from where it stands to its end, watched and saved on the way."""

import time
import warnings
from typing import Any

import numpy as np

from ..._core.result import Result
from ..._run.minimize import Solution, minimize
from .._compiling import seconds_compiling
from .._folder import CHECKPOINT
from .._outcome import ALL_STEPS, OUT_OF_TIME
from .._session import Session
from .checkpoint import Checkpoint, save
from .last_good import LastGood
from .tuning import Tuning

# Outer steps between two records, of which the curves are made.
_RECORD_EVERY = 5
_NO_FAILURES = (Result.successful, Result.max_steps_reached, Result.stopped)


def train(tuning: Tuning, checkpoint: Checkpoint, session: Session) -> Checkpoint:
    """The run's last checkpoint, which has been saved; of a failed run its last good one.

    It has no `ended` where the run was interrupted, and no history where a run failed that
    had no good record.
    """
    task, settings = tuning.task, tuning.settings
    watch = _Watch(tuning, checkpoint, session)
    left = settings.steps - checkpoint.step
    if left <= 0:
        return watch.end(checkpoint, ALL_STEPS)
    with warnings.catch_warnings(record=True, action="always") as caught:
        solution = minimize(
            task.problem,
            task.algorithm,
            num_steps=left,
            state=checkpoint.state,
            metrics=task.metrics,
            record_every=min(_RECORD_EVERY, settings.save_every),
            callback=watch.record,
        )
    for warning in {str(warning.message) for warning in caught}:
        session.say(f"Warning: {warning}")
    if not any(bool(solution.result == result) for result in _NO_FAILURES):
        return watch.fail(solution)
    last = watch.checkpoint(solution)
    if last.step >= settings.steps:
        return watch.end(last, ALL_STEPS)
    return watch.end(last, "" if session.interruption.wanted else OUT_OF_TIME)


class _Watch:
    """What happens at every record."""

    def __init__(self, tuning: Tuning, before: Checkpoint, session: Session):
        self._task, self._settings = tuning.task, tuning.settings
        self._before, self._path = before, tuning.folder / CHECKPOINT
        self._session = session
        self._started, self._saved = time.perf_counter(), before.step
        self._compiled, self._clock = seconds_compiling(), np.zeros(0)
        self._good = LastGood(before, tuning.task.loss_of_zero)

    def record(self, solution: Solution) -> bool:
        """Show and save the state; say whether to stop."""
        row = self._last_row(solution)
        self._session.show(row)
        self._good.see(row, solution.state)
        if row["step"] - self._saved >= self._settings.save_every:
            self._saved = int(row["step"])
            try:
                save(self._path, self.checkpoint(solution))
            except OSError as error:
                # The run is worth more than its checkpoint.
                self._session.say(f"Warning: the checkpoint could not be written ({error}).")
        limit = self._settings.seconds
        late = limit is not None and time.perf_counter() - self._started >= limit
        return late or self._session.interruption.wanted

    def checkpoint(self, solution: Solution) -> Checkpoint:
        """The whole run so far: what was there before, and the new records."""
        trained = time.perf_counter() - self._started - self._compiling
        seconds = self._before.seconds + max(trained, 0.0)
        before, new = self._before.history, self._task.in_units(solution.history)
        if not new or not len(new["step"]):
            return Checkpoint(solution.state, before, seconds)
        new = new | {"seconds": self._training(new["seconds"]) + self._before.seconds}
        join = lambda name: np.concatenate([before[name], new[name]]) if before else new[name]
        return Checkpoint(solution.state, {name: join(name) for name in new}, seconds)

    def fail(self, solution: Solution) -> Checkpoint:
        """The end of a failed run: at its last good record."""
        whole = self.checkpoint(solution)
        # `minimize` may have gone back to before the failure, to a record not seen yet.
        if whole.step in solution.history.get("step", ())[-1:]:
            self._good.see(self._last_row(solution), solution.state)
        kept = self._good.of(whole, Result[solution.result])
        return self.end(kept, kept.ended)

    def _last_row(self, solution: Solution) -> dict[str, Any]:
        row = self._task.in_units({n: column[-1:] for n, column in solution.history.items()})
        trained = self._training(solution.history["seconds"])
        row["seconds"] = trained[-1:] + self._before.seconds
        return {name: column[0] for name, column in row.items()}

    @property
    def _compiling(self) -> float:
        """Seconds that programs took to compile since this call began."""
        return seconds_compiling() - self._compiled

    def _training(self, seconds: np.ndarray) -> np.ndarray:
        """Seconds of records without those of compiling, which come before a chunk's first."""
        new = len(seconds) - len(self._clock)
        if new > 0:
            last = self._clock[-1] if len(self._clock) else 0.0
            end = max(float(seconds[-1]) - self._compiling, last)
            self._clock = np.append(self._clock, np.linspace(last, end, new + 1)[1:])
        return self._clock[: len(seconds)]

    def end(self, checkpoint: Checkpoint, reason: str) -> Checkpoint:
        """The same checkpoint with the reason why the run is over, saved."""
        self._session.interruption.hold()
        checkpoint.ended = reason
        save(self._path, checkpoint)
        return checkpoint
