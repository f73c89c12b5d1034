"""Linear models whose penalties are the outer variable."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._core.tree import as_scalar
from .._core.types import Numbers, Scalar
from .._rows.data import as_data, holds_rows
from .._rows.sparse import is_scipy, is_sparse
from ._base import BilevelProblem
from ._losses import accuracy, cross_entropy, explained, log_loss, scores, squared_error

# Features (dense, a SciPy sparse matrix or a bx.SparseMatrix) and one target a row.
Rows = tuple[Any, Any]

PENALTIES = ("per-feature", "per-class", "grouped", "shared")


class Penalty(eqx.Module):
    r"""$\frac{c}{|y|} \sum_{ij} e^{x_{k(i,j)}} y_{ij}^2$: which x a weight belongs to."""

    kind: str = eqx.field(static=True)
    strength: Scalar = eqx.field(converter=as_scalar)
    groups: Int[Array, "features"] | None

    def __call__(self, x: Array, y: Array) -> Float[Array, ""]:
        squares = y**2
        if self.kind == "per-class":
            squares = jnp.sum(squares, axis=0)
        elif y.ndim == 2:
            squares = jnp.sum(squares, axis=1)
        return self._scale(y) * jnp.sum(self._multipliers(x) * squares)

    def curvature(self, x: Array, y: Array) -> Array:
        """The second derivative in each weight, of a shape that broadcasts to y's."""
        multipliers = self._multipliers(x)
        if y.ndim == 2 and self.kind in ("per-feature", "grouped"):
            multipliers = multipliers[:, None]
        return 2 * self._scale(y) * multipliers

    def _multipliers(self, x: Array) -> Array:
        multipliers = jnp.exp(x)
        return multipliers if self.groups is None else multipliers[self.groups]

    def _scale(self, y: Array) -> Array:
        return jnp.asarray(self.strength / y.size, y.dtype)


class DiagonalInverse(eqx.Module):
    r"""Divides by the diagonal of the inner Hessian, that of the loss at zero scores.

    $M = \mathrm{diag}(h + p(x))^{-1}$ with the penalties' curvature p(x) and the loss's
    $h_i = c_0 \frac1n \sum_j a_{ji}^2$, where $c_0$ is its second derivative at zero scores:
    the largest that it has anywhere in a binary regression, and right everywhere in a ridge
    regression. Weights that neither has any hold on are left as they are.
    """

    penalty: Penalty
    loss: Float[Array, "features"]

    def __call__(self, x: Array, y: Array, r: Array) -> Array:
        loss = self.loss[:, None] if y.ndim == 2 else self.loss
        diagonal = loss + self.penalty.curvature(x, y)
        return r / jnp.where(diagonal > 0, diagonal, 1)


class ValidationLoss(eqx.Module):
    """The mean loss of the linear model y."""

    loss: Callable = eqx.field(static=True)

    def __call__(self, x, y, batch):
        features, targets = batch
        return self.loss(scores(features, y), targets)


class TrainingLoss(eqx.Module):
    """The same, and the penalty."""

    loss: Callable = eqx.field(static=True)
    penalty: Penalty

    def __call__(self, x, y, batch):
        features, targets = batch
        return self.loss(scores(features, y), targets) + self.penalty(x, y)


class Penalised(eqx.Module):
    """A penalty-learning problem, and where to start it.

    - `problem`: the `bx.BilevelProblem`;
    - `x0`: where a shared penalty is sensible: one whose curvature is the mean one of the
      training loss over the weights, at zero weights, so that the first inner problems are
      well conditioned;
    - `y0`: zero weights, one row a feature;
    - `preconditioner`: for `bx.CG(..., preconditioner=task.preconditioner)`: division by the
      diagonal of the inner Hessian, that of the loss at zero weights. Where penalties have
      spread over orders of magnitude, products are saved.
    """

    problem: BilevelProblem
    x0: Array
    y0: Array
    preconditioner: DiagonalInverse
    measure: Callable = eqx.field(static=True)

    def score(self, y: Numbers, features: Any, targets: Any) -> Float[Array, ""]:
        """The accuracy of the weights y on such rows; for a regression, R^2."""
        found, targets = as_features(features) @ y, jnp.asarray(targets)
        if targets.shape != found.shape[: targets.ndim] or targets.ndim == 0:
            raise ValueError(
                f"Scores of shape {found.shape} need as many targets, got {targets.shape}."
            )
        return self.measure(found, targets)

    def accuracy(self, y: Numbers, features: Any, labels: Any) -> Float[Array, ""]:
        """The share of rows classified rightly."""
        if self.measure is not accuracy:
            raise TypeError("A regression has no accuracy: use `score`, its R^2.")
        return self.score(y, features, labels)


