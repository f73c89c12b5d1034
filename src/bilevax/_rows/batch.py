"""Batches: rows of a level's data that an oracle call sees."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from .._core.types import BlockSize
from .data import all_rows, num_parts, take_rows

Indices = Int[Array, "rows"]
Slot = Int[Array, ""]


class Batch(eqx.Module):
    """Rows of a level's data, and where they came from.

    `rows` is what the user's function receives (`None` for a level without data);
    `indices` are the rows' places in the data set (`None` for all rows in order);
    `block_size` is how many of them are evaluated at once; `slot` numbers the batch where it
    is one of a fixed partition, as a table of batches needs; `parts` is the number of devices
    that the rows are spread over.
    """

    rows: PyTree = None
    indices: Indices | None = None
    block_size: BlockSize = eqx.field(static=True, default=None)
    slot: Slot | None = None
    parts: int = eqx.field(static=True, default=1)


def take(data: PyTree, indices: Indices) -> Batch:
    """The batch of the given rows."""
    return Batch(take_rows(data, indices), indices)


def full(data: PyTree, block_size: BlockSize) -> Batch:
    """The batch of all rows."""
    return Batch(all_rows(data), None, block_size, jnp.int32(0), num_parts(data))
