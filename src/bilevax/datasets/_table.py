"""Tables: CSV, TSV and Parquet, whose columns have names."""

import difflib
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ._labels import GAPS, words

# Files that tell their shape, and whose columns can be read a few rows at a time.
COLUMNAR = "parquet", "arrow"


def read_table(path: pathlib.Path, kind: str, label: str | None, wanted: Sequence[str] | None):
    """Features, labels, the features' names and the labels' column."""
    frame, label = _frame(path, kind, lambda names: label_column(path, names, label))
    names = [name for name in frame.columns if name != label] if wanted is None else wanted
    if not names:
        raise ValueError(f"{path} has no columns beside the label.")
    return columns_of(path, frame, names), words(frame[label]), list(names), label


def table_features(path: pathlib.Path, kind: str, names: Sequence[str]) -> np.ndarray:
    """The columns of these names, of a table with labels or without."""
    return columns_of(path, _frame(path, kind, lambda names: None)[0], names)


def table_shape(path: pathlib.Path, kind: str) -> tuple[int, list[str]]:
    """Rows and names of columns of a Parquet or Arrow file, of which little is read."""
    table = _read(path, _opened, kind=kind)
    names = [str(name) for name in table.schema.names]
    _check_names(path, names)
    return table.count_rows(), names


def read_columns(path: pathlib.Path, kind: str, label: str) -> np.ndarray:
    """The labels of such a file alone."""
    return words(_opened(path, kind).to_table(columns=[label]).to_pandas()[label])


def read_batches(
    path: pathlib.Path, kind: str, names: Sequence[str], size: int
) -> Iterator[Any]:
    """Some columns of such a file, so many rows at a time."""
    missing = set(names) - set(_opened(path, kind).schema.names)
    if missing:
        raise ValueError(f"{path} has no column {min(missing)!r}.")
    for batch in _batches(path, kind, names, size):
        if batch.num_rows:
            yield batch.to_pandas()


def _batches(path: pathlib.Path, kind: str, names: Sequence[str], size: int) -> Iterator[Any]:
    import pyarrow.ipc
    import pyarrow.parquet

    if kind == "parquet":
        # Otherwise whole groups of rows are held, which may be all rows.
        file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**16)
        yield from file.iter_batches(size, columns=list(names), use_threads=False)
        return
    with pyarrow.OSFile(os.fspath(path)) as source:
        reader = pyarrow.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            whole = reader.get_batch(index).select(list(names))
            for start in range(0, whole.num_rows, size):
                yield whole.slice(start, size)


def _opened(path: pathlib.Path, kind: str) -> Any:
    import pyarrow.dataset

    return pyarrow.dataset.dataset(path, format="feather" if kind == "arrow" else kind)


def _frame(path: pathlib.Path, kind: str, find_label: Callable[[list[str]], str | None]):
    """The table and its label column."""
    import pandas as pd

    if kind in COLUMNAR:
        frame = _read(path, pd.read_parquet if kind == "parquet" else pd.read_feather)
        frame.columns = [str(name) for name in frame.columns]
        _check_names(path, list(frame.columns))
        return frame, find_label(list(frame.columns))
    separator = "\t" if kind == "tsv" else ","
    first = _read(path, pd.read_csv, sep=separator, header=None, nrows=1, dtype=str)
    names = first.iloc[0].fillna("").tolist()
    _check_names(path, names)
    label = find_label(names)
    # In the label column NA may be a word like others, and 01 is not the number 1.
    gaps: Any = {name: GAPS for name in names if name != label}
    kinds: Any = None if label is None else {label: str}
    options = {"sep": separator, "dtype": kinds, "na_values": gaps, "keep_default_na": False}
    with warnings.catch_warnings():
        # pandas would drop surplus fields, or take the first for the names of rows.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return _read(path, pd.read_csv, index_col=False, **options), label
        except pd.errors.ParserWarning:
            raise ValueError(
                f"{path}: its rows have more fields than its first line has names "
                f"({len(names)}). Is there a separator at the end of lines?"
            ) from None


def _read(path: pathlib.Path, reader: Any, **options: Any):
    try:
        return reader(path, **options)
    except Warning:
        raise
    except Exception as error:  # each engine has errors of its own
        raise ValueError(f"{path} could not be read: {' '.join(str(error).split())}") from error


def _check_names(path: pathlib.Path, names: list[str]) -> None:
    for name in names:
        if not name.strip():
            raise ValueError(
                f"{path}: column {names.index(name) + 1} has no name. If it only counts the "
                "rows, leave it out (pandas writes it unless told index=False)."
            )
        if names.count(name) > 1:
            raise ValueError(f"{path} has two columns of the name {name!r}.")


def columns_of(
    path: pathlib.Path, frame: Any, names: Sequence[str], first: int = 0
) -> np.ndarray:
    """These columns as numbers, of a table or of its rows from the `first` on."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}.")
    return np.column_stack([_column(path, name, frame[name], first) for name in names])


def _column(path: pathlib.Path, name: str, column: Any, first: int) -> np.ndarray:
    """A column of numbers as doubles; gaps as NaN."""
    import pandas as pd

    if column.dtype.kind in "mM" or isinstance(column.dtype, pd.DatetimeTZDtype):
        raise ValueError(f"{path}: column {name!r} holds times: turn them into numbers first.")
    numbers: Any = pd.to_numeric(column, errors="coerce")
    text = (numbers.isna() & column.notna()).to_numpy()
    if text.any():
        row = int(np.argmax(text))
        raise ValueError(
            f"{path}: column {name!r} must hold numbers, but row {first + row + 1} has "
            f"{column.iloc[row]!r}. Encode it as numbers, or leave it out."
        )
    return numbers.to_numpy(np.float64, na_value=np.nan)


def label_column(path: pathlib.Path, columns: list[str], label: str | None) -> str:
    """The column of the labels: the one that is named, or one of a usual name."""
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
