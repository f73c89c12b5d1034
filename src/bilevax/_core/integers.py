"""Uniform random integers, the same as JAX's, in a kernel that keeps its numbers in registers.

JAX writes Threefry as loops of a few rounds, which compile fast on every device. On a CPU each
turn reads and writes all numbers again: to draw the rows of a step took as long as several of
its products. Here all rounds of both words of a number stand in one expression.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from .types import Index

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def uniform_integers(
    key: PRNGKeyArray, shape: tuple[int, ...], num: Index
) -> Int[Array, "..."]:
    """`jax.random.randint(key, shape, 0, num)`, bit for bit.

    >>> from bilevax._core.integers import uniform_integers
    >>> bool((uniform_integers(jax.random.key(0), (3,), 9)
    ...       == jax.random.randint(jax.random.key(0), (3,), 0, 9)).all())
    True
    """
    usual = str(jax.random.key_impl(key)) == "threefry2x32"
    if not (usual and getattr(jax.config, "jax_threefry_partitionable", False)):
        return jax.random.randint(key, shape, 0, num)
    return _drawn(jax.random.key_data(key), jnp.asarray(num), shape)


# A function of its own is traced once a shape, and once more for many keys, however many draws
# a program has: what each of these takes is a good part of all its tracing.
@functools.partial(jax.jit, static_argnames="shape")
def _drawn(key: Array, num: Array, shape: tuple[int, ...]) -> Array:
    integer = jnp.result_type(int)
    word = jnp.uint64 if integer == jnp.int64 else jnp.uint32
    # A multiple of 2^bits and a remainder, each of a draw of its own. They are drawn in a loop
    # of two turns: as one expression with their keys and remainders they take LLVM a second.
    keys = _halves(key)
    high, low = jax.lax.map(lambda key: _bits(key, shape, word), keys)
    span = jnp.maximum(num, 1).astype(word)
    root = jnp.asarray(2 ** (jnp.iinfo(word).bits // 2), word) % span
    return ((high % span * (root * root % span) + low % span) % span).astype(integer)


def _halves(key: Array) -> Array:
    """`jax.random.split`, of the numbers of a key."""
    words = _threefry(key[0], key[1], jnp.uint32(0), jnp.arange(2, dtype=jnp.uint32))
    return jnp.stack(words, axis=1)


def _bits(key: Array, shape: tuple[int, ...], word) -> Array:
    """`jax.random.bits`."""
    places = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    first, second = _threefry(key[0], key[1], jnp.uint32(0), places)
    if word == jnp.uint32:
        drawn = first ^ second
    else:
        drawn = first.astype(word) << 32 | second.astype(word)
    return drawn.reshape(shape)


def _threefry(k0: Array, k1: Array, x0: Array, x1: Array) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011, section 3.3)."""
    keys = k0, k1, k0 ^ k1 ^ jnp.uint32(_PARITY)
    x0, x1 = x0 + k0, x1 + k1
    for turn in range(5):
        for by in _ROTATIONS[turn % 2]:
            x0 = x0 + x1
            x1 = (x1 << by | x1 >> (32 - by)) ^ x0
        x0 = x0 + keys[(turn + 1) % 3]
        x1 = x1 + keys[(turn + 2) % 3] + jnp.uint32(turn + 1)
    return x0, x1
