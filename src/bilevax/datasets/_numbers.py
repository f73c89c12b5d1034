"""Features in single precision."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

_SINGLE = np.finfo(np.float32)


def as_float32(path: pathlib.Path, data: Any, names: Sequence[str], *, to_fit: bool) -> Any:
    """Features, dense or CSR, in single precision, once they were found to be numbers.

    Where a model is to be fitted `to_fit` them, every column must be told apart there: its
    differences must be more than rounding, and neither vanish nor overflow.
    """
    if data.shape[0] == 0:
        raise ValueError(f"{path} has no rows.")
    if data.shape[1] == 0:
        raise ValueError(f"{path} has no features.")
    _check_each(path, data, names)
    if to_fit:
        _check_columns(path, names, *_ranges(data))
    with np.errstate(under="ignore"):
        return data.astype(np.float32)


class Checks:
    """The same checks of dense features, of which one block comes after another."""

    def __init__(self, path: pathlib.Path, names: Sequence[str]):
        self._path, self._names, self.rows = path, names, 0
        self._low, self._high = np.inf, -np.inf

    def add(self, block: np.ndarray) -> None:
        """The next rows."""
        _check_each(self._path, block, self._names, self.rows)
        _, low, high = _ranges(block)
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        self.rows += len(block)

    def finish(self, *, to_fit: bool) -> None:
        """No more rows."""
        if not self.rows:
            raise ValueError(f"{self._path} has no rows.")
        if to_fit:
            columns = np.arange(len(self._names))
            _check_columns(self._path, self._names, columns, self._low, self._high)


def _check_each(path: pathlib.Path, data: Any, names: Sequence[str], first: int = 0) -> None:
    values = data.data if scipy.sparse.issparse(data) else data
    bad = ~np.isfinite(values)
    if bad.any():
        row, name, _ = _place(data, bad, names)
        raise ValueError(
            f"{path}: row {first + row + 1} of column {name!r} is empty, NaN or infinite. "
            "Clean or impute it first."
        )
    large = np.abs(values) > _SINGLE.max
    if large.any():
        row, name, value = _place(data, large, names)
        raise ValueError(
            f"{path}: row {first + row + 1} of column {name!r} is {value:.3g}, and single "
            f"precision ends at {_SINGLE.max:.2g}. Correct it, or keep the column in a larger "
            "unit."
        )


def _place(data: Any, bad: np.ndarray, names: Sequence[str]) -> tuple[int, str, Any]:
    """The row, the column's name and the value of the first bad entry."""
    if scipy.sparse.issparse(data):
        entry, found = int(np.argmax(bad)), data.tocoo()
        return int(found.row[entry]), names[int(found.col[entry])], found.data[entry]
    row, column = np.argwhere(bad)[0]
    return int(row), names[int(column)], data[row, column]


def _check_columns(path: pathlib.Path, names: Sequence[str], columns, low, high) -> None:
    spread, largest = high - low, np.maximum(np.abs(low), np.abs(high))
    relative = 1e3 * _SINGLE.eps * largest
    bad = (spread > 0) & (
        (spread < np.maximum(relative, _SINGLE.tiny)) | (spread > _SINGLE.max)
    )
    if not bad.any():
        return
    i = int(np.argmax(bad))
    told = f"{path}: column {names[int(columns[i])]!r} varies by {spread[i]:.3g}"
    if spread[i] < relative[i]:
        raise ValueError(
            f"{told} around {high[i]:.6g}, which single precision hardly tells apart: subtract "
            "its mean first."
        )
    fault = "takes for zero" if spread[i] < 1 else "cannot hold"
    raise ValueError(f"{told}, which single precision {fault}: take another unit.")


def _ranges(data: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The columns with entries, and the least and the largest number of each."""
    if scipy.sparse.issparse(data):
        # However many columns there are: only as much memory as entries.
        columns, place = np.unique(data.indices, return_inverse=True)
        shape = data.shape[0], len(columns)
        data = scipy.sparse.csr_matrix((data.data, place, data.indptr), shape=shape)
        low, high = (m.toarray().ravel() for m in (data.min(axis=0), data.max(axis=0)))
    else:
        columns, low, high = np.arange(data.shape[1]), data.min(axis=0), data.max(axis=0)
    return columns, low.astype(np.float64), high.astype(np.float64)
