"""A run of `bilevax tune`: what is to be done, and where."""

import dataclasses
import pathlib
from typing import Any

from ._settings import Settings
from ._tables import Table
from ._task import Task


@dataclasses.dataclass(frozen=True)
class Tuning:
    """A run, whether it has begun or not.

    - `settings`: what it is told;
    - `table`: its rows, `task`: the problem and the algorithm made of both;
    - `folder`: where it leaves what it finds.
    """

    settings: Settings
    table: Table
    task: Task
    folder: pathlib.Path

    @property
    def record(self) -> dict[str, Any]:
        """By what it is known again: the content of `settings.json`."""
        return {
            "settings": dataclasses.asdict(self.settings),
            "data": self.table.fingerprint,
        }
