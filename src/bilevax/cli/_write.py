"""Everything a run leaves in its folder."""

from typing import Any

import numpy as np
import pandas as pd

from .._core.files import write
from . import _archive as archive
from ._folder import RESULT, write_json
from ._model import WEIGHTS
from ._pictures import pictures, words
from ._report import report
from ._tuned import Tuned

REPORT, HYPERPARAMETERS, HISTORY = "report.html", "hyperparameters.npz", "history.csv"


def write_results(tuned: Tuned, result: dict[str, Any]) -> None:
    """Model, hyperparameters, history, pictures and report; `result.json` comes last."""
    folder, x = tuned.tuning.folder, tuned.log_penalties
    tuned.model.save(folder / WEIGHTS)
    penalty = tuned.tuning.task.unit * np.exp(x.astype(float))
    arrays = {"x": x, "penalty": penalty, "names": np.array(tuned.penalty_names)}
    archive.save(folder / HYPERPARAMETERS, arrays)
    write(folder / HISTORY, _table_of(tuned.checkpoint.history))
    shown = pictures(tuned)
    for picture in shown:
        write(folder / picture.file, picture.content)
    write(folder / REPORT, report(result, shown, words(tuned)).encode())
    write_json(folder / RESULT, result)


def _table_of(history: dict[str, np.ndarray]) -> bytes:
    # Lists, so that single precision is printed as the doubles that it is.
    columns = {name: column.tolist() for name, column in history.items()}
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n", na_rep="nan").encode()
