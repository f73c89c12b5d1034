"""Uniform random integers, the same as JAX's, in a kernel that keeps its numbers in registers.

Drawing the rows of a step by JAX's loops took as long as several of its products. Here all
rounds of both words of a number stand in one expression.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, UInt32

from .keys import is_by_place, split_words
from .threefry import threefry
from .types import Index, KeyOf, Keys


def uniform_integers(
    key: PRNGKeyArray, shape: tuple[int, ...], num: Index
) -> Int[Array, "..."]:
    """`jax.random.randint(key, shape, 0, num)`, bit for bit.

    >>> from bilevax._core.integers import uniform_integers
    >>> bool((uniform_integers(jax.random.key(0), (3,), 9)
    ...       == jax.random.randint(jax.random.key(0), (3,), 0, 9)).all())
    True
    """
    if not is_by_place(key):
        return jax.random.randint(key, shape, 0, num)
    row = jax.random.key_data(key)[None], jnp.zeros(1, jnp.uint32), jnp.asarray(num)[None]
    return _drawn(*row, math.prod(shape)).reshape(shape)


@dataclasses.dataclass(frozen=True)
class Draw:
    """Rows of `uniform_integers` that are still to be drawn, each with a key of its own.

    It stands, a leaf, in a tree where the array will; `places` are where in what its key
    draws a row begins.
    """

    keys: KeyOf[Array, "..."]
    places: UInt32[Array, "..."]
    size: int
    num: Index

    @classmethod
    def of(cls, keys: Keys, shape: tuple[int, int], num: Index) -> "Draw":
        """As many rows as `shape` says with each key, of as many numbers."""
        rows, size = shape
        places = size * jnp.arange(rows, dtype=jnp.uint32)
        each = len(keys), rows
        keys, places = jnp.broadcast_to(keys[:, None], each), jnp.broadcast_to(places, each)
        return cls(keys, places, size, num)

    @property
    def shape(self) -> tuple[int, ...]:
        return *self.keys.shape, self.size

    def reshape(self, *shape: int) -> "Draw":
        """The same rows in another order of axes, the last of which stays."""
        keys, places = self.keys.reshape(shape[:-1]), self.places.reshape(shape[:-1])
        return dataclasses.replace(self, keys=keys, places=places)


def all_drawn(tree: PyTree) -> PyTree:
    """The same tree, with each `Draw` drawn, and those of rows of one size in one kernel.

    >>> from bilevax._core.integers import all_drawn, Draw, uniform_integers
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> some, more = all_drawn((Draw.of(keys, (1, 4), 9), Draw.of(keys, (3, 4), 7)))
    >>> bool((more[1] == uniform_integers(keys[1], (3, 4), 7)).all())
    True
    """
    leaves, structure = jax.tree.flatten(tree)
    draws = {place: leaf for place, leaf in enumerate(leaves) if isinstance(leaf, Draw)}
    for size in dict.fromkeys(draw.size for draw in draws.values()):
        alike = {place: draw for place, draw in draws.items() if draw.size == size}
        for place, drawn in zip(alike, _together(list(alike.values())), strict=True):
            leaves[place] = drawn
    return structure.unflatten(leaves)


def _together(draws: list[Draw]) -> list[Array]:
    """Each of some draws, of rows of one size."""
    keys, places, nums = map(jnp.concatenate, zip(*map(_rows, draws), strict=True))
    drawn = _drawn(jax.random.key_data(keys), places, nums, draws[0].size)
    ends = np.cumsum([draw.keys.size for draw in draws])[:-1]
    parts = jnp.split(drawn, ends)
    return [part.reshape(draw.shape) for draw, part in zip(draws, parts, strict=True)]


def _rows(draw: Draw) -> tuple[Array, Array, Array]:
    """Of each row its key, its place and `num`."""
    nums = jnp.broadcast_to(draw.num, draw.keys.size)
    return draw.keys.reshape(-1), draw.places.reshape(-1), nums


# A function of its own is traced once a shape, and once more for many keys, however many draws
# a program has: what each of these takes is a good part of all its tracing.
@functools.partial(jax.jit, static_argnames="size")
def _drawn(
    keys: UInt32[Array, "rows 2"],
    places: UInt32[Array, "rows"],
    nums: Int[Array, "rows"],
    size: int,
) -> Int[Array, "rows size"]:
    integer = jnp.result_type(int)
    word = jnp.uint64 if integer == jnp.int64 else jnp.uint32
    # A multiple of 2^bits and a remainder, each of a draw of its own. They are drawn in a loop
    # of two turns: as one expression with their keys and remainders they take LLVM a second.
    places = places[:, None] + jnp.arange(size, dtype=jnp.uint32)
    high, low = jax.lax.map(lambda keys: _bits(keys, places, word), split_words(keys, 2))
    span = jnp.maximum(nums, 1).astype(word)[:, None]
    root = jnp.asarray(2 ** (jnp.iinfo(word).bits // 2), word) % span
    return ((high % span * (root * root % span) + low % span) % span).astype(integer)


def _bits(keys: UInt32[Array, "rows 2"], places: UInt32[Array, "rows size"], word) -> Array:
    """`jax.random.bits`, of the numbers at these places."""
    first, second = threefry(keys[:, :1], keys[:, 1:], jnp.uint32(0), places)
    if word == jnp.uint32:
        return first ^ second
    return first.astype(word) << 32 | second.astype(word)
