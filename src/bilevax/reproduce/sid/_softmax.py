"""Multinomial logistic regression, labels one-hot, without intercepts."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
import scipy.special
from jax import Array
from jax.nn import logsumexp

from ._newton import newton
from ._setting import Exact, Model, Split, ridge


def outer(x: Array, y: Array, rows: Any) -> Array:
    """The mean cross entropy."""
    del x
    features, labels = rows
    scores = features @ y
    return jnp.mean(logsumexp(scores, axis=1) - jnp.sum(labels * scores, axis=1))


def inner(x: Array, y: Array, rows: Any) -> Array:
    """The same with penalties, of which all classes share those of a feature."""
    return outer(x, y, rows) + ridge(x, y)


def exact(split: Split, x: Any, start: np.ndarray | None) -> Exact:
    """By conjugate gradients on the Hessian's products."""
    (a, b), num = split.train, len(split.train[1])
    penalty = x if np.ndim(x) == 0 else np.asarray(x)[:, None]
    chances = lambda part, y: scipy.special.softmax(part[0] @ y, axis=1)
    slope = lambda part, y: part[0].T @ (chances(part, y) - part[1]) / len(part[1])
    gradient = lambda y: slope(split.train, y) + penalty * y

    def loss(y):
        scores = a @ y
        fit = scipy.special.logsumexp(scores, axis=1) - np.sum(b * scores, axis=1)
        return np.mean(fit) + np.sum(penalty * y**2) / 2

    def solve(y, g, tol):
        p = chances(split.train, y)

        def product(u):
            u = u.reshape(y.shape)
            weighted = p * (a @ u)
            change = weighted - p * weighted.sum(axis=1, keepdims=True)
            return (a.T @ change / num + penalty * u).ravel()

        diagonal = ((a**2).T @ (p * (1 - p)) / num + penalty).ravel()
        return _conjugate_gradients(product, diagonal, g.ravel(), tol).reshape(y.shape)

    # Steps as exact as the gradient is small: convergence is quadratic, and products few.
    near = lambda y, g: solve(y, g, min(0.1, float(np.linalg.norm(g))))
    y = newton(split.zeros if start is None else start, loss, gradient, near)
    alpha = split.step(x)
    v = solve(y, slope(split.valid, y), 1e-12) / alpha
    return Exact.of(y, v, x, alpha, float(np.linalg.norm(gradient(y))))


def _conjugate_gradients(product: Any, diagonal: np.ndarray, g: np.ndarray, tol: float):
    shape = g.size, g.size
    of = scipy.sparse.linalg.LinearOperator
    hessian, scaled = of(shape, product), of(shape, lambda r: r / diagonal)
    return scipy.sparse.linalg.cg(hessian, g, rtol=tol, maxiter=10_000, M=scaled)[0]


def one_hot(labels: np.ndarray) -> np.ndarray:
    """A row of zeros and a one each.

    >>> one_hot(np.array([7, 3, 7])).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    classes, index = np.unique(labels, return_inverse=True)
    return np.eye(len(classes))[index]


def softmax(classes: int) -> Model:
    """Its largest curvature is that of p p^T taken from diag(p), at most 1 / 2."""
    return Model(outer, inner, exact, 1 / 2, (classes,))
