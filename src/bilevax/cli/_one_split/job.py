"""A run of an algorithm on one split: from options to what it came to."""

import pathlib
from typing import Any

import numpy as np

from .._call import Call
from .._errors import FailedError, UnusableError
from .._folder import CHECKPOINT, RESULT, SETTINGS
from .._job import Job
from .._outcome import ALL_STEPS, Outcome
from .._session import Session
from .._settings import Settings
from .._tables import Table
from .baseline import Baseline, baseline
from .checkpoint import Checkpoint, load
from .pictures import pictures, words
from .summary import facts, summary
from .task import build
from .train import train
from .tuned import Tuned
from .tuning import Tuning
from .verdict import about, rows_of_scores, verdict


class OneSplit(Job):
    """Training rows fit the weights, validation rows the penalties, by hypergradients.

    `checkpoint` says how far it is.
    """

    def __init__(self, settings: Settings, table: Table, folder: pathlib.Path):
        super().__init__(settings, table, folder)
        self._tuning = Tuning(settings, table, build(settings, table), folder)
        self.checkpoint = Checkpoint(self._tuning.task.start, {})

    def take_up(self, call: Call) -> None:
        if (self.folder / CHECKPOINT).exists():
            self.checkpoint = self._there(call)

    def _there(self, call: Call) -> Checkpoint:
        folder, steps = self.folder, self.settings.steps
        there = load(folder / CHECKPOINT, self._tuning.task.start)
        if call.resume and there.step > steps:
            raise UnusableError(
                f"The run in {folder} has taken {there.step} steps already: --steps must be at "
                "least that. Nothing was changed."
            )
        if call.resume or there.step == 0:
            return there
        finished = there.ended == ALL_STEPS and (folder / RESULT).exists()
        if not finished or there.step > steps or self.settings.seconds is not None:
            raise UnusableError(
                f"{folder} holds this run at step {there.step}: go on with --resume, or choose "
                "another folder with --output. Nothing was changed."
            )
        return self.checkpoint

    def opening(self) -> str:
        step = self.checkpoint.step
        begun = f" Going on from step {step}." if step else ""
        return (
            f"{self.rows_in_words()} Learning {self.settings.penalty} penalties by "
            f"{self.settings.algorithm}; results in {self.folder}.{begun}"
        )

    def train(self, session: Session) -> bool:
        self.checkpoint = train(self._tuning, self.checkpoint, session)
        if not self.checkpoint.history:
            # Nothing is worth keeping: other options shall find the folder free.
            for name in (CHECKPOINT, SETTINGS):
                (self.folder / name).unlink()
            raise FailedError(self.checkpoint.ended)
        return True

    def outcome(self, session: Session) -> Outcome:
        tuned = Tuned(self._tuning, self.checkpoint, self._baseline(session))
        result = summary(tuned)
        return Outcome(
            result,
            verdict(result),
            rows_of_scores(result),
            about(result),
            facts(result),
            tuned.model,
            self._hyperparameters(tuned),
            self.checkpoint.history,
            pictures(tuned),
            words(tuned),
        )

    def _baseline(self, session: Session) -> Baseline | None:
        interruption = session.interruption
        if interruption.wanted or self.settings.baseline_seconds == 0:
            return None
        session.say("Fitting the baseline: one shared penalty from a grid of 10 ...")
        try:
            with interruption.released():
                found = baseline(self._tuning, lambda: interruption.wanted)
        except KeyboardInterrupt:
            return None
        return None if interruption.wanted or not found.fits else found

    def _hyperparameters(self, tuned: Tuned) -> dict[str, Any]:
        x = tuned.log_penalties
        penalty = self._tuning.task.unit * np.exp(x.astype(float))
        return {"x": x, "penalty": penalty, "names": np.array(tuned.penalty_names)}
