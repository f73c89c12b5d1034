"""Which rows each model of nested cross-validation trains, tunes and judges on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Split = tuple[np.ndarray, np.ndarray]


class Plan(NamedTuple):
    """All models of the main run (number 0) and of the runs that are judged.

    `train`, `valid` and `judge` say how often a row counts for a model, (rows, models);
    no row on which a run is judged takes part in it otherwise.
    """

    run: np.ndarray
    train: np.ndarray
    valid: np.ndarray
    judge: np.ndarray
    enough: bool  # whether enough runs are judged for a choice

    @property
    def num_runs(self) -> int:
        """The main run, and those that are judged."""
        return int(self.run.max()) + 1


def nested(splits: Sequence[Split], weights: np.ndarray, targets: np.ndarray) -> Plan:
    """The main run has a model for each split. Run j is judged on the test rows of split j,
    and has a model for each other split, without those rows.

    Splits that this leaves without rows to validate on, or without a class to train on,
    drop out, and with them runs that have none left. `targets`: one column a class, or one.
    """
    masks = [tuple(_mask(part, len(weights)) for part in split) for split in splits]
    nobody = np.zeros(len(weights), bool)
    models = [(0, train, test, nobody) for train, test in masks]
    num = 1
    for j, (_, judged) in enumerate(masks):
        others = [(a & ~judged, b & ~judged) for k, (a, b) in enumerate(masks) if k != j]
        usable = [
            (num, train, test, judged)
            for train, test in others
            if trains(train, weights, targets) and weights[test].sum() > 0
        ]
        models += usable
        num += bool(usable)
    run, *parts = zip(*models, strict=True)
    train, valid, judge = (np.stack(part, axis=1) * weights[:, None] for part in parts)
    return Plan(np.asarray(run), train, valid, judge, enough=num > 2)


def one_split(parts: Sequence[np.ndarray], weights: np.ndarray) -> Plan:
    """One run of one model, on the indices of rows to train, to tune and to judge on."""
    train, valid, judge = (_mask(p, len(weights))[:, None] * weights[:, None] for p in parts)
    return Plan(np.zeros(1, int), train, valid, judge, enough=True)


def everything(weights: np.ndarray, run: np.ndarray) -> Plan:
    """One model of all rows, the first, and others of none for the rest of `run`: with that of
    another plan it has its shape, and runs its programs."""
    rows = np.zeros((len(weights), len(run)))
    rows[:, 0] = weights
    return Plan(run, rows, rows, rows, enough=True)


def trains(rows: np.ndarray, weights: np.ndarray, targets: np.ndarray) -> bool:
    """Whether such rows have two of something: all classes, or more than one target."""
    seen = targets[rows & (weights > 0)]
    if targets.shape[1] > 1:
        return bool(np.all(seen.sum(axis=0) > 0))
    return len(seen) > 1 and bool(np.ptp(seen) > 0)


def _mask(indices: np.ndarray, rows: int) -> np.ndarray:
    mask = np.zeros(rows, bool)
    mask[indices] = True
    return mask
