"""What a run is made of: a linear model, the rows it is drawn from, a split, its solution."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from ...problems._base import BilevelProblem, FixedPointProblem

# Batches in an epoch: 50 of MNIST's 5,000 rows each.
BATCHES = 100


class Exact(NamedTuple):
    """The solution, its adjoint v for a step of alpha, and the hypergradient."""

    y: np.ndarray
    v: np.ndarray
    gradient: Any
    residual: float  # the norm of the gradient that Newton's method left

    @classmethod
    def of(cls, y: np.ndarray, v: np.ndarray, x: Any, alpha: float, residual: float) -> "Exact":
        """With the gradient in one penalty, or in one a feature."""
        products = -alpha * np.sum((y * v).reshape(len(y), -1), axis=1)
        return cls(y, v, products.sum() if np.ndim(x) == 0 else products, residual)


class Model(NamedTuple):
    """A linear model.

    - `outer`, `inner`: its mean loss over rows, without and with penalties;
    - `exact`: from a split, penalties and where to start (or `None`) to an `Exact`;
    - `curvature`: a bound on the second derivatives of a row's loss in its predictions;
    - `outputs`: the shape of these.
    """

    outer: Callable[..., Array]
    inner: Callable[..., Array]
    exact: Callable[..., Exact]
    curvature: float
    outputs: tuple[int, ...] = ()


def ridge(x: Array, y: Array) -> Array:
    """Half of the squares, with one penalty or one a feature."""
    return jnp.sum(x * jnp.sum(y.reshape(len(y), -1) ** 2, axis=1)) / 2


class Source(NamedTuple):
    """All rows that runs are drawn from, and what to say of them."""

    features: np.ndarray
    labels: np.ndarray
    rows: int  # to learn from, and as many to validate
    model: Model
    note: str | None = None
    small: bool = False  # whether these stand in for the real ones


class Split(NamedTuple):
    """Rows to learn from and rows to validate on, and the largest curvature of the former."""

    train: tuple[np.ndarray, np.ndarray]
    valid: tuple[np.ndarray, np.ndarray]
    model: Model
    largest: float
    squared_norm: float

    @classmethod
    def of(cls, source: Source, seed: int) -> "Split":
        """A random choice of rows without replacement."""
        num = source.rows
        chosen = np.random.default_rng(seed).permutation(len(source.labels))[: 2 * num]
        train, valid = (
            (source.features[rows], source.labels[rows])
            for rows in (chosen[:num], chosen[num:])
        )
        squares = np.linalg.eigvalsh(train[0].T @ train[0])[-1] / num
        largest = float(squares) * source.model.curvature
        return cls(
            train, valid, source.model, largest, float(np.mean(np.sum(train[0] ** 2, 1)))
        )

    def problem(self) -> FixedPointProblem:
        r"""The map of gradient descent with $\alpha = 2 / (L + \tau)$, which follow x."""
        on_device = lambda part: tuple(map(jnp.asarray, part))
        problem = BilevelProblem(
            self.model.outer,
            self.model.inner,
            outer_data=on_device(self.valid),
            inner_data=on_device(self.train),
        )
        return problem.as_fixed_point(Partial(best_step, jnp.asarray(self.largest)))

    @property
    def zeros(self) -> np.ndarray:
        """Where all start."""
        return np.zeros((self.train[0].shape[1], *self.model.outputs))

    def exact(self, x: Any, start: np.ndarray | None = None) -> Exact:
        """The solution at these penalties."""
        return self.model.exact(self, x, start)

    def step(self, x: Any) -> float:
        """alpha."""
        return float(2 / (self.largest + np.max(x) + np.min(x)))

    def contraction(self, x: Any) -> float:
        """q of that map."""
        high, low = self.largest + np.max(x), np.min(x)
        return float((high - low) / (high + low))


def best_step(largest: Array, x: Array) -> Array:
    """2 / (L + tau)."""
    return 2 / (largest + jnp.max(x) + jnp.min(x))
