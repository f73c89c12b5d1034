"""Folds, from what scikit-learn's users pass for `cv`."""

import numbers
import warnings
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
    if not isinstance(cv, numbers.Integral) and not hasattr(cv, "split"):
        place = np.cumsum(present) - 1
        there = lambda part: place[np.asarray(part)[present[np.asarray(part)]]]
        return [tuple(map(there, parts)) for parts in cv]
    if isinstance(cv, numbers.Integral):
        if groups is not None:
            raise ValueError(_GROUPS.format(f"cv={cv}"))
        if classifier:
            _check_members(targets, int(cv))
        kind = StratifiedKFold if classifier else KFold
        state = {} if random_state is None else {"shuffle": True, "random_state": random_state}
        cv = kind(int(cv), **state)
    splitter: Any = check_cv(cv, targets, classifier=classifier)
    with warnings.catch_warnings():
        if groups is not None:
            warnings.filterwarnings("error", "The groups parameter is ignored", UserWarning)
        try:
            found = list(splitter.split(features, targets, groups))
        except UserWarning as warning:
            raise ValueError(_GROUPS.format(f"cv={splitter}")) from warning
    return [(np.asarray(train), np.asarray(test)) for train, test in found]


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


_GROUPS = (
    "groups are given, and {} does not look at them: pass a group splitter, such as "
    "cv=GroupKFold(5)."
)
