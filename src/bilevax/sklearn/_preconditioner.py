"""Approximate inverses of stacked models' Hessians, exact for one output."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core.program import program
from .._rows.sparse import is_sparse
from ..problems._base import BilevelProblem
from ..problems._stacked import Scaling, Weights
from ..solvers._separable import AbstractPreconditioner
from ._grams import Sets, grams, pooled_grams


class Inverses(NamedTuple):
    """Of the matrices of a moment, and what stood on their diagonals.

    With more than one output there is a matrix for each, or one for all.
    """

    matrices: Float[Array, "models *outputs size size"]
    losses: Float[Array, "models size outputs"]
    penalties: Float[Array, "models size 1"]


class Diagonal(eqx.Module):
    """What a `Preconditioner` makes of x and y where it has no matrices: inverses that outputs
    share, and those of what outputs have in common, each with one output."""

    inverses: Weights
    alone: Weights
    num_rows: Float[Array, ""]

    def __call__(self, r: Weights) -> Weights:
        return jax.tree.map(self._of_part, r, self.inverses, self.alone)

    def _of_part(self, r: Array, inverse: Array, alone: Array) -> Array:
        if r.shape[-1] == 1:
            return self.num_rows * inverse * r
        common = jnp.mean(r, axis=-1, keepdims=True)
        return self.num_rows * (inverse * r + (alone - inverse) * common)


class Inverse(eqx.Module):
    """What a `Preconditioner` makes of x and y.

    - `matrices`: between the scales;
    - `alone`: the curvature of what outputs have in common.
    """

    matrices: Float[Array, "models *outputs size size"]
    scales: Float[Array, "models size outputs"]
    alone: Float[Array, "models size 1"]
    num_rows: Float[Array, ""]

    def __call__(self, r: Weights) -> Weights:
        rows = _joined(r)
        if rows.shape[2] == 1:
            return _split(self.num_rows * self._apply(rows))
        common = jnp.mean(rows, axis=2, keepdims=True)
        found = self._apply(rows - common)
        found = found - jnp.mean(found, axis=2, keepdims=True)
        return _split(self.num_rows * (found + common / self.alone))

    def _apply(self, r: Array) -> Array:
        return self.scales * _product(self.matrices, self.scales * r)


class Preconditioner(AbstractPreconditioner):
    r"""The inverse of each model's Hessian, with what couples its outputs left out.

    The curvature of a row in its scores is $D - p p^\top$ with $D = \mathrm{diag}(p)$. It
    vanishes where all scores move alike, and so does what weights have in common over
    outputs, which only penalties see: on that part, division by them is the inverse. What
    is orthogonal to it goes through the inverses for $D - D^2$, output by output, and is
    projected back. Exact for one output.

    **Arguments:**

    - `problem`: of `stacked`.
    - `squares`: of the features, where only the matrices' diagonals are kept.
    - `each`: whether each output has its own matrix; otherwise one serves all, of the
      curvature's mean.
    - `sets`: the rows that the same models train on, by which `freeze` adds up matrices.
    - `frozen`: the inverses to keep, see `freeze`.
    """

    problem: BilevelProblem
    squares: Any = None
    each: bool = eqx.field(static=True, default=False)
    sets: Sets | None = None
    frozen: Inverses | None = None

    @property
    def depends_on_y(self) -> bool:
        """Unless the curvature is constant, or kept."""
        return self.frozen is None and self._inner.loss.losses.kind != "squared"

    @property
    def _inner(self) -> Any:
        return self.problem.inner

    def freeze(self, x, y: Weights) -> "Preconditioner":
        """The one at x and y, for all y and for x near by.

        Penalties that have changed since then are followed by a scaling on both sides that
        is right for a matrix that is diagonal. The curvature of a row is averaged over the
        models that train on it, so that rows in the same `sets` are multiplied once.
        """
        return Preconditioner(self.problem, each=self.each, frozen=_frozen(self, x, y))

    def __call__(self, x, y: Weights) -> Diagonal | Inverse:
        penalties, num_outputs = self._penalties(x), y.intercept.shape[1]
        # The sum of the intercepts is held at 0 with this curvature.
        alone = penalties.at[:, -1].set(num_outputs)
        num_rows = self._inner.num_rows
        if self.squares is not None:
            inverses = 1 / _positive(self._diagonals(y) + penalties)
            return Diagonal(_split(inverses), _split(1 / alone), num_rows)
        kept = self.inverses(x, y, None) if self.frozen is None else self.frozen
        return Inverse(kept.matrices, _following(kept, penalties), alone, num_rows)

    def _penalties(self, x) -> Float[Array, "models size 1"]:
        return jnp.pad(self._inner.penalties(x), ((0, 0), (0, 1)))[..., None]

    def _curvature(self, y: Weights) -> Float[Array, "rows models outputs"]:
        """Of the losses in each row's scores."""
        features, _, _ = self.problem.inner_data
        loss = self._inner.loss
        found = loss.losses.curvature(loss.scaling.scores(features, y))
        found = found if self.each else jnp.mean(found, axis=1, keepdims=True)
        return jnp.moveaxis(found, 2, 0)

    def _diagonals(self, y: Weights) -> Float[Array, "models size outputs"]:
        features, _, weights = self.problem.inner_data
        rows = weights[..., None] * self._curvature(y)
        scaling = self._inner.loss.scaling
        of_output = lambda rows: _diagonals(features, self.squares, scaling, rows)
        return jnp.stack([of_output(rows[..., c]) for c in range(rows.shape[2])], axis=2)

    def inverses(self, x, y: Weights, sets: Sets | None) -> Inverses:
        """Of the matrices at x and y, added up from `sets` where they are given."""
        features, _, weights = self.problem.inner_data
        dense = features.todense() if is_sparse(features) else features
        scaling, curvature = self._inner.loss.scaling, self._curvature(y)
        if sets is None:
            found = grams(dense, scaling, weights[..., None] * curvature)
        else:
            found = pooled_grams(dense, scaling, weights, curvature, sets)
        penalties = self._penalties(x)
        losses = jnp.swapaxes(jnp.diagonal(found, axis1=2, axis2=3), 1, 2)
        inverses = _inverted(found, losses, penalties)
        return Inverses(inverses if self.each else inverses[:, 0], losses, penalties)


