"""Losses of linear models: means over rows."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from optax.losses import softmax_cross_entropy_with_integer_labels

from .._core.types import Numbers
from .._rows.sparse import is_sparse

Number = Float[Array, ""]


def scores(features: Any, y: Array) -> Array:
    """`features @ y`, the scores of a linear model.

    For several outputs and dense features, the weights pass transposed through a barrier:
    XLA then multiplies by the transposed features in the order (outputs, features), a
    quarter faster than the other that it would choose.
    """
    if y.ndim == 1 or is_sparse(features):
        return features @ y
    weights = jax.lax.optimization_barrier(y.T)
    return jax.lax.dot_general(features, weights, (((1,), (1,)), ((), ())))


def cross_entropy(logits: Float[Numbers, "rows classes"], labels: Numbers) -> Number:
    """The mean multinomial cross-entropy of integer labels, in nats.

    >>> import jax.numpy as jnp
    >>> from bilevax.problems import cross_entropy
    >>> round(float(cross_entropy(jnp.zeros((3, 4)), jnp.array([0, 1, 2]))), 4)
    1.3863
    """
    return jnp.mean(softmax_cross_entropy_with_integer_labels(logits, labels))


def log_loss(logits: Float[Numbers, "rows"], labels: Numbers) -> Number:
    """The mean binary cross-entropy of labels 0 and 1, in nats.

    >>> import jax.numpy as jnp
    >>> from bilevax.problems import log_loss
    >>> round(float(log_loss(jnp.zeros(3), jnp.array([0, 1, 1]))), 4)
    0.6931
    """
    return jnp.mean(log_losses(logits, labels))


def log_losses(logits: Numbers, labels: Numbers) -> Array:
    """The binary cross-entropies themselves, of logits and labels of shapes that fit."""
    return jax.nn.softplus(logits) - labels.astype(logits.dtype) * logits


def squared_error(predictions: Float[Numbers, "..."], targets: Numbers) -> Number:
    """Half the mean over rows of the squared error, summed over outputs.

    >>> import jax.numpy as jnp
    >>> from bilevax.problems import squared_error
    >>> float(squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0])))
    1.0
    """
    return jnp.sum((predictions - targets) ** 2) / (2 * predictions.shape[0])


def accuracy(found: Float[Array, "rows *classes"], labels: Numbers) -> Number:
    """The share of rows whose largest score, or for one score its sign, is their label's."""
    chosen = jnp.argmax(found, axis=1) if found.ndim == 2 else (found > 0).astype(int)
    return jnp.mean(chosen == labels)


def explained(predictions: Float[Numbers, "rows *outputs"], targets: Numbers) -> Number:
    """The share of the targets' variance that is explained, R^2."""
    missed = jnp.sum((targets - predictions) ** 2)
    return 1 - missed / jnp.sum((targets - jnp.mean(targets, axis=0)) ** 2)
