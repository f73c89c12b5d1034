"""The adjoint system of penalised logistic regression, in SciPy and float64."""

from typing import Any, NamedTuple

import numpy as np
import scipy.special

from ._posts import Posts

_STRENGTH = 0.5


class Adjoint(NamedTuple):
    """H z + d_y f = 0 at one x and y, apart from the code that is judged by it."""

    features: Any
    chances: np.ndarray
    rhs: np.ndarray
    weight: np.ndarray
    y: np.ndarray

    @classmethod
    def at(cls, rows: Posts, x: Any, y: Any) -> "Adjoint":
        """On all rows."""
        (A, _), (V, labels) = rows.train, rows.valid
        x, y = np.asarray(x, float), np.asarray(y, float)
        chances = scipy.special.softmax(V @ y, axis=1)
        chances[np.arange(len(labels)), labels] -= 1
        weight = 2 * _STRENGTH / y.size * np.exp(x)[:, None]
        return cls(
            A, scipy.special.softmax(A @ y, axis=1), -(V.T @ chances) / len(labels), weight, y
        )

    def product(self, z: np.ndarray) -> np.ndarray:
        """H z."""
        r = self.chances * (self.features @ z)
        change = r - self.chances * r.sum(axis=1, keepdims=True)
        return self.features.T @ change / len(change) + self.weight * z

    def gradient(self, z: Any) -> np.ndarray:
        """J z, which is the hypergradient, since f does not know x."""
        return (self.weight * self.y * np.asarray(z, float)).sum(axis=1)

    def distance(self, z: Any, exact: np.ndarray) -> float:
        """Of the hypergradients, relative to the exact one."""
        off = np.linalg.norm(self.gradient(z) - exact)
        return float(off / np.linalg.norm(exact))

    def descent(self, count: int, step_size: float) -> np.ndarray:
        """From zero."""
        z = np.zeros_like(self.y)
        for _ in range(count):
            z = z - step_size * (self.product(z) - self.rhs)
        return z

    def conjugate_gradient(self, count: int, start: Any = None, tol: float = 0.0) -> np.ndarray:
        """From zero or a start, until the residual is `tol` of the right-hand side."""
        z = np.zeros_like(self.y) if start is None else np.asarray(start, float)
        r = self.rhs - self.product(z)
        p, square, enough = r, np.sum(r**2), tol**2 * np.sum(self.rhs**2)
        for _ in range(count):
            if square <= enough:
                break
            of_p = self.product(p)
            step = square / np.sum(p * of_p)
            z, r = z + step * p, r - step * of_p
            p, square = r + np.sum(r**2) / square * p, np.sum(r**2)
        return z
