"""Weighted means and variances of features, dense or sparse, for many models at once."""

import numpy as np

_TINY = np.finfo(float).tiny


def moments(features, squares, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of the columns under each column of weights, (models, features)."""
    total = np.maximum(weights.sum(axis=0), _TINY)[:, None]
    # The features come first, so that sparse ones give an array.
    mean = np.asarray(features.T @ weights).T / total
    square = np.asarray(squares.T @ weights).T / total
    variance = np.maximum(square - mean**2, 0)
    # What rounding leaves of a constant column is no variance.
    return mean, np.where(variance > 1e-12 * square, variance, 0)


def correlations(
    features, means: np.ndarray, variances: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The mean over targets of squared correlations with features, (models, features)."""
    total = np.maximum(weights.sum(axis=0), _TINY)[:, None]
    found = np.zeros_like(means)
    for target in targets.T:
        centre, spread = moments(target[:, None], target[:, None] ** 2, weights)
        product = np.asarray(features.T @ (weights * target[:, None])).T / total
        scale = variances * spread
        part = (product - centre * means) ** 2
        found += np.divide(part, scale, out=np.zeros_like(found), where=scale > 0)
    return found / targets.shape[1]
