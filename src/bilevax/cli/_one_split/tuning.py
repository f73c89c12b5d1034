"""What a run on one split is made of."""

import dataclasses
import pathlib

from .._settings import Settings
from .._tables import Table
from .task import Task


@dataclasses.dataclass(frozen=True)
class Tuning:
    """A run, whether it has begun or not: `task` is the problem and the algorithm."""

    settings: Settings
    table: Table
    task: Task
    folder: pathlib.Path
