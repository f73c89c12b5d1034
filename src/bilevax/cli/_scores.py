"""Scores of models, and who is better by them."""

import math
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, r2_score

from ._numbers import number

_WORDS = {"accuracy": "accuracy", "r2": "R²"}


def score(scores: np.ndarray, targets: np.ndarray, classes: bool) -> float:
    """The accuracy of one column a class; or R^2 of one, NaN where targets do not vary."""
    if classes:
        return float(accuracy_score(targets, scores.argmax(axis=1)))
    return float(r2_score(targets, scores[:, 0])) if np.ptp(targets) > 0 else math.nan


def paired(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, tuple[float, float]]:
    """The mean of (ours - theirs) over rows, and its 95 % interval."""
    differences = ours - theirs
    mean, num = float(differences.mean()), len(differences)
    error = float(1.96 * differences.std(ddof=1) / np.sqrt(num)) if num > 1 else math.inf
    return mean, (mean - error, mean + error)


def better(name: str, ours: float | None, theirs: float | None) -> str:
    """ "bilevax", "baseline" or "neither", by a loss or a score.

    >>> better("test_loss", 0.25, 0.5), better("test_r2", 0.25, 0.5)
    ('bilevax', 'baseline')
    >>> better("test_r2", 1.0, None)
    'neither'
    """
    # A float32 mean and a float64 mean of the same answers differ in the last digits.
    if ours is None or theirs is None or np.isnan(ours - theirs):
        return "neither"
    if np.isclose(ours, theirs, rtol=1e-5, atol=0):
        return "neither"
    return "bilevax" if (ours < theirs) == name.endswith("loss") else "baseline"


def score_name(result: dict[str, Any]) -> str:
    """The key of the score: "accuracy" or "r2"."""
    return "accuracy" if "test_accuracy" in result else "r2"


def score_word(result: dict[str, Any]) -> str:
    """Its name for people."""
    return _WORDS[score_name(result)]


def or_dash(value: float | None) -> str:
    """A number for people, where there is one."""
    return "-" if value is None else number(value)
