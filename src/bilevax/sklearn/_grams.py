"""Weighted products of all pairs of scaled features, and of the constant 1, for many models."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..problems._stacked import Scaling
from ._room import room


class Sets(NamedTuple):
    """Rows that the same models train on, such as those of a fold.

    - `rows`: their indices, filled up to the same length with rows of other sets;
    - `own`: which indices are no fillings;
    - `members`: which models train on a set.
    """

    rows: Int[np.ndarray, "sets length"]
    own: Bool[np.ndarray, "sets length"]
    members: Bool[np.ndarray, "sets models"]

    @classmethod
    def of(cls, weights: np.ndarray) -> "Sets | None":
        """Of each model's weights of rows, (rows, models); `None` where they save nothing."""
        members, index = np.unique(weights > 0, axis=0, return_inverse=True)
        order = np.argsort(np.ravel(index), kind="stable")
        counts = np.bincount(np.ravel(index))
        place = np.cumsum(counts) - counts
        within = np.arange(room(int(counts.max()), 8))
        own = within < counts[:, None]
        rows = order[np.where(own, place[:, None] + within, 0)]
        return cls(rows, own, members) if rows.size < weights.size / 2 else None


def grams(
    features: Array, scaling: Scaling, rows: Float[Array, "rows models outputs"]
) -> Float[Array, "models outputs size size"]:
    """Of each model, its rows weighted for each output."""

    def of_model(model):
        means, factors, weights = model
        return _weighted(_columns((features - means) * factors), weights)

    return jax.lax.map(of_model, (scaling.means, scaling.factors, jnp.swapaxes(rows, 0, 1)))


def pooled_grams(
    features: Array,
    scaling: Scaling,
    weights: Float[Array, "rows models"],
    curvature: Float[Array, "rows models outputs"],
    sets: Sets,
) -> Float[Array, "models outputs size size"]:
    """The same, with the curvature of a row averaged over the models that train on it.

    A model's matrix is then the sum over the sets it trains on.
    """
    total = jnp.sum(weights, axis=1)[:, None]
    mean = jnp.einsum("nk,nkc->nc", weights, curvature) / jnp.where(total > 0, total, 1)
    rows = jnp.max(weights, axis=1)[:, None] * mean
    centre = jnp.mean(scaling.means, axis=0)
    columns = _columns(features - centre)

    def of_set(one):
        index, own = one
        return _weighted(columns[index], own[:, None] * rows[index])

    parts = jax.lax.map(of_set, (jnp.asarray(sets.rows), jnp.asarray(sets.own)))
    members = jnp.asarray(sets.members, parts.dtype)
    return _rescaled(jnp.tensordot(members.T, parts, 1), scaling, centre)


def _columns(features: Array) -> Array:
    one = jnp.ones((features.shape[0], 1), features.dtype)
    return jnp.concatenate([features, one], axis=1)


def _weighted(columns: Float[Array, "rows size"], weights: Float[Array, "rows outputs"]):
    """For each output, by one product."""
    size, outputs = columns.shape[1], weights.shape[1]
    scaled = (weights[:, :, None] * columns[:, None]).reshape(-1, outputs * size)
    return jnp.swapaxes((columns.T @ scaled).reshape(size, outputs, size), 0, 1)


def _rescaled(found: Array, scaling: Scaling, centre: Array) -> Array:
    """For features that are less each model's own means, in its own units."""
    shift = (scaling.means - centre)[:, None]
    factors = scaling.factors[:, None]
    gram, sums, total = found[..., :-1, :-1], found[..., -1, :-1], found[..., -1, -1, None]
    outer = lambda a, b: a[..., :, None] * b[..., None, :]
    gram = gram - outer(shift, sums) - outer(sums, shift) + outer(total * shift, shift)
    sums = factors * (sums - total * shift)
    gram = outer(factors, factors) * gram
    side = jnp.concatenate([gram, sums[..., None, :]], axis=-2)
    return jnp.concatenate([side, jnp.concatenate([sums, total], axis=-1)[..., None]], axis=-1)
