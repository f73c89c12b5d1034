"""Folds, from what scikit-learn's users pass for `cv`."""

import numbers
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, check_cv, train_test_split


def splits(
    cv: Any, features, targets, groups, classifier: bool, random_state, present: np.ndarray
) -> list[tuple[np.ndarray, ...]]:
    """Pairs of indices of training and test rows, of those that are present.

    An int stands for `StratifiedKFold` or `KFold`, shuffled where there is a random state.
    Pairs, or one triple, that are given index all rows; `present` says which are there.
    """
    if isinstance(cv, Iterable) and not isinstance(cv, str) and not hasattr(cv, "split"):
        found = [tuple(_there(part, present) for part in parts) for parts in cv]
        if not found:
            raise ValueError(_NO_SPLIT)
        return found
    if isinstance(cv, numbers.Integral):
        if groups is not None:
            raise ValueError(_GROUPS.format(f"cv={cv}"))
        if classifier:
            _check_members(targets, int(cv))
        kind = StratifiedKFold if classifier else KFold
        state = {} if random_state is None else {"shuffle": True, "random_state": random_state}
        cv = kind(int(cv), **state)
    made: Any = check_cv
    splitter = made(cv, targets, classifier=classifier)
    with warnings.catch_warnings():
        if groups is not None:
            warnings.filterwarnings("error", "The groups parameter is ignored", UserWarning)
        try:
            found = list(splitter.split(features, targets, groups))
        except UserWarning as warning:
            raise ValueError(_GROUPS.format(f"cv={splitter}")) from warning
    return [(np.asarray(train), np.asarray(test)) for train, test in found]


def _there(part, present: np.ndarray) -> np.ndarray:
    """Indices, or a mask, of all rows, as indices of those that are present."""
    rows = np.asarray(part)
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    return (np.cumsum(present) - 1)[rows[present[rows]]]


def three_parts(targets, classifier: bool, random_state) -> list[np.ndarray]:
    """60, 20 and 20 % of the rows: to train, to tune and to judge on."""
    rows, seed = np.arange(len(targets)), 0 if random_state is None else random_state
    labels = targets if classifier else None
    cut: Any = train_test_split
    train, rest = cut(rows, test_size=0.4, stratify=labels, random_state=seed)
    return [train, *halves(rest, targets, classifier, seed)]


def halves(rows: np.ndarray, targets, classifier: bool, random_state) -> list[np.ndarray]:
    """Rows to tune on, and as many to judge on."""
    labels = targets[rows] if classifier else None
    cut: Any = train_test_split
    return cut(rows, test_size=0.5, stratify=labels, random_state=random_state)


def _check_members(targets, num: int) -> None:
    _, counts = np.unique(targets, return_counts=True)
    if counts.min() < num:
        raise ValueError(
            f"n_splits={num} cannot be greater than the number of members in each class: the "
            f"least populated one has {counts.min()}."
        )


_NO_SPLIT = (
    "cv gives no split: a generator, such as KFold(5).split(X), is used up by one fit. Pass "
    "the splitter itself, or a list."
)
_GROUPS = (
    "groups are given, and {} does not look at them: pass a group splitter, such as "
    "cv=GroupKFold(5)."
)
