"""Readers of file formats: features, labels and names, whatever the file."""

import bz2
import difflib
import gzip
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np
import scipy.sparse
import sklearn.datasets

_FORMATS = {
    ".svm": "libsvm",
    ".libsvm": "libsvm",
    ".svmlight": "libsvm",
    ".csv": "csv",
    ".tsv": "tsv",
    ".npz": "npz",
    ".parquet": "parquet",
}
_LARGEST_INDEX = 2**31 - 1


def format_of(path: pathlib.Path) -> str:
    """The format that a file's ending names."""
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in (".gz", ".bz2")]
    kind = _FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise ValueError(
            f"{path.name} has no ending that says its format: use one of {', '.join(_FORMATS)}."
        )
    return kind


def read(path: pathlib.Path, kind: str, label: Any, zero_based: bool, wanted: Any) -> Any:
    """Features, labels as they stand there, and the features' names.

    `wanted` are the names that the features must have, where known.
    """
    if kind in ("libsvm", "npz"):
        if label is not None:
            raise ValueError(f"{path}: only tables have a label column to name.")
        width = None if wanted is None else len(wanted)
        found: Any = _libsvm(path, zero_based, width) if kind == "libsvm" else _npz(path)
        _check_width(path, found[0], width)
        names = wanted or [f"feature_{i}" for i in range(found[0].shape[1])]
        return *found, names
    return _table(path, kind, None if label is None else str(label), wanted)


def read_features(path: pathlib.Path, kind: str, zero_based: bool, wanted: list[str]) -> Any:
    """The features of these names, from a file that may lack labels."""
    if kind not in ("libsvm", "npz"):
        return _columns(path, _frame(path, kind), wanted)
    width = len(wanted)
    if kind == "libsvm":
        return _libsvm(path, zero_based, width)[0]
    data = _arrays(path, "X")["X"]
    _check_features(path, data)
    _check_width(path, data, width)
    return data.astype(np.float32)


def _check_width(path: pathlib.Path, data: Any, width: int | None) -> None:
    if width is not None and data.shape[1] != width:
        raise ValueError(f"{path} has {data.shape[1]} features, and not {width}.")


def _libsvm(path: pathlib.Path, zero_based: bool, width: int | None):
    options: Any = {"dtype": np.float32, "n_features": width, "zero_based": zero_based}
    try:
        data, target = sklearn.datasets.load_svmlight_file(str(path), **options)[:2]
    except (ValueError, OverflowError, OSError, EOFError, zlib.error) as error:
        reason = _faulty_line(path, zero_based, width) or f"could not be read ({error})."
        raise ValueError(f"{path}: {reason}") from error
    return scipy.sparse.csr_matrix(data), target


def _faulty_line(path: pathlib.Path, zero_based: bool, width: int | None) -> str | None:
    """What is wrong with the first line that is no LIBSVM line, with its number."""
    unpack = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix.lower(), open)
    first = 0 if zero_based else 1
    last = _LARGEST_INDEX if width is None else width + first - 1
    try:
        with unpack(path, "rt", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                fault = _fault(line, first, last)
                if fault:
                    return f"line {number} {fault}"
    except (OSError, EOFError, zlib.error):
        return None
    return None


def _fault(line: str, first: int, last: int) -> str | None:
    words = line.split("#")[0].split()
    try:
        for word in words[:1]:
            float(word)
        pairs = [word.split(":") for word in words[1:] if not word.startswith("qid:")]
        indices = [(int(index), float(value))[0] for index, value in pairs]
    except ValueError:
        return f"is not of the form 'label index:value ...': {line.strip()[:60]!r}"
    if indices != sorted(set(indices)):
        return "has indices that do not increase."
    outside = [index for index in indices if not first <= index <= last]
    if outside:
        return f"has the index {outside[0]}, and {first} to {last} are possible (zero_based=)."
    return None


def _npz(path: pathlib.Path):
    arrays = _arrays(path, "X", "y")
    data, target = arrays["X"], arrays["y"]
    _check_features(path, data)
    if target.shape != data.shape[:1]:
        raise ValueError(
            f"{path}: X must be rows x features and y one label a row, got shapes "
            f"{data.shape} and {target.shape}."
        )
    if target.dtype.kind not in "biufUS":
        raise ValueError(f"{path}: y must hold numbers or words, got {target.dtype}.")
    return data.astype(np.float32), target


def _arrays(path: pathlib.Path, *needed: str) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file, once those needed were found there."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} could not be read as an NPZ file of numbers.") from error
    if not set(needed) <= arrays.keys():
        names = " and ".join(f"'{name}'" for name in needed)
        raise ValueError(f"{path} needs the arrays {names}; it has {', '.join(arrays)}.")
    return arrays


def _check_features(path: pathlib.Path, data: np.ndarray) -> None:
    if data.ndim != 2 or data.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: X must hold numbers, rows x features; got {data.dtype} of shape "
            f"{data.shape}."
        )


def _table(path: pathlib.Path, kind: str, label: str | None, wanted: list[str] | None):
    frame = _frame(path, kind)
    label = _label_column(path, list(frame.columns), label)
    names = [name for name in frame.columns if name != label] if wanted is None else wanted
    if not names:
        raise ValueError(f"{path} has no columns beside the label.")
    return _columns(path, frame, names), frame[label].to_numpy(), list(names)


def _columns(path: pathlib.Path, frame: Any, names: list[str]) -> np.ndarray:
    """These columns as numbers."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}.")
    return np.column_stack([_column(path, name, frame[name]) for name in names])


def _frame(path: pathlib.Path, kind: str):
    import pandas as pd

    try:
        if kind == "parquet":
            frame = pd.read_parquet(path)
            names = [str(name) for name in frame.columns]
        else:
            separator = "\t" if kind == "tsv" else ","
            frame = pd.read_csv(path, sep=separator)
            first = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str)
            names = first.iloc[0].fillna("").tolist()
    except Exception as error:  # each engine has errors of its own
        raise ValueError(f"{path} could not be read: {' '.join(str(error).split())}") from error
    for name in names:
        if not name.strip():
            raise ValueError(
                f"{path}: column {names.index(name) + 1} has no name. If it only counts the "
                "rows, leave it out (pandas writes it unless told index=False)."
            )
        if names.count(name) > 1:
            raise ValueError(f"{path} has two columns of the name {name!r}.")
    frame.columns = names
    return frame


def _column(path: pathlib.Path, name: str, column: Any) -> np.ndarray:
    """A column of numbers as float32; gaps as NaN."""
    import pandas as pd

    if column.dtype.kind in "mM" or isinstance(column.dtype, pd.DatetimeTZDtype):
        raise ValueError(f"{path}: column {name!r} holds times: turn them into numbers first.")
    numbers: Any = pd.to_numeric(column, errors="coerce")
    text = (numbers.isna() & column.notna()).to_numpy()
    if text.any():
        row = int(np.argmax(text))
        raise ValueError(
            f"{path}: column {name!r} must hold numbers, but row {row + 1} has "
            f"{column.iloc[row]!r}. Encode it as numbers, or leave it out."
        )
    return numbers.to_numpy(np.float32, na_value=np.nan)


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
