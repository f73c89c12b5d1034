"""A user's own file."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import Bunch

from ._formats import format_of, read, read_features
from ._home import bunch


def load_file(
    path: str | os.PathLike,
    *,
    label: str | None = None,
    task: str = "classification",
    like: Any = None,
    zero_based: bool = False,
    return_X_y: bool = False,
):
    """Reads a file of rows with labels.

    | ending | format | labels |
    |---|---|---|
    | `.svm`, `.libsvm`, `.svmlight` | LIBSVM, sparse | the first number of a line |
    | `.csv`, `.tsv` | with a line of column names | the column `label` |
    | `.parquet` | a table | the column `label` |
    | `.npz` | arrays `X` (dense) and `y` | `y` |

    The first two may be packed, with a further `.gz` or `.bz2`. `data` is float32, dense or
    a CSR matrix.

    **Arguments:**

    - `label`: of a table: the name of the label column; "label", "target", "class" or "y"
      is found by itself.
    - `task`: with "classification" `target` holds integers and `target_names` the labels;
      with "regression" it holds numbers.
    - `like`: a Bunch that was loaded before, such as the training set of this test set: the
      same features in the same order, and the same integers for the same labels.
    - `zero_based`: of a LIBSVM file: whether its indices begin with 0.

    **Raises** `FileNotFoundError` or `ValueError` in words that name the line or the column.

    >>> import bilevax as bx, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "flowers.csv"
    ...     _ = path.write_text("length,width,label\\n1.5,2,rose\\n3,4,lily\\n")
    ...     flowers = bx.datasets.load_file(path)
    >>> flowers.data.tolist(), flowers.target.tolist(), flowers.target_names
    ([[1.5, 2.0], [3.0, 4.0]], [1, 0], ['lily', 'rose'])
    """
    path = pathlib.Path(path)
    if task not in ("classification", "regression"):
        raise ValueError(f"task must be 'classification' or 'regression', got {task!r}.")
    kind = _checked_format(path)
    wanted = None if like is None else list(like.feature_names)
    data, target, names, label = read(path, kind, label, zero_based, wanted)
    _check_numbers(path, data, names)
    if task == "regression":
        return _with_label(bunch(data, _as_numbers(path, target), names, [], return_X_y), label)
    classes, integers = np.unique(_without_gaps(path, target), return_inverse=True)
    words = _words(classes)
    if like is not None:
        integers = _places(path, words, list(like.target_names))[integers]
        words = like.target_names
    return _with_label(bunch(data, integers.astype(np.int32), names, words, return_X_y), label)


def _with_label(found: Any, label: str | None) -> Any:
    """A Bunch that knows its label column; anything else as it is."""
    if isinstance(found, Bunch):
        found["label"] = label
    return found


def load_features(
    path: str | os.PathLike, feature_names: Sequence[str], *, zero_based: bool = False
):
    """Reads the features of a file that may have labels or not, to apply a model to.

    **Arguments:**

    - `path`: a file as in `load_file`.
    - `feature_names`: the features that the model was fitted on. Of a table, these columns
      are taken, in this order; a LIBSVM file (which has labels always) or an NPZ file must
      have as many features.

    **Returns:** a float32 array or CSR matrix, one row a row of the file.

    **Raises** `FileNotFoundError` or `ValueError` in words that name the line or the column.

    >>> import bilevax as bx, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "flowers.csv"
    ...     _ = path.write_text("width,colour,length\\n2,red,1.5\\n")
    ...     X = bx.datasets.load_features(path, ["length", "width"])
    >>> X.tolist()
    [[1.5, 2.0]]
    """
    path = pathlib.Path(path)
    names = list(feature_names)
    data = read_features(path, _checked_format(path), zero_based, names)
    _check_numbers(path, data, names)
    return data


def _checked_format(path: pathlib.Path) -> str:
    """The format of a file that is there."""
    kind = format_of(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")
    return kind


def _places(path: pathlib.Path, words: list[str], known: list[str]) -> np.ndarray:
    """Where each label stands among those known."""
    new = [word for word in words if word not in known]
    if new:
        raise ValueError(
            f"{path} has the label {new[0]!r}, which the set that it shall be like has not."
        )
    return np.array([known.index(word) for word in words])


def _check_numbers(path: pathlib.Path, data: Any, names: list[str]) -> None:
    if data.shape[0] == 0:
        raise ValueError(f"{path} has no rows.")
    sparse = scipy.sparse.issparse(data)
    bad = ~np.isfinite(data.data if sparse else data)
    if not bad.any():
        return
    row, column = _place(data, int(np.argmax(bad))) if sparse else np.argwhere(bad)[0]
    raise ValueError(
        f"{path}: row {row + 1} of column {names[column]!r} is empty, NaN or infinite. "
        "Clean or impute it first."
    )


def _place(matrix: Any, entry: int) -> tuple[int, int]:
    """The row and the column of a stored entry."""
    coordinates = matrix.tocoo()
    return int(coordinates.row[entry]), int(coordinates.col[entry])


def _without_gaps(path: pathlib.Path, target: np.ndarray) -> np.ndarray:
    import pandas as pd

    missing = np.asarray(pd.isna(target)) | np.array([str(value) == "" for value in target])
    if missing.any():
        raise ValueError(f"{path}: row {int(np.argmax(missing)) + 1} has no label.")
    if target.dtype.kind == "f" and not np.isfinite(target).all():
        row = int(np.argmin(np.isfinite(target)))
        raise ValueError(f"{path}: row {row + 1} has the label {target[row]}.")
    return target.astype(str) if target.dtype.kind == "O" else target


def _as_numbers(path: pathlib.Path, target: np.ndarray) -> np.ndarray:
    try:
        numbers = target.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: regression needs labels that are numbers.") from None
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        raise ValueError(f"{path}: the label of row {row + 1} is missing or infinite.")
    return numbers


def _words(classes: np.ndarray) -> list[str]:
    whole = classes.dtype.kind == "f" and np.all(classes == classes.astype(int))
    return [str(c) for c in (classes.astype(int) if whole else classes).tolist()]
