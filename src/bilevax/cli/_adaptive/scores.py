"""How good predictions are, row by row."""

import numpy as np
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, r2_score


def two_columns(scores: np.ndarray) -> np.ndarray:
    """Scores of two classes, where scikit-learn gives their difference only; others as they
    are, one column a class."""
    return scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)


def losses(scores: np.ndarray, targets: np.ndarray, classes: bool) -> np.ndarray:
    """Of every row: the log loss in nats, or half the squared error."""
    if not classes:
        return (scores[:, 0] - targets) ** 2 / 2
    # scikit-learn's log_loss takes probabilities, of which it cuts off the smallest.
    return -log_softmax(scores, axis=1)[np.arange(len(targets)), targets]


def score(scores: np.ndarray, targets: np.ndarray, classes: bool) -> float:
    """The accuracy; or R^2, NaN where targets do not vary."""
    if classes:
        return float(accuracy_score(targets, scores.argmax(axis=1)))
    return float(r2_score(targets, scores[:, 0])) if np.ptp(targets) > 0 else float("nan")


def paired(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, tuple[float, float]]:
    """The mean of (ours - theirs) over rows, and its 95 % interval."""
    differences = ours - theirs
    mean, num = float(differences.mean()), len(differences)
    error = float(1.96 * differences.std(ddof=1) / np.sqrt(num)) if num > 1 else float("inf")
    return mean, (mean - error, mean + error)
