"""A user's own file."""

import bz2
import difflib
import gzip
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import sklearn.datasets

from ._home import bunch

_FORMATS = {
    ".svm": "libsvm",
    ".libsvm": "libsvm",
    ".svmlight": "libsvm",
    ".csv": "csv",
    ".tsv": "csv",
    ".npz": "npz",
    ".parquet": "parquet",
}


def load_file(
    path: str | os.PathLike,
    *,
    label: str | None = None,
    task: str = "classification",
    return_X_y: bool = False,
):
    """Reads a file of rows with labels.

    | ending | format | labels |
    |---|---|---|
    | `.svm`, `.libsvm`, `.svmlight` | LIBSVM, sparse | the first number of a line |
    | `.csv`, `.tsv` | with a line of column names | the column `label` |
    | `.parquet` | a table | the column `label` |
    | `.npz` | arrays `X` (dense) and `y` | `y` |

    All but NPZ may also end in `.gz` or `.bz2`, except Parquet. `data` is float32, dense or
    a CSR matrix.

    **Arguments:**

    - `label`: the name of the label column; "label", "target", "class" or "y" is found by
      itself.
    - `task`: with "classification" `target` holds integers and `target_names` the labels;
      with "regression" it holds numbers.

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
    kind = _format(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")
    read: Callable = {"libsvm": _libsvm, "npz": _npz}.get(kind, _table)
    data, target, names = read(path, label)
    if data.shape[0] == 0:
        raise ValueError(f"{path} has no rows.")
    _check_numbers(path, data, names)
    if task == "regression":
        return bunch(data, _as_numbers(path, target), names, [], return_X_y)
    classes, target = np.unique(_without_gaps(path, target), return_inverse=True)
    return bunch(data, target.astype(np.int32), names, _words(classes), return_X_y)


def _format(path: pathlib.Path) -> str:
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in (".gz", ".bz2")]
    kind = _FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise ValueError(
            f"{path.name} has no ending that says its format: use one of {', '.join(_FORMATS)}."
        )
    return kind


def _libsvm(path: pathlib.Path, label: str | None):
    del label
    try:
        single: Any = np.float32
        data, target = sklearn.datasets.load_svmlight_file(str(path), dtype=single)[:2]
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {_faulty_line(path) or error}") from error
    names = [f"feature_{i}" for i in range(data.shape[1])]
    return scipy.sparse.csr_matrix(data), target, names


def _faulty_line(path: pathlib.Path) -> str | None:
    """What is wrong with the first line that is no LIBSVM line, with its number."""
    unpack = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix.lower(), open)
    with unpack(path, "rt", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            words = line.split("#")[0].split()
            try:
                for word in words[:1]:
                    float(word)
                pairs = [word.split(":") for word in words[1:] if not word.startswith("qid:")]
                indices = [(int(index), float(value))[0] for index, value in pairs]
            except ValueError:
                found = line.strip()[:60]
                return f"line {number} is not of the form 'label index:value ...': {found!r}"
            if indices != sorted(set(indices)):
                return f"the indices of line {number} do not increase."
    return None


def _npz(path: pathlib.Path, label: str | None):
    del label
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path} could not be read as an NPZ file of numbers.") from error
    if not {"X", "y"} <= arrays.keys():
        raise ValueError(f"{path} needs the arrays 'X' and 'y'; it has {', '.join(arrays)}.")
    data, target = arrays["X"], arrays["y"]
    if data.ndim != 2 or target.ndim != 1 or len(data) != len(target):
        raise ValueError(
            f"{path}: X must be rows x features and y one label a row, got shapes "
            f"{data.shape} and {target.shape}."
        )
    if not np.issubdtype(data.dtype, np.number):
        raise ValueError(f"{path}: X must hold numbers, got {data.dtype}.")
    return data.astype(np.float32), target, [f"feature_{i}" for i in range(data.shape[1])]


def _table(path: pathlib.Path, label: str | None):
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(path, sep="\t" if ".tsv" in path.suffixes else ",")
    except Exception as error:  # each engine has errors of its own
        raise ValueError(f"{path} could not be read: {' '.join(str(error).split())}") from error
    frame.columns = [str(column) for column in frame.columns]
    label = _label_column(path, list(frame.columns), label)
    features = frame.drop(columns=label)
    for name in features.columns:
        numbers: Any = pd.to_numeric(features[name], errors="coerce")
        text = numbers.isna() & features[name].notna()
        if text.any():
            row = int(np.argmax(text))
            raise ValueError(
                f"{path}: column {name!r} must hold numbers, but row {row + 1} has "
                f"{features[name].iloc[row]!r}. Encode it as numbers, or leave it out."
            )
        features[name] = numbers.astype(np.float32)
    return features.to_numpy(np.float32), frame[label].to_numpy(), list(features.columns)


def _label_column(path: pathlib.Path, columns: list[str], label: str | None) -> str:
    if label in columns:
        return str(label)
    if label is None:
        usual = [c for c in columns if c.lower() in ("label", "target", "class", "y")]
        if len(usual) == 1:
            return usual[0]
        raise ValueError(f"{path}: say which column holds the labels. {_listed(columns)}")
    near = difflib.get_close_matches(label, columns, 1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{path} has no column {label!r}.{meant} {_listed(columns)}")


def _listed(columns: list[str]) -> str:
    more = ", ..." if len(columns) > 12 else ""
    return f"Its columns are {', '.join(columns[:12])}{more}."


def _check_numbers(path: pathlib.Path, data: Any, names: list[str]) -> None:
    sparse = scipy.sparse.issparse(data)
    bad = ~np.isfinite(data.data if sparse else data)
    if not bad.any():
        return
    coordinates = data.tocoo() if sparse else None
    places = np.argwhere(bad)[0]
    row, column = (
        places
        if coordinates is None
        else (coordinates.row[places[0]], coordinates.col[places[0]])
    )
    raise ValueError(
        f"{path}: row {row + 1} of column {names[column]!r} is empty, NaN or infinite. "
        "Clean or impute it first."
    )


def _place(matrix: Any, entry: int) -> tuple[int, int]:
    """The row and the column of a stored entry."""
    return matrix.tocoo().row[entry], matrix.tocoo().col[entry]


def _without_gaps(path: pathlib.Path, target: np.ndarray) -> np.ndarray:
    if target.dtype.kind == "O":
        missing = np.array([value is None or value != value for value in target])
        target = np.where(missing, "", target).astype(str)
    else:
        missing = np.isnan(target) if target.dtype.kind == "f" else np.zeros(len(target), bool)
    if missing.any():
        raise ValueError(f"{path}: row {int(np.argmax(missing)) + 1} has no label.")
    return target


def _as_numbers(path: pathlib.Path, target: np.ndarray) -> np.ndarray:
    try:
        numbers = target.astype(np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: regression needs labels that are numbers.") from None
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        raise ValueError(f"{path}: the label of row {row + 1} is missing or infinite.")
    return numbers


def _words(classes: np.ndarray) -> list[str]:
    whole = classes.dtype.kind == "f" and np.all(classes == classes.astype(int))
    return [str(c) for c in (classes.astype(int) if whole else classes).tolist()]
