"""Readers of file formats: features, labels and names, whatever the file."""

import bz2
import gzip
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np
import scipy.sparse
import sklearn.datasets

from ._table import read_table, table_features

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
    """Features, labels as they stand there, the features' names, and the labels' column.

    `wanted` are the names that the features must have, where known.
    """
    if kind in ("libsvm", "npz"):
        if label is not None:
            raise ValueError(f"{path}: only tables have a label column to name.")
        width = None if wanted is None else len(wanted)
        found: Any = _libsvm(path, zero_based, width) if kind == "libsvm" else _npz(path)
        _check_width(path, found[0], width)
        names = wanted or [f"feature_{i}" for i in range(found[0].shape[1])]
        return *found, names, None
    return read_table(path, kind, None if label is None else str(label), wanted)


def read_features(path: pathlib.Path, kind: str, zero_based: bool, wanted: list[str]) -> Any:
    """The features of these names, from a file that may lack labels."""
    if kind not in ("libsvm", "npz"):
        return table_features(path, kind, wanted)
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
