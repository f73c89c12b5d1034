"""Data sets by name or path, in three parts: to train, to validate, to test."""

import dataclasses
import functools
import hashlib
import os
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.model_selection import train_test_split

from .. import datasets
from ..datasets._known import KNOWN
from ._errors import UnusableError, unreadable
from ._options import option
from ._settings import TEST_SHARE, Settings, check_dataset

# Features (dense or CSR) and one target a row.
Rows = tuple[Any, np.ndarray]

# A penalty, a name and a line of the answer for each, in memory.
_MOST_FEATURES = 5_000_000
# Numbers to predict whose squares float64 holds, with room.
_MOST_SPREAD = 1e140


@dataclasses.dataclass(frozen=True)
class Table:
    """A data set, split.

    - `train`, `valid`, `test`: features as they came, and targets: integers for classes,
      numbers for a regression. Without `valid`, folds are made of the training rows.
    - `class_names`: empty for a regression.
    - `kind`: what the features are: "pixels", "words" or "columns".
    """

    train: Rows
    valid: Rows | None
    test: Rows
    feature_names: list[str]
    class_names: list[str]
    kind: str
    label: str | None = None

    @property
    def parts(self) -> dict[str, Rows]:
        """The parts that there are, by name."""
        parts = {"train": self.train, "validation": self.valid, "test": self.test}
        return {name: rows for name, rows in parts.items() if rows is not None}

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Height and width where the features are pixels."""
        if self.kind != "pixels":
            return None
        last = [int(word) for word in self.feature_names[-1].split("_")[1:]]
        return last[0] + 1, last[1] + 1

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of all numbers, by which a changed file is found out."""
        found = hashlib.blake2b(digest_size=16)
        for features, targets in self.parts.values():
            sparse = scipy.sparse.issparse(features)
            arrays = (
                (features.data, features.indices, features.indptr) if sparse else [features]
            )
            for array in (*arrays, targets):
                found.update(f"{array.shape}{array.dtype}".encode())
                found.update(np.ascontiguousarray(array).data)
        found.update(repr((self.feature_names, self.class_names)).encode())
        return found.hexdigest()


def largest(features: Any) -> np.ndarray:
    """The largest absolute value of each column of a sparse matrix."""
    return np.asarray(abs(features).max(axis=0).todense(), float).ravel()


def load(settings: Settings, data_home: str | None) -> Table:
    """The data set of a run, split with its seed."""
    check_dataset(settings.dataset)
    rows: dict[str, Any]
    shares = {"test": settings.test or TEST_SHARE}
    if settings.valid is not None:
        shares["valid"] = settings.valid
    try:
        pool, aside = _pool(settings, data_home)
        rows = {name: _given(settings, name, shares[name], pool) for name in shares}
    except (OSError, ValueError) as error:
        raise unreadable(error) from error
    if aside is not None:
        rows["test"] = aside.data, aside.target
    _check_width(settings, len(pool.feature_names))
    if not pool.target_names:
        _check_spread(pool.target, *(part[1] for part in rows.values() if part is not None))
    _check_targets(settings, pool, sum(part is None for part in rows.values()))
    rest: Any = (pool.data, pool.target)
    for name, part in rows.items():
        if part is None:
            rest, rows[name] = _split(settings, rest, pool, name, shares[name])
    missing = np.setdiff1d(np.arange(len(pool.target_names)), rest[1])
    if len(missing):
        raise UnusableError(
            f"With this --{' and --'.join(shares)}, no row of the class "
            f"{pool.target_names[missing[0]]!r} is left to train on: take smaller shares."
        )
    names = list(pool.feature_names)
    classes = list(pool.target_names)
    kind = KNOWN[settings.dataset].kind if settings.named else "columns"
    _check_batch(settings, len(rest[1]))
    label = pool.get("label")
    return Table(rest, rows.get("valid"), rows["test"], names, classes, kind, label)


