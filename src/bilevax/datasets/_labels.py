"""Labels: classes by what stands there, or numbers."""

import pathlib
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

# What counts as a gap in a column of numbers.
GAPS = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A"]
# As labels these are words, such as a country's, unless all others are numbers.
_NO_NUMBERS = {gap.lower() for gap in GAPS} | {"?", "-", ".", "inf", "-inf", "+inf"}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# 01 is not the number 1.
_LEADING_ZERO = re.compile(r"[+-]?0[0-9]")
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.0*)?")


def classes(
    path: pathlib.Path, target: np.ndarray, known: Sequence[str] | None = None
) -> tuple[np.ndarray, list[str]]:
    """An integer a row and the names of the classes: those known, if they are.

    Different words are different classes, `1.1` and `1.10` too. Names are sorted as numbers
    where all are numbers. Raises where a label is missing, or where two of them may be one.
    """
    check = _check_floats if target.dtype.kind == "f" else _check_words
    target = target if target.dtype.kind in "biuf" else target.astype(str)
    check(path, target, known or ())
    found, integers = np.unique(target, return_inverse=True)
    names = _names(found)
    if known is not None:
        order, names = _places(path, names, list(known)), list(known)
    elif found.dtype.kind == "U" and all(map(_NUMBER.fullmatch, names)):
        order = np.argsort(sorted(range(len(names)), key=lambda i: Decimal(names[i])))
        names = sorted(names, key=Decimal)
    else:
        order = np.arange(len(names))
    return order[integers].astype(np.int32), names


def numbers(path: pathlib.Path, target: np.ndarray) -> np.ndarray:
    """A double a row; raises where a label is missing or no number."""
    if target.dtype.kind not in "biuf":
        target = np.array(
            [_number(path, i, w) for i, w in enumerate(target.astype(str).tolist())]
        )
    found = target.astype(np.float64)
    if not np.isfinite(found).all():
        row = int(np.argmin(np.isfinite(found)))
        raise ValueError(f"{path}: the label of row {row + 1} is missing or infinite.")
    return found


def _number(path: pathlib.Path, row: int, word: str) -> float:
    if word.lower() in _NO_NUMBERS:
        return np.nan
    if not _NUMBER.fullmatch(word):
        raise ValueError(
            f"{path}: regression needs labels that are numbers, but row {row + 1} has {word!r}."
        )
    return float(word)


def _check_floats(path: pathlib.Path, target: np.ndarray, known: Sequence[str]) -> None:
    if np.isnan(target).any():
        raise ValueError(f"{path}: row {int(np.argmax(np.isnan(target))) + 1} has no label.")
    # From here on neighbouring integers are one number.
    large = np.abs(target) >= 2 / np.finfo(target.dtype).eps
    if large.any():
        row = int(np.argmax(large))
        raise ValueError(
            f"{path}: row {row + 1} has the label {target[row]:.17g}, and numbers as large are "
            f"not told apart as {target.dtype}: keep labels as integers or words."
        )


def _check_words(path: pathlib.Path, target: np.ndarray, known: Sequence[str]) -> None:
    if target.dtype.kind != "U":
        return
    words = np.unique(target).tolist()
    row = lambda word: int(np.argmax(target == word)) + 1
    if "" in words:
        raise ValueError(f"{path}: row {row('')} has no label.")
    odd = [w for w in words if w.lower() in _NO_NUMBERS and w not in known]
    rest = [w for w in words if w.lower() not in _NO_NUMBERS]
    if odd and rest and all(map(_NUMBER.fullmatch, rest)):
        raise ValueError(
            f"{path}: row {row(odd[0])} has the label {odd[0]} among labels that are numbers. "
            "Where it stands for a gap, leave the row out; where it is a class, let all labels "
            "be words."
        )
    same: dict[Decimal, str] = {}
    for word in filter(_WHOLE.fullmatch, words):
        other = same.setdefault(Decimal(word), word)
        if other != word:
            raise ValueError(
                f"{path} has the labels {other!r} and {word!r}, which are the same number: "
                "write them alike."
            )


def _places(path: pathlib.Path, names: list[str], known: list[str]) -> np.ndarray:
    """Where each name stands among those known: by its letters, or else by its number."""
    return np.array([_place(path, name, known) for name in names])


def _place(path: pathlib.Path, name: str, known: list[str]) -> int:
    if name in known:
        return known.index(name)
    value = _value(name)
    found = [i for i, other in enumerate(known) if value is not None and _value(other) == value]
    if len(found) != 1:
        raise ValueError(
            f"{path} has the label {name!r}, which the set that it shall be like has not."
        )
    return found[0]


def _value(name: str) -> Decimal | None:
    """The number that a name is, if it is one."""
    if _LEADING_ZERO.match(name) or not _NUMBER.fullmatch(name):
        return None
    return Decimal(name)


def _names(found: np.ndarray) -> list[str]:
    """Whole numbers without a point, if all are whole."""
    if found.dtype.kind == "f" and np.all(found == np.trunc(found)):
        return [str(int(value)) for value in found]
    return [str(value) for value in found]


def words(column: Any) -> np.ndarray:
    """The labels of a table's column: numbers where it holds numbers, else words."""
    import pandas as pd

    if column.dtype.kind in "biuf" and not column.isna().any():
        return column.to_numpy()
    if column.dtype.kind == "f":
        return column.to_numpy(np.float64, na_value=np.nan)
    return np.array(["" if pd.isna(value) else str(value).strip() for value in column], str)
