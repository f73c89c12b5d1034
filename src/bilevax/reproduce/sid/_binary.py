"""Logistic regression of two classes, labels -1 and +1, without intercept."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import Array
from jax.nn import softplus

from ._newton import newton
from ._setting import Exact, Model, Split, ridge


def outer(x: Array, y: Array, rows: Any) -> Array:
    """The mean logistic loss."""
    del x
    features, labels = rows
    return jnp.mean(softplus(-labels * (features @ y)))


def inner(x: Array, y: Array, rows: Any) -> Array:
    """The same with penalties."""
    return outer(x, y, rows) + ridge(x, y)


def exact(split: Split, x: Any, start: np.ndarray | None) -> Exact:
    """By Cholesky."""
    (features, labels), num = split.train, len(split.train[1])

    def slope(part, y):
        a, b = part
        return -(b / (1 + np.exp(b * (a @ y)))) @ a / len(b)

    def solve(y, g):
        s = 1 / (1 + np.exp(-(features @ y)))
        hessian = features.T @ (features * (s * (1 - s) / num)[:, None])
        factor = scipy.linalg.cho_factor(hessian + np.diag(x * np.ones_like(y)))
        return scipy.linalg.cho_solve(factor, g)

    loss = lambda y: np.mean(np.logaddexp(0, -labels * (features @ y))) + np.sum(x * y**2) / 2
    gradient = lambda y: slope(split.train, y) + x * y
    y = newton(split.zeros if start is None else start, loss, gradient, solve)
    alpha = split.step(x)
    v = solve(y, slope(split.valid, y)) / alpha
    return Exact.of(y, v, x, alpha, float(np.linalg.norm(gradient(y))))


def signs(labels: np.ndarray) -> np.ndarray:
    """-1 and +1 for two classes: a label 0 would leave the loss without a gradient.

    >>> signs(np.array([0, 1, 0])).tolist()
    [-1.0, 1.0, -1.0]
    """
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) != 2:
        raise ValueError(
            f"The logistic loss is that of two classes, and the labels have {len(classes)}: "
            f"{classes.tolist()[:5]}. Merge some, as odd and even digits, or leave rows out."
        )
    return 2.0 * index - 1


BINARY = Model(outer, inner, exact, curvature=1 / 4)
