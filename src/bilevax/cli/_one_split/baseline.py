"""What one gets without bilevax: one shared penalty from a grid, by scikit-learn."""

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_squared_error

from ...sklearn._usual import log_losses, one_column_a_class
from .._scores import score
from .._tables import Rows
from .scaling import Scaling
from .tuning import Tuning

# scikit-learn's own default grid of LogisticRegressionCV, from much penalty to little.
GRID = np.logspace(-4, 4, 10)
# Iterations between two looks at the clock, and the most for one point of the grid.
_PIECE, _MOST = 25, 1000


@dataclasses.dataclass
class Baseline:
    """The best model of the grid by validation loss.

    - `penalty`: its penalty per unit of `w**2 / 2` beside the mean training loss;
    - `fits`: points of the grid that were fitted, of `len(GRID)`;
    - `scores`: `validation_loss`, `validation_score`, `test_loss`, `test_score`.
    """

    penalty: float = float("nan")
    fits: int = 0
    seconds: float = 0.0
    scores: dict[str, float] = dataclasses.field(default_factory=dict)


def baseline(tuning: Tuning, stopped: Callable[[], bool]) -> Baseline:
    """Fit the grid on the same rows, within the time allowed."""
    settings, table, scaling = tuning.settings, tuning.table, tuning.task.scaling
    started = time.perf_counter()
    over = lambda: time.perf_counter() - started > settings.baseline_seconds or stopped()
    found = Baseline()
    (features, targets), valid, test = (_plain(scaling, rows) for rows in table.parts.values())
    num = len(table.class_names)
    if settings.model == "logistic":
        # With two classes scikit-learn penalises their difference, we both halves of it.
        fits = _logistic(features, targets, 2 if num == 2 else 1, over)
    else:
        fits = _ridge(features, _one_hot(targets, num), over)
    for penalty, predict in _quietly(fits):
        scores = {}
        for part, rows in (("validation", valid), ("test", test)):
            loss, score = _scores(settings.model, num, predict, rows)
            scores |= {f"{part}_loss": scaling.unit**2 * loss, f"{part}_score": score}
        if not found.fits or scores["validation_loss"] < found.scores["validation_loss"]:
            found.penalty, found.scores = float(penalty), scores
        found.fits += 1
    found.seconds = time.perf_counter() - started
    return found


def _quietly(fits: Iterator) -> Iterator:
    """The fits without scikit-learn's warnings of pieces cut off and constant columns."""
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", LinAlgWarning)
            fit = next(fits, None)
        if fit is None:
            return
        yield fit


def _plain(scaling: Scaling, rows: Rows) -> Rows:
    """Scaled rows without the constant: scikit-learn has an intercept of its own."""
    features, targets = scaling.rows(rows)
    return features[:, :-1], targets


def _logistic(features, targets, halves, over) -> Iterator[tuple[float, Callable]]:
    """Each fit begins at the one before, and in pieces that leave it when time is over."""
    model: Any = LogisticRegression(max_iter=_PIECE, warm_start=True)
    for inverse in GRID:
        # scikit-learn sums the loss over rows where we take the mean.
        model.C = inverse
        for _ in range(_MOST // _PIECE):
            if over():
                return
            model.fit(features, targets)
            if np.max(model.n_iter_) < _PIECE:
                break
        penalty = halves / (inverse * len(targets))
        yield penalty, lambda A: one_column_a_class(model.decision_function(A))


def _one_hot(targets, num: int):
    """One column a class, where there are classes."""
    return np.eye(num, dtype=np.float32)[targets] if num else targets


def _ridge(features, wanted, over) -> Iterator[tuple[float, Callable]]:
    for inverse in GRID:
        if over():
            return
        model = Ridge(alpha=1 / inverse).fit(features, wanted)
        yield 1 / (inverse * len(wanted)), model.predict


def _scores(model: str, num: int, predict: Callable, rows: Rows) -> tuple[float, float]:
    """The mean loss and the accuracy, or R^2 where numbers are predicted."""
    features, targets = rows
    found = np.asarray(predict(features), float)
    if not num:
        targets = targets.astype(float)
        loss = mean_squared_error(targets, found) / 2
        return loss, score(found[:, None], targets, classes=False)
    if model == "ridge":
        missed = mean_squared_error(_one_hot(targets, num), found, multioutput="raw_values")
        loss = float(np.sum(missed)) / 2
    else:
        loss = float(log_losses(found, targets).mean())
    return loss, score(found, targets, classes=True)
