"""The rounding errors of a function, from its values nearby."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._core.tree import float_dtype, norm

_POINTS = 12
_ORDERS = range(4, 9)


class Noise(NamedTuple):
    """What the values of a function along a short line tell.

    - `sizes`: the Euclidean norm of the rounding errors' standard deviations, one an output;
    - `move`: from the first point to the last;
    - `changes`: of the outputs on that way.
    """

    sizes: Float[Array, " outputs"]
    move: PyTree
    changes: tuple[PyTree, ...]


def noise(function: Callable[[PyTree], tuple[PyTree, ...]], at: PyTree) -> Noise:
    r"""The size of the rounding errors in each output of a function, near a point.

    High differences along a line vanish for what is smooth and not for rounding errors,
    whose k-th difference has the variance $\binom{2k}{k} \sigma^2$ (Moré and Wild 2011); the
    least $\sigma$ over several orders counts, and zero where it is not finite. So all that
    cancels within the function is seen, but for what is the same at all points
    nearby: terms eps^(-2/3) times as large as the point, and more, hide its moves, and then
    `changes` are too small for the `move`.
    """
    dtype = float_dtype(at)
    spacing = float(jnp.finfo(dtype).eps) ** (1 / 3)
    largest = jax.tree.reduce(jnp.maximum, jax.tree.map(lambda v: jnp.max(jnp.abs(v)), at))
    unit = jnp.where(largest > 0, largest, 1)
    leaves, structure = jax.tree.flatten(at)
    keys = jax.tree.unflatten(structure, list(jax.random.split(jax.random.key(0), len(leaves))))

    def direction(leaf, key):
        # Relative to each number, whose sign may matter, and no multiple of the others.
        share = jax.random.uniform(key, leaf.shape, leaf.dtype, 0.5, 1)
        return spacing * share * jnp.where(leaf == 0, unit.astype(leaf.dtype), leaf)

    line = jax.tree.map(direction, at, keys)
    point = lambda i: jax.tree.map(lambda v, d: v + i.astype(v.dtype) * d, at, line)
    values = jax.lax.map(lambda i: function(point(i)), jnp.arange(_POINTS) - _POINTS // 2)
    sizes = jnp.stack([_of_differences(output) for output in values])
    changes = jax.tree.map(lambda v: v[-1] - v[0], values)
    return Noise(sizes, jax.tree.map(lambda d: (_POINTS - 1) * d, line), changes)


def _of_differences(output: PyTree) -> Float[Array, ""]:
    sizes = [
        norm(jax.tree.map(lambda v, k=k: jnp.diff(v, n=k, axis=0), output))
        / math.sqrt((_POINTS - k) * math.comb(2 * k, k))
        for k in _ORDERS
    ]
    least = jnp.min(jnp.stack(sizes))
    return jnp.where(jnp.isfinite(least), least, 0)
