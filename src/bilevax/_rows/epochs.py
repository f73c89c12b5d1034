"""Walks through random permutations: every item once an epoch.

A permutation is a function of a seed, of the epoch and of a place, and is never written down:
to shuffle 10,000 items by sorting random numbers takes as long as hundreds of steps.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt

# Twice as many as a network of random functions needs to look like a random permutation.
_ROUNDS = 8


class Walk(eqx.Module):
    """The seed, the epoch, how many groups of it are used up, and how many items there are."""

    seed: UInt[Array, ""]
    epoch: UInt[Array, ""]
    used: Int[Array, ""]
    num_items: int = eqx.field(static=True)


def before_epochs(num_items: int) -> Walk:
    """Before the first group: without a seed, which the first key gives."""
    return Walk(jnp.uint32(0), jnp.uint32(0), jnp.int32(0), num_items)


def in_epochs(
    walk: Walk, key: PRNGKeyArray, num: int, size: int
) -> tuple[Int[Array, "num size"], Walk]:
    """The next `num` groups of `size` items, and the walk after them.

    Where the size does not divide the items, the rest of a permutation is left out.
    """
    per_epoch = walk.num_items // size
    fresh = (walk.epoch == 0) & (walk.used == 0)
    seed = jnp.where(fresh, jax.random.bits(key, dtype=jnp.uint32), walk.seed)
    groups = walk.used + jnp.arange(num, dtype=jnp.int32)
    epochs = walk.epoch + (groups // per_epoch).astype(jnp.uint32)
    places = (groups % per_epoch)[:, None] * size + jnp.arange(size, dtype=jnp.int32)
    items = permuted(_mixed(seed ^ _mixed(epochs))[:, None], places, walk.num_items)
    used = walk.used + num
    epoch = walk.epoch + (used // per_epoch).astype(jnp.uint32)
    return items, Walk(seed, epoch, used % per_epoch, walk.num_items)


def permuted(seed: Array, places: Int[Array, "..."], num: int) -> Int[Array, "..."]:
    """The items at these places of a random permutation of so many, one for each seed.

    A Feistel network on the cells of a rectangle that has a little more of them; who comes
    out beyond the last item goes through it again, which keeps it a permutation.
    """
    height = max(round(num**0.5), 1)
    width = -(-num // height)

    def network(cells):
        row, column = cells // width, cells % width
        for index in range(_ROUNDS):
            own = seed + jnp.uint32(0x9E3779B9 * (index + 1) % 2**32)
            if index % 2:
                row = (row + _mixed(own ^ column) % height) % height
            else:
                column = (column + _mixed(own ^ row) % width) % width
        return row * width + column

    again = lambda cells: jnp.where(cells < num, cells, network(cells))
    beyond = lambda cells: jnp.any(cells >= num)
    found = jax.lax.while_loop(beyond, again, network(places.astype(jnp.uint32)))
    return found.astype(jnp.int32)


def _mixed(number: Array) -> Array:
    """A hash of 32 bits in which every bit depends on every other."""
    number = (number ^ (number >> 16)) * jnp.uint32(0x85EBCA6B)
    number = (number ^ (number >> 13)) * jnp.uint32(0xC2B2AE35)
    return number ^ (number >> 16)
