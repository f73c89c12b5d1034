"""Readers of file formats: features, labels and names, whatever the file."""

import bz2
import gzip
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from ._names import NumberedNames
from ._table import COLUMNAR, read_table, table_features

_FORMATS = {
    ".svm": "libsvm",
    ".libsvm": "libsvm",
    ".svmlight": "libsvm",
    ".csv": "csv",
    ".tsv": "tsv",
    ".npz": "npz",
    ".npy": "npy",
    ".parquet": "parquet",
    ".feather": "arrow",
    ".arrow": "arrow",
}
# The widest sets that are known have half as many.
_MOST_FEATURES = 100_000_000


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
    if kind in ("libsvm", "npz", "npy"):
        check_label(path, kind, label)
        width = None if wanted is None else len(wanted)
        found: Any = (
            _libsvm(path, zero_based, width) if kind == "libsvm" else _dense(path, label)
        )
        check_width(path, found[0], width)
        names = NumberedNames(found[0].shape[1]) if wanted is None else wanted
        return *found, names, None
    return read_table(path, kind, None if label is None else str(label), wanted)


def read_features(
    path: pathlib.Path, kind: str, zero_based: bool, wanted: Sequence[str]
) -> Any:
    """The features of these names, from a file that may lack labels."""
    if kind not in ("libsvm", "npz", "npy"):
        return table_features(path, kind, wanted)
    width = len(wanted)
    if kind == "libsvm":
        return _libsvm(path, zero_based, width)[0]
    data = _array(path) if kind == "npy" else _arrays(path, "X")["X"]
    _check_features(path, data)
    check_width(path, data, width)
    return data


def check_label(path: pathlib.Path, kind: str, label: Any) -> None:
    """Raise where labels are named that the file cannot have, or not where they are."""
    if kind == "npy" and label is None:
        raise ValueError(f"{path} has no labels: name the NPY file that has, label='y.npy'.")
    if kind not in ("npy", "csv", "tsv", *COLUMNAR) and label is not None:
        raise ValueError(f"{path}: only tables have a label column to name.")


def check_width(path: pathlib.Path, data: Any, width: int | None) -> None:
    """Raise where the features are not as many as they must be."""
    if width is not None and data.shape[1] != width:
        raise ValueError(f"{path} has {data.shape[1]} features, and not {width}.")


def _libsvm(path: pathlib.Path, zero_based: bool, width: int | None):
    import sklearn.datasets

    options: Any = {"n_features": width, "zero_based": zero_based}
    try:
        data, target = sklearn.datasets.load_svmlight_file(str(path), **options)[:2]
    except Exception as error:  # whatever unpacking and parsing raise
        reason = _faulty_line(path, zero_based, width) or f"could not be read ({error})."
        raise ValueError(f"{path}: {reason}") from error
    # Python takes 1_0 for 10; and an index may be one that no one means.
    if data.shape[1] > _MOST_FEATURES or _has_underscores(path):
        reason = _faulty_line(path, zero_based, width)
        if reason:
            raise ValueError(f"{path}: {reason}")
    return scipy.sparse.csr_matrix(data), target


def _opened(path: pathlib.Path) -> Any:
    """The bytes of a file, unpacked."""
    return {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix.lower(), open)(path, "rb")


def _has_underscores(path: pathlib.Path) -> bool:
    with _opened(path) as content:
        return any(b"_" in part for part in iter(lambda: content.read(2**20), b""))


def _faulty_line(path: pathlib.Path, zero_based: bool, width: int | None) -> str | None:
    """What is wrong with the first line that is no LIBSVM line, with its number."""
    first = 0 if zero_based else 1
    last = (_MOST_FEATURES if width is None else width) + first - 1
    try:
        with _opened(path) as lines:
            for number, line in enumerate(lines, 1):
                fault = _fault(line.decode(errors="replace"), first, last)
                if fault:
                    return f"line {number} {fault}"
    except (OSError, EOFError, zlib.error):
        return None
    return None


def _fault(line: str, first: int, last: int) -> str | None:
    words = line.split("#")[0].split()
    try:
        for word in words[:1]:
            _number(float, word)
        pairs = [word.split(":") for word in words[1:] if not word.startswith("qid:")]
        indices = [(_number(int, index), _number(float, value))[0] for index, value in pairs]
    except ValueError:
        return f"is not of the form 'label index:value ...': {line.strip()[:60]!r}"
    if indices != sorted(set(indices)):
        return "has indices that do not increase."
    outside = [index for index in indices if not first <= index <= last]
    if outside:
        return f"has the index {outside[0]}, and {first} to {last} are possible (zero_based=)."
    return None


def _number(kind: Any, word: str) -> Any:
    if "_" in word:
        raise ValueError(word)
    return kind(word)


def _dense(path: pathlib.Path, label: Any):
    if label is None:
        arrays = _arrays(path, "X", "y")
        data, target = arrays["X"], arrays["y"]
    else:
        data, target = _array(path), _array(pathlib.Path(label))
    return data, checked_target(path, data, target)


def target_of(path: pathlib.Path, label: Any) -> np.ndarray:
    """The labels of an NPZ file, or those that are an NPY file of their own."""
    return _arrays(path, "y")["y"] if label is None else _array(pathlib.Path(label))


def checked_target(path: pathlib.Path, data: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Labels that belong to features, once both were found to be what they should."""
    _check_features(path, data)
    if target.shape != data.shape[:1]:
        raise ValueError(
            f"{path}: X must be rows x features and y one label a row, got shapes "
            f"{data.shape} and {target.shape}."
        )
    if target.dtype.kind not in "biufUS":
        raise ValueError(f"{path}: y must hold numbers or words, got {target.dtype}.")
    if target.dtype.kind == "S":
        target = np.char.decode(target, "utf-8", "backslashreplace")
    return target


def _array(path: pathlib.Path) -> np.ndarray:
    """The array of an NPY file."""
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # whatever foreign and damaged files raise
        raise ValueError(f"{path} could not be read as an NPY file ({error}).") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is not one array: use numpy.save.")
    return array


def _arrays(path: pathlib.Path, *needed: str) -> dict[str, np.ndarray]:
    """These arrays of an NPZ file."""
    try:
        # NumPy leaves a damaged file open that it has opened itself.
        with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
            there = file.files
            arrays = {name: file[name] for name in needed if name in there}
    except Exception as error:  # whatever foreign, damaged and encrypted archives raise
        raise ValueError(
            f"{path} could not be read as an NPZ file of numbers ({error}): write it with "
            "numpy.savez(file, X=..., y=...)."
        ) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError(f"{path} is an archive of other things than arrays: use numpy.savez.")
    if not set(needed) <= arrays.keys():
        names = " and ".join(f"'{name}'" for name in needed)
        raise ValueError(f"{path} needs the arrays {names}; it has {', '.join(there)}.")
    return arrays


def _check_features(path: pathlib.Path, data: np.ndarray) -> None:
    if data.ndim != 2 or data.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: X must hold numbers, rows x features; got {data.dtype} of shape "
            f"{data.shape}."
        )