def penalised_logistic(
    train: Rows,
    valid: Rows,
    *,
    penalty: str = "per-feature",
    strength: float = 0.5,
    groups: Any = None,
) -> Penalised:
    r"""Learn the penalties of a multinomial logistic regression on validation data.

    $g(x, y) = \frac1n \sum_j \mathrm{CE}(y^\top a_j, b_j)
    + \frac{c}{Cd} \sum_{i=1}^d e^{x_i} \|y_i\|^2$ on the training rows and f the mean
    cross-entropy on the validation rows (Arbel and Mairal 2022, F.2; their code has
    c = 1/2, the paper prints 1). x holds the logarithms of the penalties.

    **Arguments:**

    - `train`, `valid`: pairs of features (rows x d, dense or sparse) and integer labels
      0..C-1. The weights y have the shape (d, C).
    - `penalty`: one for each feature (x has shape (d,)), for each class ((C,)), for each
      group of features, or one shared (()).
    - `strength`: c.
    - `groups`: for "grouped": the group 0..G-1 of each feature; x has shape (G,).

    >>> import bilevax as bx, numpy as np
    >>> features, labels = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    >>> task = bx.problems.penalised_logistic((features, labels), (features, labels))
    >>> task.x0.shape, task.y0.shape
    ((4,), (4, 2))
    """
    train, valid = as_labelled(train=train, valid=valid)
    classes = int(max(train[1].max(), valid[1].max())) + 1
    penalties = penalty, strength, groups
    # Of one weight, at equal probabilities.
    curvature = (1 - 1 / classes) / classes
    losses = cross_entropy, accuracy, curvature
    return _penalised(train, valid, (classes,), losses, penalties)


def penalised_binary_logistic(
    train: Rows,
    valid: Rows,
    *,
    penalty: str = "per-feature",
    strength: float = 0.5,
    groups: Any = None,
) -> Penalised:
    r"""`penalised_logistic` with labels 0 and 1 and one weight a feature.

    $g(x, y) = \frac1n \sum_j \log(1 + e^{s_j}) - b_j s_j
    + \frac{c}{d} \sum_{i=1}^d e^{x_i} y_i^2$ with the scores $s_j = a_j^\top y$.

    **Arguments:** as in `penalised_logistic`; y has the shape (d,), and there is no
    penalty "per-class".

    >>> import bilevax as bx, numpy as np
    >>> features, labels = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    >>> rows = features, labels
    >>> task = bx.problems.penalised_binary_logistic(rows, rows, penalty="shared")
    >>> task.x0.shape, task.y0.shape
    ((), (4,))
    """
    train, valid = as_labelled(train=train, valid=valid)
    if max(train[1].max(), valid[1].max()) > 1:
        raise ValueError("Binary labels are 0 and 1: use penalised_logistic for more classes.")
    losses = log_loss, accuracy, 1 / 4
    return _penalised(train, valid, (), losses, (penalty, strength, groups))


def penalised_ridge(
    train: Rows,
    valid: Rows,
    *,
    penalty: str = "per-feature",
    strength: float = 0.5,
    groups: Any = None,
) -> Penalised:
    r"""Learn the penalties of a ridge regression on validation data.

    $g(x, y) = \frac1{2n} \sum_j \|y^\top a_j - b_j\|^2
    + \frac{c}{Cd} \sum_{i=1}^d e^{x_i} \|y_i\|^2$ on the training rows and f half the mean
    squared error on the validation rows.

    **Arguments:** as in `penalised_logistic`, but that the targets are numbers, one a row
    or a matrix of C columns; y has the shape (d,) or (d, C), and "per-class" is per column.

    >>> import bilevax as bx, numpy as np
    >>> rows = np.eye(4, dtype="float32"), np.arange(4.0)
    >>> bx.problems.penalised_ridge(rows, rows).y0.shape
    (4,)
    """
    as_numbers = lambda rows: (rows[0], np.asarray(rows[1], jnp.result_type(float)))
    train, valid = as_numbers(train), as_numbers(valid)
    if train[1].shape[1:] != valid[1].shape[1:] or train[1].ndim not in (1, 2):
        raise ValueError(
            "Targets are one number or one row of C numbers for each row of features, in "
            f"train as in valid; got shapes {train[1].shape} and {valid[1].shape}."
        )
    penalties = penalty, strength, groups
    outputs = train[1].shape[1:]
    return _penalised(train, valid, outputs, (squared_error, explained, 1.0), penalties)


