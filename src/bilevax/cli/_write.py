"""Everything a run leaves in its folder."""

import pathlib

import numpy as np
import pandas as pd

from .._core.files import write
from . import _archive as archive
from ._folder import RESULT, write_json
from ._model import WEIGHTS
from ._outcome import Outcome
from ._report import report

REPORT, HYPERPARAMETERS, HISTORY = "report.html", "hyperparameters.npz", "history.csv"


def write_results(folder: pathlib.Path, outcome: Outcome) -> None:
    """Model, hyperparameters, history, pictures and report; `result.json` comes last."""
    outcome.model.save(folder / WEIGHTS)
    archive.save(folder / HYPERPARAMETERS, outcome.hyperparameters)
    write(folder / HISTORY, _table_of(outcome.history))
    for picture in outcome.pictures:
        write(folder / picture.file, picture.content)
    write(folder / REPORT, report(outcome).encode())
    write_json(folder / RESULT, outcome.result)


def _table_of(history: dict[str, np.ndarray]) -> bytes:
    # Lists, so that single precision is printed as the doubles that it is.
    columns = {name: column.tolist() for name, column in history.items()}
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n", na_rep="nan").encode()
