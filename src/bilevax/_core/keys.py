"""Random keys: JAX's own, by small programs, and none where nothing is drawn."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt32

from .threefry import threefry
from .types import KeyOf, Keys


def is_by_place(keys: Array) -> bool:
    """Whether what these keys draw depends on them and on a number's place only.

    Of other generators many keys at once make other numbers than one by one.
    """
    typed = jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    usual = typed and str(jax.random.key_impl(keys)) == "threefry2x32"
    return usual and getattr(jax.config, "jax_threefry_partitionable", False)


def split(key: PRNGKeyArray, num: int, needed: bool = True) -> Array | list[PRNGKeyArray]:
    """Independent keys, `jax.random.split`; where none is needed, the same one for all.

    Splitting is a hundred operations, and the compiler finds out late that nobody reads them:
    in a small program they are a fifth of all.
    """
    if not needed:
        return [key] * num
    if not is_by_place(key):
        return jax.random.split(key, num)
    return _keys(split_words(jax.random.key_data(key), num))


def split_each(keys: Keys, num: int) -> KeyOf[Array, "num keys"]:
    """`jax.random.split` of each of many keys whose draws are by place: the first ones of all,
    then the second ones."""
    return _keys(split_words(jax.random.key_data(keys), num))


def fold_in(keys: Array, numbers: int | Int[Array, "..."]) -> Array:
    """`jax.random.fold_in`; of keys whose draws are by place, with numbers that broadcast.

    >>> from bilevax._core.keys import fold_in
    >>> fold_in(jax.random.key(0), jnp.arange(3))[2] == jax.random.fold_in(jax.random.key(0), 2)
    Array(True, dtype=bool)
    """
    if not is_by_place(keys):
        return jax.random.fold_in(keys, numbers)
    return _keys(_folded(jax.random.key_data(keys), jnp.uint32(numbers)))


def _keys(words: UInt32[Array, "... 2"]) -> KeyOf[Array, "..."]:
    return jax.random.wrap_key_data(words, impl="threefry2x32")


@functools.partial(jax.jit, static_argnames="num")
def split_words(words: UInt32[Array, "*keys 2"], num: int) -> UInt32[Array, "num *keys 2"]:
    """`split`, of the numbers of keys."""
    places = jnp.arange(num, dtype=jnp.uint32).reshape(num, *(1,) * (words.ndim - 1))
    return jnp.stack(threefry(words[..., 0], words[..., 1], jnp.uint32(0), places), axis=-1)


@jax.jit
def _folded(
    words: UInt32[Array, "*keys 2"], numbers: UInt32[Array, "..."]
) -> UInt32[Array, "... 2"]:
    return jnp.stack(threefry(words[..., 0], words[..., 1], jnp.uint32(0), numbers), axis=-1)
