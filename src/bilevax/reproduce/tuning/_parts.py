"""The rows of one seed: those to learn from, in folds, and those to test on."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from ._sets import DataSet, Table

_TEST_SHARE, _MOST_TEST_ROWS = 0.3, 4000
_FOLDS = 5


class Parts(NamedTuple):
    """Scaled rows; both sides fit on `train` by `folds`, and are compared on `test`."""

    train: Table
    test: Table
    folds: Any  # pairs of indices into the rows of `train`


def parts(data: DataSet, table: Table, seed: int) -> Parts:
    """The parts of a seed: classes in proportion, all scales measured on the training rows.

    Features are divided by the root mean square of all their entries, so that one grid of
    penalties suits all sets. Targets that are numbers are standardised.
    """
    features, targets = table
    cut: Any = train_test_split
    sizes = {"train_size": data.train_size} if data.train_size else {"test_size": _TEST_SHARE}
    pool, test = cut(
        np.arange(len(targets)),
        stratify=targets if data.classes else None,
        random_state=1000 + seed,
        **sizes,
    )
    test = test[:_MOST_TEST_ROWS]
    features = data.scaled(features, pool)
    features = features / np.sqrt(np.mean(features[pool] ** 2))
    if not data.classes:
        targets = (targets - targets[pool].mean()) / targets[pool].std()
    kind = StratifiedKFold if data.classes else KFold
    folds = kind(_FOLDS, shuffle=True, random_state=seed).split(pool, targets[pool])
    at = lambda rows: (features[rows], targets[rows])
    return Parts(at(pool), at(test), list(folds))
