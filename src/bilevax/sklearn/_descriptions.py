"""What a penalty may depend on: numbers that describe features."""

import numpy as np

from ._moments import correlations
from ._task import Models

# Below this spread over features a description says nothing.
_LEAST_SPREAD = 0.05
# Descriptions that are not the user's.
NUM_OWN = 3


def descriptions(models: Models, fitted: np.ndarray) -> np.ndarray:
    """Each model's descriptions of its features, (models, features, 3), standardised.

    - the log of the mean squared correlation with the targets, plus 1 / n;
    - the log of the feature's variance as it came;
    - the log of the squared weight in the shared fit times that variance, plus one per cent
      of the mean over features.

    `fitted`: the shared fit's weights on scaled features, (models, features, outputs). All
    is computed on each model's own training rows.
    """
    task, weights, variances = models.task, models.plan.train, models.variances
    rows = np.maximum(weights.sum(axis=0), 1)[:, None]
    squared = correlations(task.features, models.means, variances, task.columns, weights)
    relevance = np.log(squared + 1 / rows)
    spread = np.log(np.where(variances > 0, variances, 1))
    share = np.sum((models.factors[..., None] * fitted) ** 2, axis=2) * variances
    floor = 0.01 * share.mean(axis=1, keepdims=True) + np.finfo(float).tiny
    found = np.stack([relevance, spread, np.log(share + floor)], axis=2)
    return standardised(found, variances > 0)


def standardised(found: np.ndarray, varies: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 over the features that vary; 0 for all others."""
    mask = varies[:, :, None]
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    centred = np.where(mask, found - (found * mask).sum(axis=1, keepdims=True) / count, 0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    says = spread >= _LEAST_SPREAD
    return np.where(says, centred / np.where(says, spread, 1), 0)
