"""The rows that are no test rows, as estimators are given them."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse

from ...sklearn._fit import is_large
from ...sklearn._splits import halves, splits, three_parts
from .._errors import UnusableError
from .._settings import Settings
from .._tables import Rows, Table, largest


@dataclasses.dataclass(frozen=True)
class Pool:
    """Features in units that a penalty can be shared in, and how they are split.

    The columns of a table are brought to unit variance by the estimator, fold by fold. What
    has one unit already is not: pixels are divided by the root mean square of them all, the
    columns of a sparse file with entries beyond [-1, 1] by their largest, words by nothing.

    - `units`: what each feature was divided by;
    - `scale`: whether the estimator is to scale features;
    - `folds`: pairs of indices of rows to train and to validate on; or, of one split, a triple
      of rows to train, to tune and to judge on.
    """

    features: Any
    targets: np.ndarray
    units: np.ndarray
    scale: bool
    folds: list[tuple[np.ndarray, ...]]

    @classmethod
    def of(cls, settings: Settings, table: Table) -> "Pool":
        """The rows of a table but for its test rows."""
        features, targets = _joined(table)
        units = _units(features, table.kind, settings.named)
        scale = table.kind == "columns" and not scipy.sparse.issparse(features)
        folds = _folds(settings, table, features.shape, targets)
        return cls(_in_units(features, units), targets, units, scale, folds)

    @property
    def is_split(self) -> bool:
        """Whether one split takes the place of folds."""
        return len(self.folds[0]) == 3

    def scaled(self, features: Any) -> Any:
        """Other rows in the same units."""
        return _in_units(features, self.units)


def _in_units(features: Any, units: np.ndarray) -> Any:
    features = features.astype(float)
    if scipy.sparse.issparse(features):
        return features.multiply(1 / units).tocsr()
    return features / units


def _joined(table: Table) -> Rows:
    """Training rows, and behind them those to validate on, if they were set apart."""
    if table.valid is None:
        return table.train
    (features, targets), (more, further) = table.train, table.valid
    stack = scipy.sparse.vstack if scipy.sparse.issparse(features) else np.vstack
    joined: Any = stack([features, more])
    return joined, np.concatenate([targets, further])


def _units(features: Any, kind: str, named: bool) -> np.ndarray:
    num = features.shape[1]
    if kind == "pixels":
        spread = np.sqrt(np.mean(features.var(axis=0, dtype=float)))
        return np.full(num, float(spread) or 1.0)
    if kind == "columns" and scipy.sparse.issparse(features) and not named:
        return np.maximum(largest(features), 1.0)
    return np.ones(num)


def _folds(settings: Settings, table: Table, shape: tuple[int, int], labels) -> list:
    classes = bool(table.class_names)
    if table.valid is not None:
        num = len(table.train[1])
        rest = np.arange(num, len(labels))
        return [(np.arange(num), *_halves(rest, labels, classes, settings.seed))]
    assert settings.cv is not None  # where no rows are set apart
    if is_large(shape, settings.cv):
        return [tuple(three_parts(labels, classes, settings.seed))]
    if classes:
        _check_members(labels, table, settings.cv)
    elif settings.cv > len(labels):
        raise UnusableError(f"--cv {settings.cv} is more than the {len(labels)} rows.")
    everywhere = np.ones(len(labels), bool)
    return splits(settings.cv, everywhere, labels, None, classes, settings.seed, everywhere)


def _halves(rows: np.ndarray, labels: np.ndarray, classes: bool, seed: int) -> list:
    try:
        return halves(rows, labels, classes, seed)
    except ValueError as error:
        raise UnusableError(
            f"{len(rows)} validation rows cannot be halved, to tune and to judge on ({error}): "
            "take a larger --valid, or leave it out for folds."
        ) from error


def _check_members(labels: np.ndarray, table: Table, num: int) -> None:
    counts = np.bincount(labels, minlength=len(table.class_names))
    if counts.min() < num:
        name = table.class_names[int(counts.argmin())]
        raise UnusableError(
            f"The class {name!r} has {counts.min()} rows beside the test rows, and {num} folds "
            "need one each: take fewer with --cv, leave the class out, merge it or add rows."
        )
