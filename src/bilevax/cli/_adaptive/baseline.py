"""What one gets without bilevax: scikit-learn's own cross-validated estimator."""

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ...sklearn import _usual as usual
from ...sklearn._fit import is_large
from .pool import Pool


@dataclasses.dataclass(frozen=True)
class Baseline:
    """One shared penalty from a grid, refitted on all rows that are no test rows.

    - `fitted`: scikit-learn's estimator;
    - `penalty`: in the units of `1 / C`, or of `alpha`;
    - `validation_loss`: its mean over the folds.
    """

    fitted: Any
    penalty: float
    validation_loss: float
    seconds: float


class OutOfTimeError(Exception):
    """Raised where the baseline takes longer than it may."""


def baseline(pool: Pool, classes: bool, grid: np.ndarray, stopped: Callable[[], bool]):
    """The same folds, grid and scaling; scored by the loss, and solved as by default.

    Raises `OutOfTimeError` where it is `stopped` in between.
    """
    started = time.perf_counter()
    folds = [(parts[0], parts[1]) for parts in pool.folds]
    if classes:
        scoring = _Watched(usual.CLASS_SCORING, stopped)
        most = _DEFAULT if is_large(pool.features.shape, _FOLDS) else _MOST
        model = usual.shared_logistic(grid, folds, scoring, max_iter=most)
    else:
        model = usual.shared_ridge(grid, folds, _Watched(usual.NUMBER_SCORING, stopped))
    made = make_pipeline(StandardScaler(), model) if pool.scale else model
    with warnings.catch_warnings():
        # Points of the grid that take long are seldom the best.
        warnings.simplefilter("ignore")
        made.fit(pool.features, pool.targets)
    loss = _validation_loss(model, classes)
    return Baseline(made, usual.penalty(model), loss, time.perf_counter() - started)


# scikit-learn's default does not do for unscaled words; of large data it has to.
_MOST, _DEFAULT = 1000, 100
# As many as there are by default, by which data are called large.
_FOLDS = 5


def _validation_loss(model: Any, classes: bool) -> float:
    """Of the penalty that was chosen."""
    if not classes:
        return -float(model.best_score_) / 2
    # Equal ones for all classes before scikit-learn 1.10.
    scores = model.scores_
    scores = next(iter(scores.values())) if isinstance(scores, dict) else scores
    return -float(np.max(np.mean(scores, axis=0)))


class _Watched:
    """A scorer that looks at the clock."""

    def __init__(self, name: str, stopped: Callable[[], bool]):
        self._scorer, self._stopped = get_scorer(name), stopped

    def __call__(self, *arguments: Any, **options: Any) -> float:
        if self._stopped():
            raise OutOfTimeError
        return self._scorer(*arguments, **options)
