"""What a run came to, in all forms in which it is written and printed."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from ._model import Model
from ._settings import Settings
from ._tables import Table

# Why a run is over that has not failed.
ALL_STEPS, OUT_OF_TIME = "all steps were taken", "the time given was over"


def asked(settings: Settings, table: Table) -> dict[str, Any]:
    """The first keys of `result.json`: what a run was asked, and of which rows."""
    return {
        "dataset": settings.dataset if settings.named else pathlib.Path(settings.dataset).name,
        "label": table.label,
        "model": settings.model,
        "penalty": settings.penalty,
        "algorithm": settings.algorithm,
        "rows": {part: len(targets) for part, (_, targets) in table.parts.items()},
        "features": len(table.feature_names),
        "classes": len(table.class_names) or None,
    }


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file with its title."""

    file: str
    title: str
    content: bytes


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A run that has come to something, if only in part.

    - `result`: the content of `result.json`, which docs/tune.md documents; all that depends
      on the clock is under keys named `seconds`;
    - `verdict`: the same in a few sentences;
    - `scores`: a table of scores beside the baseline's, whose first row is its head;
    - `about`: what the table shows;
    - `facts`: what is told of the run itself;
    - `hyperparameters`, `history`: arrays and columns by name;
    - `words`: the most kept and the most penalised, where features are words.
    """

    result: dict[str, Any]
    verdict: str
    scores: list[list[str]]
    about: str
    facts: dict[str, str]
    model: Model
    hyperparameters: dict[str, np.ndarray]
    history: dict[str, np.ndarray]
    pictures: list[Picture]
    words: tuple[list[str], list[str]] | None
