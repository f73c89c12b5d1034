"""A run on folds: from options to what it came to."""

import pathlib
import time

import numpy as np

from .._alarm import alarm
from .._call import Call
from .._errors import UnusableError
from .._folder import CHECKPOINT, RESULT
from .._job import Job
from .._outcome import Outcome
from .._session import Session
from .._settings import Settings
from .._tables import Table
from .baseline import Baseline, OutOfTimeError, baseline
from .fitted import Fitted, estimator
from .keeper import Keeper, StoppedError
from .outcome import outcome
from .pool import Pool


class Adaptive(Job):
    """The estimators of `bilevax.sklearn`, beside scikit-learn's own."""

    def __init__(self, settings: Settings, table: Table, folder: pathlib.Path):
        super().__init__(settings, table, folder)
        if settings.model == "ridge" and table.class_names:
            raise UnusableError(_CLASSES.format(settings.dataset))
        self._pool = Pool.of(settings, table)
        self._keeper = Keeper(folder / CHECKPOINT)
        self._estimator = estimator(settings, self._pool)

    def take_up(self, call: Call) -> None:
        if not self._keeper.path.exists():
            return
        if call.resume:
            self._keeper.take_up()
        elif not (self.folder / RESULT).exists():
            raise UnusableError(
                f"{self.folder} holds this run, unfinished: go on with --resume, or choose "
                "another folder with --output. Nothing was changed."
            )

    def opening(self) -> str:
        pool, done = self._pool, self._keeper.done
        how = "one split" if pool.is_split else f"{len(pool.folds)} folds"
        begun = f" Going on after: {'; '.join(done)}." if done else ""
        return (
            f"{self.rows_in_words()} Learning penalties by {how}; results in "
            f"{self.folder}.{begun}"
        )

    def train(self, session: Session) -> bool:
        watch = self._keeper.watched(session, self.settings.seconds)
        self._estimator._watch = watch
        try:
            self._estimator.fit(self._pool.features, self._pool.targets)
        except (StoppedError, KeyboardInterrupt):
            # What is done is kept.
            session.interruption.wanted = True
            return False
        except ValueError as error:
            raise UnusableError(
                f"{self.settings.dataset} cannot be learned: {error}"
            ) from error
        session.interruption.hold()
        return True

    def outcome(self, session: Session) -> Outcome:
        targets = self._pool.targets
        classes = bool(self.table.class_names)
        unit = 1.0 if classes else float(np.var(targets))
        fitted = Fitted(self._estimator, self._pool, self._keeper, unit)
        found, why = self._baseline(session, fitted.grid[0])
        return outcome(self.settings, self.table, fitted, found, why)

    def _baseline(self, session: Session, grid: np.ndarray) -> tuple[Baseline | None, str]:
        """It, or none and why."""
        interruption, limit = session.interruption, self.settings.baseline_seconds
        if interruption.wanted or limit == 0:
            return None, _NO_BASELINE
        session.say("Fitting scikit-learn's estimator ...")
        until = time.perf_counter() + limit
        stopped = lambda: interruption.wanted or time.perf_counter() > until
        classes = bool(self.table.class_names)
        try:
            with interruption.released(), alarm(limit, OutOfTimeError()):
                return baseline(self._pool, classes, grid, stopped), ""
        except OutOfTimeError:
            why = _NO_BASELINE if interruption.wanted else _LATE.format(limit)
            return None, why
        except KeyboardInterrupt:
            return None, _NO_BASELINE


_CLASSES = (
    "{} has classes, and --model ridge predicts numbers: take --model logistic, or a run with "
    "--algorithm, which makes columns of zeros and ones of them."
)
_NO_BASELINE = "There is no baseline to compare with: none was fitted."
_LATE = (
    "There is no baseline to compare with: scikit-learn's estimator took longer than {:g} "
    "seconds, and --baseline-seconds allows more."
)
