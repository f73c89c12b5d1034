"""Where data sets are kept, and how they are handed over."""

import os
import pathlib
from typing import Any

import numpy as np

from ._names import NumberedNames

VARIABLE = "BILEVAX_DATA"


def chosen_home(data_home: str | os.PathLike | None) -> pathlib.Path | None:
    """The folder that the caller or the environment names, if any."""
    named = data_home if data_home is not None else os.environ.get(VARIABLE)
    return pathlib.Path(named).expanduser() if named else None


def bunch(data, target, feature_names, target_names, return_X_y: bool) -> Any:
    """A Bunch, or its data and target."""
    if return_X_y:
        return data, target
    # Whoever only asks which data sets there are need not wait for scikit-learn.
    from sklearn.utils import Bunch

    if not isinstance(feature_names, NumberedNames):
        feature_names = list(feature_names)
    names = {"feature_names": feature_names, "target_names": list(target_names)}
    return Bunch(data=data, target=target, **names)


def pixel_names(height: int, width: int) -> np.ndarray:
    """Names of the pixels of an image, row after row."""
    rows, columns = np.divmod(np.arange(height * width), width)
    return np.array([f"pixel_{i}_{j}" for i, j in zip(rows, columns, strict=True)])
