"""scikit-learn's usual practice, beside which ours is judged: one penalty for all features."""

from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegressionCV, RidgeCV

# P of `P w**2 / 2` beside the summed loss: 1 / C of LogisticRegression, alpha of Ridge.
CLASS_GRID, NUMBER_GRID = np.logspace(-4, 4, 10), np.logspace(-4, 4, 17)
# What both sides minimise.
CLASS_SCORING, NUMBER_SCORING = "neg_log_loss", "neg_mean_squared_error"


def shared_logistic(grid: np.ndarray, folds: Any, scoring: Any, **options: Any) -> Any:
    """The best of a grid of penalties by its folds; not fitted."""
    make: Any = LogisticRegressionCV
    return make(Cs=1 / grid, cv=folds, scoring=scoring, **options)


def shared_ridge(grid: np.ndarray, folds: Any, scoring: Any) -> Any:
    """The same for numbers."""
    return RidgeCV(alphas=grid, cv=folds, scoring=scoring)


def penalty(model: Any) -> float:
    """The one that was chosen."""
    if hasattr(model, "alpha_"):
        return float(model.alpha_)
    # An array of equal numbers before scikit-learn 1.10.
    return float(1 / np.ravel(model.C_)[0])


def one_column_a_class(scores: np.ndarray) -> np.ndarray:
    """Scores of all classes, where scikit-learn gives the difference of two only."""
    return scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)


def log_probabilities(scores: np.ndarray) -> np.ndarray:
    """From scores: logarithms of probabilities have lost the small ones, of which
    scikit-learn's `log_loss` cuts off the smallest."""
    return log_softmax(one_column_a_class(scores), axis=1)


def log_losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of every row, in nats."""
    return -log_probabilities(scores)[np.arange(len(labels)), labels]
