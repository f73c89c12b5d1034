"""Logistic regression whose penalties are the outer variable."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._problem import BilevelProblem
from .._tree import as_scalar
from .._types import Scalar

Rows = tuple[ArrayLike, ArrayLike]


def cross_entropy(logits: Float[Array, "rows classes"], labels: Array) -> Float[Array, ""]:
    """The mean multinomial cross-entropy of integer labels, in nats.

    >>> import jax.numpy as jnp
    >>> from bilevax.problems import cross_entropy
    >>> round(float(cross_entropy(jnp.zeros((3, 4)), jnp.array([0, 1, 2]))), 4)
    1.3863
    """
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)


class _Validation(eqx.Module):
    """The mean cross-entropy of the linear model y."""

    def __call__(self, x, y, batch):
        features, labels = batch
        return cross_entropy(features @ y, labels)


class _Training(eqx.Module):
    r"""The same plus $\frac{c}{Cd} \sum_i e^{x_i} \|y_i\|^2$."""

    strength: Scalar = eqx.field(converter=as_scalar)

    def __call__(self, x, y, batch):
        features, labels = batch
        scale = jnp.asarray(self.strength / y.size, y.dtype)
        penalty = scale * jnp.sum(jnp.exp(x) * jnp.sum(y**2, axis=1))
        return cross_entropy(features @ y, labels) + penalty


class PenalisedLogistic(eqx.Module):
    """A penalty-learning problem, and where to start it.

    - `problem`: the `bx.BilevelProblem`;
    - `x0`: zero log-penalties, `y0`: zero weights, of shape (features, classes).
    """

    problem: BilevelProblem
    x0: Array
    y0: Array

    @staticmethod
    def accuracy(y: Array, features: ArrayLike, labels: ArrayLike) -> Float[Array, ""]:
        """The share of rows whose largest score is that of their label."""
        return jnp.mean(jnp.argmax(features @ y, axis=1) == labels)


def penalised_logistic(
    train: Rows,
    valid: Rows,
    *,
    penalty: str = "per-feature",
    strength: float = 0.5,
) -> PenalisedLogistic:
    r"""Learn the penalties of a multinomial logistic regression on validation data.

    $g(x, y) = \frac1n \sum_j \mathrm{CE}(y^\top a_j, b_j)
    + \frac{c}{Cd} \sum_{i=1}^d e^{x_i} \|y_i\|^2$ on the training rows and f the mean
    cross-entropy on the validation rows (Arbel and Mairal 2022, F.2; their code has
    c = 1/2, the paper prints 1). x holds the logarithms of the penalties.

    **Arguments:**

    - `train`, `valid`: pairs of features (rows x d) and integer labels 0..C-1.
    - `penalty`: one for each feature (x has shape (d,)), or one shared (shape ()).
    - `strength`: c.

    >>> import bilevax as bx, numpy as np
    >>> features, labels = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    >>> task = bx.problems.penalised_logistic((features, labels), (features, labels))
    >>> task.x0.shape, task.y0.shape
    ((4,), (4, 2))
    """
    features, labels = train
    if penalty not in ("per-feature", "shared"):
        raise ValueError(f"penalty must be 'per-feature' or 'shared', got {penalty!r}.")
    num_features = np.shape(features)[1]
    num_classes = int(max(np.max(labels), np.max(valid[1]))) + 1
    dtype = jnp.result_type(float)
    as_rows = lambda rows: (jnp.asarray(rows[0], dtype), jnp.asarray(rows[1], jnp.int32))
    return PenalisedLogistic(
        problem=BilevelProblem(
            outer=_Validation(),
            inner=_Training(strength),
            outer_data=as_rows(valid),
            inner_data=as_rows(train),
        ),
        x0=jnp.zeros((num_features,) if penalty == "per-feature" else (), dtype),
        y0=jnp.zeros((num_features, num_classes), dtype),
    )