@program
def _frozen(preconditioner: Preconditioner, x, y: Weights) -> Inverses:
    return preconditioner.inverses(x, y, preconditioner.sets)


def _joined(r: Weights) -> Float[Array, "models size outputs"]:
    return jnp.concatenate([r.weights, r.intercept[:, None]], axis=1)


def _split(z: Float[Array, "models size outputs"]) -> Weights:
    return Weights(z[:, :-1], z[:, -1])


def _product(matrices: Array, r: Array) -> Array:
    """With one matrix for each output, or one for all."""
    which = "kij,kjc->kic" if matrices.ndim == 3 else "kcij,kjc->kic"
    return jnp.einsum(which, matrices, r)


def _following(kept: Inverses, penalties: Array) -> Array:
    """What makes the inverses of diagonal matrices right at other penalties."""
    return jnp.sqrt(
        _positive(kept.losses + kept.penalties) / _positive(kept.losses + penalties)
    )


def _positive(diagonal: Array) -> Array:
    """Kept above rounding: rows without curvature, as far off, leave an intercept alone."""
    return jnp.maximum(diagonal, 1e-10 * jnp.max(diagonal, axis=1, keepdims=True))


def _inverted(matrices: Array, losses: Array, penalties: Array) -> Array:
    """Of each matrix with the penalties on its diagonal.

    One at a time: XLA spreads a batch of factorisations over the threads that wait for them,
    and on few cores they wait for ever.
    """
    diagonal = losses + penalties
    added = penalties + (_positive(diagonal) - diagonal) + 1e-13 * diagonal
    size = matrices.shape[-1]
    identity = jnp.eye(size)

    def of_one(one):
        matrix, more = one
        factor = jnp.linalg.cholesky(matrix + jnp.diag(more))
        half = jax.lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
        return half.T @ half

    flat = matrices.reshape(-1, size, size), jnp.swapaxes(added, 1, 2).reshape(-1, size)
    return jax.lax.map(of_one, flat).reshape(matrices.shape)


def _diagonals(features: Any, squares: Any, scaling: Scaling, rows: Array):
    """The weighted sums of squares of scaled features, and of the constant 1."""
    total = jnp.sum(rows, axis=0)[:, None]
    means, factors = scaling.means, scaling.factors
    raw = (squares.T @ rows).T - 2 * means * (features.T @ rows).T + means**2 * total
    return jnp.concatenate([factors**2 * jnp.maximum(raw, 0), total], axis=1)
