"""Walks through random permutations: every item once an epoch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

# How many groups of the present permutation are used up, and the permutation.
Walk = tuple[Int[Array, ""], Int[Array, "items"]]


def before_epochs(num_items: int, size: int) -> Walk:
    """Before the first group of `size` items: no group is left."""
    return jnp.int32(num_items // size), jnp.arange(num_items, dtype=jnp.int32)


def in_epochs(
    walk: Walk, key: PRNGKeyArray, num: int, size: int
) -> tuple[Int[Array, "num size"], Walk]:
    """The next `num` groups of `size` items, and the walk after them.

    Where the size does not divide the items, the rest of a permutation is left out. Only
    where the present one is used up are others drawn, and all at once.
    """
    used, permutation = walk
    items = permutation.shape[0]
    per_epoch = items // size
    groups = lambda order: order[..., : per_epoch * size].reshape(-1, size)
    take = lambda groups: jax.lax.dynamic_slice_in_dim(groups, used, num)

    def within():
        return take(groups(permutation)), (used + num, permutation)

    def beyond():
        keys = jax.random.split(key, -(-num // per_epoch))
        fresh = jax.vmap(lambda k: jax.random.permutation(k, items))(keys)
        orders = jnp.concatenate((permutation[None], fresh.astype(jnp.int32)))
        epoch = (used + num - 1) // per_epoch
        return take(groups(orders)), (used + num - epoch * per_epoch, orders[epoch])

    if num > per_epoch:
        return beyond()
    return jax.lax.cond(used + num > per_epoch, beyond, within)
