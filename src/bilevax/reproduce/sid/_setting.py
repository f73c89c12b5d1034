"""Odd against even digits: the data of a run, the problem, and its exact solution."""

import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import Array
from jax.nn import softplus
from jax.tree_util import Partial

from ...datasets import fetch_mnist, load_digits
from ...datasets._mnist import mnist_place
from ...problems._base import BilevelProblem, FixedPointProblem

# Batches in an epoch: 50 of MNIST's 5,000 rows each.
BATCHES = 100
MISSING = (
    "MNIST is not in {0}: put its four files there, or let bilevax.datasets.fetch_mnist() "
    "fetch them where there is a network. Shown are scikit-learn's digits of 8 x 8 pixels."
)


class Images(NamedTuple):
    """All images that runs are drawn from, and what to say of them."""

    features: np.ndarray
    labels: np.ndarray  # +1 odd, -1 even
    rows: int  # to learn from, and as many to validate
    note: str | None = None

    @property
    def small(self) -> bool:
        """Whether these are scikit-learn's digits."""
        return self.rows < 5000


def images(data: pathlib.Path | None, quick: bool) -> Images:
    """MNIST's training images, or where quick or missing the digits of scikit-learn."""
    folder, there = mnist_place(data)
    if quick or not there:
        features, digits = load_digits(return_X_y=True)
        return _odd_or_even(features, digits, 800, None if quick else MISSING.format(folder))
    features, digits = fetch_mnist(data_home=data, return_X_y=True)
    return _odd_or_even(features, digits, 5000, None)


def _odd_or_even(features: Any, digits: Any, rows: int, note: str | None) -> Images:
    return Images(np.asarray(features, float), signs(np.asarray(digits) % 2), rows, note)


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


class Split(NamedTuple):
    """Rows to learn from and rows to validate on, and the largest curvature of the former."""

    train: tuple[np.ndarray, np.ndarray]
    valid: tuple[np.ndarray, np.ndarray]
    largest: float
    squared_norm: float

    @classmethod
    def of(cls, images: Images, seed: int) -> "Split":
        """A random choice of rows without replacement."""
        num = images.rows
        chosen = np.random.default_rng(seed).permutation(len(images.labels))[: 2 * num]
        first, second = chosen[:num], chosen[num:]
        part = lambda rows: (images.features[rows], images.labels[rows])
        train = part(first)
        largest = np.linalg.eigvalsh(train[0].T @ train[0])[-1] / (4 * num)
        return cls(
            train, part(second), float(largest), float(np.mean(np.sum(train[0] ** 2, 1)))
        )

    def problem(self) -> FixedPointProblem:
        r"""The map of gradient descent with $\alpha = 2 / (L + \tau)$, which follow x."""
        on_device = lambda part: tuple(map(jnp.asarray, part))
        problem = BilevelProblem(
            outer,
            inner,
            outer_data=on_device(self.valid),
            inner_data=on_device(self.train),
        )
        return problem.as_fixed_point(Partial(best_step, jnp.asarray(self.largest)))

    def contraction(self, x: Any) -> float:
        """q of that map."""
        high, low = self.largest + np.max(x), np.min(x)
        return float((high - low) / (high + low))


def inner(x: Array, y: Array, rows: Any) -> Array:
    """The mean logistic loss, with one penalty or one a pixel."""
    return outer(x, y, rows) + jnp.sum(x * y**2) / 2


def outer(x: Array, y: Array, rows: Any) -> Array:
    """The mean logistic loss of a linear model without intercept."""
    del x
    features, labels = rows
    return jnp.mean(softplus(-labels * (features @ y)))


def best_step(largest: Array, x: Array) -> Array:
    """2 / (L + tau)."""
    return 2 / (largest + jnp.max(x) + jnp.min(x))


class Exact(NamedTuple):
    """The solution, its adjoint v for a step of alpha, and the hypergradient."""

    y: np.ndarray
    v: np.ndarray
    gradient: Any
    residual: float  # the norm of the gradient that Newton's method left


def exact(split: Split, x: Any, start: np.ndarray | None = None) -> Exact:
    """Newton's method with halved steps, and Cholesky, in NumPy."""
    (features, labels), num = split.train, len(split.train[1])
    y = np.zeros(features.shape[1]) if start is None else start

    def slope(part, y):
        a, b = part
        return -(b / (1 + np.exp(b * (a @ y)))) @ a / len(b)

    loss = lambda y: np.mean(np.logaddexp(0, -labels * (features @ y))) + np.sum(x * y**2) / 2

    def factor(y):
        s = 1 / (1 + np.exp(-(features @ y)))
        hessian = features.T @ (features * (s * (1 - s) / num)[:, None])
        return scipy.linalg.cho_factor(hessian + np.diag(x * np.ones_like(y)))

    for _ in range(50):
        gradient = slope(split.train, y) + x * y
        if np.linalg.norm(gradient) < 1e-14:
            break
        step, size, before = scipy.linalg.cho_solve(factor(y), gradient), 1.0, loss(y)
        while loss(y - size * step) > before + 1e-12 and size > 1e-4:
            size /= 2
        y = y - size * step
        if np.linalg.norm(size * step) < 1e-14 * np.linalg.norm(y):
            break
    residual = float(np.linalg.norm(slope(split.train, y) + x * y))
    alpha = 2 / (split.largest + np.max(x) + np.min(x))
    v = scipy.linalg.cho_solve(factor(y), slope(split.valid, y)) / alpha
    products = -alpha * y * v
    return Exact(y, v, products.sum() if np.ndim(x) == 0 else products, residual)