def _penalised(train, valid, outputs, losses, penalties) -> Penalised:
    (loss, measure, curvature), (kind, strength, groups) = losses, penalties
    num_features = check_features(train, valid)
    shape, groups = _shape(kind, groups, num_features, outputs)
    dtype = jnp.result_type(float)
    y0 = jnp.zeros((num_features, *outputs), dtype)
    penalty = Penalty(kind, strength, groups)
    features = as_features(train[0])
    diagonal = jnp.asarray(curvature * _mean_squares(features), dtype)
    curvature = curvature * _mean_square(train[0])
    return Penalised(
        problem=BilevelProblem(
            outer=ValidationLoss(loss),
            inner=TrainingLoss(loss, penalty),
            outer_data=(as_features(valid[0]), valid[1]),
            inner_data=(features, train[1]),
        ),
        x0=jnp.full(shape, _log_penalty(curvature, strength, y0.size), dtype),
        y0=y0,
        preconditioner=DiagonalInverse(penalty, diagonal),
        measure=measure,
    )


def _mean_square(features: Any) -> float:
    """Over all rows and features, in double precision."""
    if is_sparse(features):
        numbers = features.rows.values
    else:
        numbers = features.data if is_scipy(features) else features
    total = np.sum(np.square(np.asarray(numbers, np.float64)))
    return float(total) / max(int(np.prod(_shape_of(features))), 1)


def _mean_squares(features: Any) -> np.ndarray:
    """Of each feature over all rows, in double precision."""
    num, size = features.shape
    if is_sparse(features):
        squares = np.square(np.ravel(np.asarray(features.rows.values, np.float64)))
        return np.bincount(np.ravel(features.rows.columns), squares, minlength=size) / num
    dense = np.asarray(features)
    return np.einsum("ij,ij->j", dense, dense, dtype=np.float64) / num


def _log_penalty(curvature: float, strength: Any, size: int) -> float:
    """The x whose penalty has this curvature; 0 where none has."""
    unit = 2 * float(strength) / size
    return math.log(curvature / unit) if curvature > 0 and unit > 0 else 0.0


def as_features(features: Any) -> Any:
    """Features in the default float dtype, dense or sparse."""
    if holds_rows(features):
        return features
    features = features if hasattr(features, "shape") else np.asarray(features)
    dtype = jnp.result_type(float)
    if is_scipy(features):
        return as_data(features.astype(dtype))
    return jnp.asarray(features, dtype)


def as_labelled(**parts: Rows) -> list[tuple[Any, np.ndarray]]:
    """Features, and labels 0, 1, ... as integers, once these were found to be such."""
    checked = []
    for name, (features, labels) in parts.items():
        labels = np.asarray(labels)
        if labels.ndim != 1:
            raise ValueError(
                f"The labels of {name} must be one integer a row, got shape {labels.shape}: "
                "ravel a column, or take the argmax of one-hot rows."
            )
        whole = labels.size > 0 and np.all(labels == labels.astype(np.int32))
        if not whole or labels.min() < 0:
            raise ValueError(
                f"The labels of {name} must be integers from 0 on, one a row: encode others "
                "with np.unique(labels, return_inverse=True)."
            )
        checked.append((features, labels.astype(np.int32)))
    return checked


def check_features(train: Rows, valid: Rows) -> int:
    """The number of features, once shapes were found to fit together."""
    for name, (features, targets) in (("train", train), ("valid", valid)):
        shape = _shape_of(features)
        if len(shape) != 2 or shape[0] != len(targets):
            raise ValueError(
                f"{name} needs features of shape (rows, d) and a target for each row; got "
                f"{shape} and {np.shape(targets)}."
            )
    columns = _shape_of(train[0])[1], _shape_of(valid[0])[1]
    if columns[0] != columns[1]:
        raise ValueError(f"train has {columns[0]} features and valid {columns[1]}.")
    return columns[0]


def _shape_of(features: Any) -> tuple[int, ...]:
    # NumPy's own function would make an array of a sparse matrix.
    return features.shape if hasattr(features, "shape") else np.shape(features)


def _shape(kind: str, groups: Any, num_features: int, outputs: tuple[int, ...]):
    """The shape of x, and the groups as an array."""
    if kind not in PENALTIES:
        raise ValueError(f"penalty must be one of {', '.join(PENALTIES)}; got {kind!r}.")
    if kind == "per-class" and not outputs:
        raise ValueError("A model with one output has no penalties 'per-class': use 'shared'.")
    if (kind == "grouped") != (groups is not None):
        raise ValueError("penalty='grouped' and groups= go together.")
    if groups is None:
        return {"per-feature": (num_features,), "per-class": outputs, "shared": ()}[kind], None
    groups = np.asarray(groups)
    if groups.shape != (num_features,) or groups.dtype.kind not in "iu" or groups.min() < 0:
        raise ValueError(
            f"groups must give each of the {num_features} features a group 0, 1, ...; got "
            f"{groups.dtype} of shape {groups.shape}."
        )
    return (int(groups.max()) + 1,), jnp.asarray(groups, jnp.int32)
