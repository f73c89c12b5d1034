"""Folds, from what scikit-learn's users pass for `cv`."""

import numbers
import warnings

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, check_cv, train_test_split

from ._plan import Split


def splits(cv, features, targets, groups, classifier: bool, random_state) -> list[Split]:
    """Pairs of indices of training and test rows.

    An int stands for `StratifiedKFold` or `KFold`, shuffled where there is a random state.
    """
    if isinstance(cv, numbers.Integral):
        if groups is not None:
            raise ValueError(_GROUPS.format(f"cv={cv}"))
        if classifier:
            _check_members(targets, int(cv))
        kind = StratifiedKFold if classifier else KFold
        state = {} if random_state is None else {"shuffle": True, "random_state": random_state}
        cv = kind(int(cv), **state)
    splitter = check_cv(cv, targets, classifier=classifier)
    with warnings.catch_warnings():
        if groups is not None:
            warnings.filterwarnings("error", "The groups parameter is ignored", UserWarning)
        try:
            found = list(splitter.split(features, targets, groups))
        except UserWarning as warning:
            raise ValueError(_GROUPS.format(f"cv={splitter}")) from warning
    return [tuple(np.asarray(part) for part in split) for split in found]


def three_parts(targets, classifier: bool, random_state) -> list[np.ndarray]:
    """60, 20 and 20 % of the rows: to train, to tune and to judge on."""
    rows, seed = np.arange(len(targets)), 0 if random_state is None else random_state
    labels = targets if classifier else None
    train, rest = train_test_split(rows, test_size=0.4, stratify=labels, random_state=seed)
    labels = targets[rest] if classifier else None
    tune, judge = train_test_split(rest, test_size=0.5, stratify=labels, random_state=seed)
    return [train, tune, judge]


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
