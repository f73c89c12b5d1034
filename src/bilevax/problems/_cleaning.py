"""Data hyper-cleaning: one weight per training row, learned on clean validation rows."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from optax.losses import softmax_cross_entropy_with_integer_labels

from .._core.tree import as_scalar
from .._core.types import Scalar
from ._base import BilevelProblem
from ._losses import accuracy, cross_entropy, scores
from ._penalised import Rows, ValidationLoss, as_features, as_labelled, check_features


class WeightedLoss(eqx.Module):
    r"""$\frac1n \sum_j \sigma(x_j) \mathrm{CE}_j + c \|y\|^2$."""

    strength: Scalar = eqx.field(converter=as_scalar)

    def __call__(self, x, y, batch):
        features, labels, row = batch
        losses = softmax_cross_entropy_with_integer_labels(scores(features, y), labels)
        ridge = jnp.asarray(self.strength, y.dtype) * jnp.sum(y**2)
        return jnp.mean(jax.nn.sigmoid(x[row]) * losses) + ridge


class HyperCleaning(eqx.Module):
    """A hyper-cleaning problem, and where to start it.

    - `problem`: the `bx.BilevelProblem`;
    - `x0`: zeros, one a training row, so that every weight is 1/2; `y0`: zero weights of
      the model.
    """

    problem: BilevelProblem
    x0: Array
    y0: Array

    @staticmethod
    def weights(x: Array) -> Float[Array, "rows"]:
        r"""The weight $\sigma(x_j)$ of each training row: near 0 where its label is wrong."""
        return jax.nn.sigmoid(x)

    @staticmethod
    def accuracy(y: Array, features: Any, labels: Any) -> Float[Array, ""]:
        """The share of rows classified rightly."""
        return accuracy(as_features(features) @ y, jnp.asarray(labels))


def hyper_cleaning(train: Rows, valid: Rows, *, strength: float = 1e-3) -> HyperCleaning:
    r"""Learn which training rows to trust, from validation rows that are clean.

    $g(x, y) = \frac1n \sum_j \sigma(x_j) \mathrm{CE}(y^\top a_j, b_j) + c \|y\|^2$ on the
    training rows, of which some have wrong labels, and f the mean cross-entropy on the
    validation rows.

    **Arguments:**

    - `train`, `valid`: pairs of features (rows x d, dense or sparse) and integer labels
      0..C-1. y has the shape (d, C), x one number a training row.
    - `strength`: c.

    The gradient of f in $x_j$ is of the order of 1/n: outer steps are large.

    >>> import bilevax as bx, numpy as np
    >>> rows = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    >>> task = bx.problems.hyper_cleaning(rows, rows)
    >>> task.x0.shape, task.y0.shape, task.weights(task.x0).tolist()
    ((4,), (4, 2), [0.5, 0.5, 0.5, 0.5])

    **Reference:** L. Franceschi, M. Donini, P. Frasconi and M. Pontil, Forward and reverse
    gradient-based hyperparameter optimization, ICML 2017.
    """
    (features, labels), (clean, clean_labels) = as_labelled(train=train, valid=valid)
    classes = int(max(labels.max(), clean_labels.max())) + 1
    num_features = check_features((features, labels), (clean, clean_labels))
    rows, dtype = len(labels), jnp.result_type(float)
    return HyperCleaning(
        problem=BilevelProblem(
            outer=ValidationLoss(cross_entropy),
            inner=WeightedLoss(strength),
            outer_data=(as_features(clean), jnp.asarray(clean_labels)),
            inner_data=(as_features(features), jnp.asarray(labels), jnp.arange(rows)),
        ),
        x0=jnp.zeros(rows, dtype),
        y0=jnp.zeros((num_features, classes), dtype),
    )


def corrupt_labels(
    labels: Any, fraction: float, *, classes: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a fraction was replaced by another class, and which ones.

    **Arguments:** `labels`: integers 0..C-1; `fraction`: of the rows, rounded; each gets one
    of the other classes, all equally likely; `classes`: C, where not all occur.

    >>> import numpy as np
    >>> from bilevax.problems import corrupt_labels
    >>> noisy, wrong = corrupt_labels(np.arange(10) % 5, 0.5)
    >>> int(wrong.sum()), bool(np.all((noisy != np.arange(10) % 5) == wrong))
    (5, True)
    """
    ((_, labels),) = as_labelled(rows=(None, labels))
    classes = int(labels.max()) + 1 if classes is None else classes
    if labels.max() >= classes:
        raise ValueError(f"There are labels beyond the {classes} classes 0, 1, ...")
    if not 0 <= fraction <= 1 or classes < 2:
        raise ValueError(
            f"fraction must be in [0, 1] and there must be two classes, got {fraction} and "
            f"{classes}."
        )
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(labels), round(fraction * len(labels)), replace=False)
    noisy, wrong = labels.copy(), np.zeros(len(labels), bool)
    noisy[chosen] = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
    wrong[chosen] = True
    return noisy, wrong
