"""The inverses of stacked models' Hessians, exact but for what couples outputs."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._rows.sparse import is_sparse
from ..problems._base import BilevelProblem
from ..problems._stacked import Scaling, Weights
from ..solvers._separable import AbstractPreconditioner


class Preconditioner(AbstractPreconditioner):
    r"""The inverse of each model's Hessian with what couples its outputs left out.

    Exact for one output. `preconditioner(x, y)` returns the map; the curvatures of rows are
    those at y, or frozen where `freeze` was called; the penalties are those of x.
    With many features only the diagonal is kept.
    """

    problem: BilevelProblem
    squares: Any  # of the features, where only the diagonal is kept
    frozen: Array | None = None

    @property
    def depends_on_y(self) -> bool:
        """Unless it is frozen."""
        return self.frozen is None

    @eqx.filter_jit
    def freeze(self, y: Weights) -> "Preconditioner":
        """With the curvatures of the rows at y for all y."""
        return Preconditioner(self.problem, self.squares, self._curvature(y))

    def __call__(self, x, y: Weights) -> Callable[[Weights], Weights]:
        inner: Any = self.problem.inner
        curvature = self._curvature(y) if self.frozen is None else self.frozen
        penalties = jnp.pad(inner.penalties(x), ((0, 0), (0, 1)))
        if self.squares is not None:
            inverse = inner.num_rows / _positive(curvature + penalties)
            return lambda r: _split(inverse[:, :, None] * _joined(r))
        inverse = inner.num_rows * _inverses(curvature, penalties)
        return lambda r: _split(jnp.einsum("kij,kjc->kic", inverse, _joined(r)))

    def _curvature(self, y: Weights) -> Array:
        """Of the losses, in the weights and the intercept of each model."""
        inner: Any = self.problem.inner
        features, _, weights = self.problem.inner_data
        scaling = inner.loss.scaling
        rows = weights * inner.loss.losses.curvature(scaling.scores(features, y))
        if self.squares is not None:
            return _diagonals(features, self.squares, scaling, rows)
        return _grams(features, scaling, rows)


def _joined(r: Weights) -> Array:
    return jnp.concatenate([r.weights, r.intercept[:, None]], axis=1)


def _split(z: Array) -> Weights:
    return Weights(z[:, :-1], z[:, -1])


def _positive(diagonal: Array) -> Array:
    """Kept above rounding: rows without curvature, as far off, leave an intercept alone."""
    return jnp.maximum(diagonal, 1e-10 * jnp.max(diagonal, axis=1, keepdims=True))


def _inverses(grams: Array, penalties: Array) -> Array:
    """Of each Gram matrix with the penalties on its diagonal.

    One at a time: XLA spreads a batch of factorisations over the threads that wait for them,
    and on few cores they wait for ever.
    """
    diagonal = jnp.diagonal(grams, axis1=1, axis2=2) + penalties
    added = penalties + (_positive(diagonal) - diagonal) + 1e-13 * diagonal
    identity = jnp.eye(grams.shape[1])

    def of_model(model):
        gram, more = model
        factor = jnp.linalg.cholesky(gram + jnp.diag(more))
        half = jax.lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
        return half.T @ half

    return jax.lax.map(of_model, (grams, added))


def _grams(features: Any, scaling: Scaling, rows: Float[Array, "rows models"]):
    """The weighted products of all pairs of scaled features, and of the constant 1."""
    dense = features.todense() if is_sparse(features) else features
    one = jnp.ones((dense.shape[0], 1), dense.dtype)

    def of_model(model):
        means, factors, curvature = model
        columns = jnp.concatenate([(dense - means) * factors, one], axis=1)
        return columns.T @ (curvature[:, None] * columns)

    return jax.lax.map(of_model, (scaling.means, scaling.factors, rows.T))


def _diagonals(features: Any, squares: Any, scaling: Scaling, rows: Array):
    """The weighted sums of squares of scaled features, and of the constant 1."""
    total = jnp.sum(rows, axis=0)[:, None]
    means, factors = scaling.means, scaling.factors
    raw = (squares.T @ rows).T - 2 * means * (features.T @ rows).T + means**2 * total
    return jnp.concatenate([factors**2 * jnp.maximum(raw, 0), total], axis=1)
