"""A run of `bilevax tune`, whichever way its penalties are learned."""

import abc
import dataclasses
import pathlib
from typing import Any

from ._call import Call
from ._outcome import Outcome
from ._session import Session
from ._settings import Settings
from ._tables import Table


class Job(abc.ABC):
    """What is to be done, and where.

    - `settings`: what it is told;
    - `table`: its rows;
    - `folder`: where it leaves what it finds.
    """

    def __init__(self, settings: Settings, table: Table, folder: pathlib.Path):
        self.settings, self.table, self.folder = settings, table, folder

    @property
    def record(self) -> dict[str, Any]:
        """By what it is known again: the content of `settings.json`."""
        return {
            "settings": dataclasses.asdict(self.settings),
            "data": self.table.fingerprint,
        }

    @abc.abstractmethod
    def take_up(self, call: Call) -> None:
        """Go on from the checkpoint in the folder, or from the start where it has finished.
        Raises where the call does not say which."""

    @abc.abstractmethod
    def opening(self) -> str:
        """What is about to be done, in a sentence or two."""

    @abc.abstractmethod
    def train(self, session: Session) -> bool:
        """Do it, and say whether there is something to report. Raises where it has failed."""

    @abc.abstractmethod
    def outcome(self, session: Session) -> Outcome:
        """What it came to, beside the baseline."""

    def rows_in_words(self) -> str:
        """The data set, its rows and features."""
        table = self.table
        rows = ", ".join(f"{len(t):,} {name}" for name, (_, t) in table.parts.items())
        label = "" if table.label is None else f", label {table.label!r}"
        features = f"{len(table.feature_names):,} features{label}"
        return f"{self.settings.name}: {rows} rows, {features}."