def _pool(settings: Settings, data_home: str | None) -> tuple[Any, Any]:
    """The rows to split, and the rows set aside by those who made the data set, if any."""
    if not settings.named:
        task = "regression" if settings.model == "ridge" else "classification"
        options: Any = {"task": task, "zero_based": settings.zero_based}
        return datasets.load_file(settings.dataset, label=settings.label, **options), None
    if settings.label is not None:
        raise UnusableError(f"--label is for a file: {settings.dataset} knows its labels.")
    known = KNOWN[settings.dataset]
    if not known.has_test_rows:
        return known.load(), None
    if settings.test is not None:
        return known.load(subset="all", data_home=data_home), None
    return known.load(data_home=data_home), known.load(subset="test", data_home=data_home)


def _given(settings: Settings, name: str, value: str, pool: Any) -> Rows | None:
    """The rows of a validation or test file; None where the value is a share."""
    try:
        share = float(value)
    except ValueError:
        if not os.path.lexists(value):
            raise UnusableError(
                f"{option(name)} is a share between 0 and 1, or a file; got {value!r}, and "
                "there is no such file."
            ) from None
        task = "classification" if pool.target_names else "regression"
        options: Any = {"task": task, "zero_based": settings.zero_based, "like": pool}
        found: Any = datasets.load_file(value, label=settings.label, **options)
        return found.data, found.target
    if not 0 < share < 1:
        raise UnusableError(f"{option(name)} must be between 0 and 1, got {value}.")
    return None


def _split(settings: Settings, rows: Rows, pool: Any, name: str, share: str):
    """The rows that stay and those that go, every class in the same proportion."""
    try:
        stay, go, stay_targets, go_targets = train_test_split(
            *rows,
            test_size=float(share),
            stratify=rows[1] if pool.target_names else None,
            random_state=settings.seed,
        )
    except ValueError as error:
        raise UnusableError(
            f"{len(rows[1])} rows cannot be split by {option(name)} {share}: {error}"
        ) from error
    return (stay, stay_targets), (go, go_targets)


def _check_targets(settings: Settings, pool: Any, splits: int) -> None:
    """Raises where there is nothing to tell apart, or too little to learn it from."""
    num, names = len(pool.target), pool.target_names
    if not names:
        if np.ptp(pool.target) == 0:
            raise UnusableError(f"All labels of {settings.dataset} are {pool.target[0]:g}.")
        return
    if len(names) < 2:
        raise UnusableError(
            f"{settings.dataset} has one class only, {names[0]!r}: there is "
            "nothing to tell apart."
        )
    counts = np.bincount(pool.target, minlength=len(names))
    if len(names) > num / 2:
        raise UnusableError(
            f"{settings.dataset} has {len(names)} different labels in {num} rows. If they are "
            "numbers to predict, use --model ridge; if not, merge classes or add rows."
        )
    few = np.flatnonzero(counts < splits + 1)
    if len(few):
        rows = "one row" if counts[few[0]] == 1 else f"{counts[few[0]]} rows"
        raise UnusableError(
            f"The class {names[few[0]]!r} of {settings.dataset} has {rows}, and "
            f"{splits + 1} parts need one each: leave the class out, merge it or add rows."
        )


def _check_spread(*parts: np.ndarray) -> None:
    """Raises where the squares of numbers to predict are beyond the range of numbers."""
    targets = np.concatenate(parts)
    spread = float(np.max(targets)) - float(np.min(targets))
    if spread and not 1 / _MOST_SPREAD <= spread <= _MOST_SPREAD:
        raise UnusableError(
            f"The labels vary by {spread:.3g}, and squares of that are beyond the range of "
            "numbers: multiply the labels by a power of ten, so that they vary by about 1."
        )


def _check_width(settings: Settings, num: int) -> None:
    if num > _MOST_FEATURES:
        raise UnusableError(
            f"{settings.dataset} has {num:,} features, and at most {_MOST_FEATURES:,} can be "
            "tuned: number those that occur anew, or leave rare ones out."
        )


def _check_batch(settings: Settings, num: int) -> None:
    if settings.batch_size is not None and settings.batch_size > num:
        raise UnusableError(
            f"--batch-size {settings.batch_size} is more than the {num} training rows: leave "
            "it out to use them all."
        )
