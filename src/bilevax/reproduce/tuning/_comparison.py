"""One comparison: both sides on the same rows of one set and seed."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import r2_score
from threadpoolctl import threadpool_limits

from ...sklearn import AdaptiveLogisticRegressionCV, AdaptiveRidgeCV
from ...sklearn import _usual as usual
from ._baseline import shared_logistic, shared_ridge
from ._parts import Parts

_NAN = float("nan")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What both sides came to on one set and seed.

    - `baseline_...`: of (c); `default_loss`: of (c) with the default solver's settings;
    - `loss`: the mean over test rows of the log loss, or of half the squared error of
      standardised targets; `change`: log(loss / baseline_loss);
    - `score`: accuracy, or R^2;
    - `gain`, `gain_low`, `gain_high`: what the fit said of itself, without the test rows;
    - `difference`: the largest between the two sides' probabilities, or predicted numbers;
    - `seconds`: CPU time of the fit, compilation included, linear algebra on one thread;
    - `failure`: the error that ended the run, if one did.
    """

    name: str
    seed: int
    baseline_loss: float = _NAN
    loss: float = _NAN
    change: float = _NAN
    default_loss: float = _NAN
    default_change: float = _NAN
    family: str = ""
    gain: float = _NAN
    gain_low: float = _NAN
    gain_high: float = _NAN
    baseline_penalty: float = _NAN
    shared_penalty: float = _NAN
    difference: float = _NAN
    baseline_score: float = _NAN
    score: float = _NAN
    baseline_seconds: float = _NAN
    seconds: float = _NAN
    failure: str = ""


def compare(name: str, seed: int, parts: Parts, classes: bool) -> Comparison:
    """Both sides with the same folds and grid; the features are scaled already."""
    with threadpool_limits(1, user_api="blas"):
        if classes:
            base = _tested(shared_logistic, parts)
            ours = _tested(_adaptive_logistic, parts)
            default = _tested(lambda p: shared_logistic(p, converged=False), parts).loss
        else:
            base, ours = _tested(shared_ridge, parts), _tested(_adaptive_ridge, parts)
            default = _NAN
    gain = ours.model.gain_
    return Comparison(
        name,
        seed,
        baseline_loss=base.loss,
        loss=ours.loss,
        change=float(np.log(ours.loss / base.loss)),
        default_loss=default,
        default_change=float(np.log(ours.loss / default)),
        family=ours.model.family_,
        gain=float(gain.difference),
        gain_low=float(gain.interval[0]),
        gain_high=float(gain.interval[1]),
        baseline_penalty=usual.penalty(base.model),
        shared_penalty=float(ours.model.shared_penalty_),
        difference=float(np.max(np.abs(ours.predictions - base.predictions))),
        baseline_score=base.score,
        score=ours.score,
        baseline_seconds=base.seconds,
        seconds=ours.seconds,
    )


def _adaptive_logistic(parts: Parts) -> Any:
    model = AdaptiveLogisticRegressionCV(cv=parts.folds, alphas=usual.CLASS_GRID, scale=False)
    return model.fit(*parts.train)


def _adaptive_ridge(parts: Parts) -> Any:
    model = AdaptiveRidgeCV(cv=parts.folds, alphas=usual.NUMBER_GRID, scale=False)
    return model.fit(*parts.train)


class _Tested(NamedTuple):
    """A model, and what it is worth on the test rows."""

    model: Any
    predictions: np.ndarray
    loss: float
    score: float
    seconds: float


def _tested(fit: Callable[[Parts], Any], parts: Parts) -> _Tested:
    started = time.process_time()
    model = fit(parts)
    seconds = time.process_time() - started
    features, targets = parts.test
    if not hasattr(model, "classes_"):
        predictions = model.predict(features)
        loss = np.mean((predictions - targets) ** 2) / 2
        return _Tested(model, predictions, float(loss), r2_score(targets, predictions), seconds)
    logs = usual.log_probabilities(model.decision_function(features))
    true = np.searchsorted(model.classes_, targets)
    loss = -np.mean(logs[np.arange(len(true)), true])
    score = np.mean(np.argmax(logs, axis=1) == true)
    return _Tested(model, np.exp(logs), float(loss), float(score), seconds)
