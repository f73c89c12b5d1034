"""Full batches in blocks of rows.

A function that is a mean over rows is also the weighted mean of its values on blocks of
rows. What that buys depends on the block:

- *side by side*, all blocks at once as one batched product: each block's data stay in a
  core's cache between the product with a matrix and the one with its transpose;
- *in turn*, one block after another, recomputed for derivatives: memory is that of one
  block, however many rows there are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._core.program import programs_within
from .._core.tree import axpy
from .._core.types import BlockSize
from .batch import Batch
from .data import num_rows, row_leaves, slice_rows
from .on_disk import is_on_disk
from .sparse import is_sparse

# Bytes of a block that a core's cache holds, and of one that is worth a read; bytes of
# intermediate results to allow for.
_CACHE = 2**20
_READ = 2**21
_MEMORY = 2**28


def mean_over_rows(function: Callable[[PyTree], PyTree], batch: Batch) -> PyTree:
    """`function(batch.rows)`, a mean over rows, in the blocks that the batch asks for.

    With `block_size="auto"` data of more than 1 MB are walked in turn where the intermediate
    results would need more memory than both 256 MB and the data themselves; otherwise side
    by side in blocks of about 1 MB, if the number of rows has a divisor near that. Rows on disk
    are always walked in turn. Rows on several devices are never by "auto", and have such blocks
    if these lie each on one device: otherwise devices would have to send rows.
    """
    rows, size = batch.rows, batch.block_size
    if on_disk(rows):
        return _in_turn(function, rows, _readable_size(function, rows, size))
    if not may_split(rows, size):
        return function(rows)
    if isinstance(size, int):
        return _in_turn(function, rows, size)
    limit = max(_MEMORY, _bytes(row_leaves(rows)))
    total, results = _traffic(function, rows)
    if total > limit and batch.parts == 1:
        per_row = _bytes_per_row(function, rows, total)
        if per_row * num_rows(rows) > limit:
            return _in_turn(function, rows, max(int(_MEMORY / per_row), 1))
    size = _cached_size(rows, results, batch.parts)
    return function(rows) if size is None else _side_by_side(function, rows, size)


def may_split(rows: PyTree, block_size: BlockSize) -> bool:
    """Whether such a full batch may be evaluated in blocks; small ones never are."""
    if isinstance(block_size, int):
        return block_size < num_rows(rows)
    if on_disk(rows):
        return True
    return block_size == "auto" and _bytes(row_leaves(rows)) > _CACHE


def on_disk(rows: PyTree) -> bool:
    """Whether some of the rows are in files."""
    return any(map(is_on_disk, row_leaves(rows)))


def _readable_size(function, rows: PyTree, size: BlockSize) -> int:
    """How many rows to read at once: as asked for, or as many as suit the file and memory."""
    if not isinstance(size, int):
        files = [leaf for leaf in row_leaves(rows) if is_on_disk(leaf)]
        size = min(
            _READ // max(sum(leaf.file.row_bytes for leaf in files), 1) + 1, num_rows(rows)
        )
        fits = size
        block = jax.eval_shape(lambda: slice_rows(rows, 0, fits))
        size = int(size * min(1.0, _MEMORY / max(_traffic(function, block)[0], 1)))
    return max(1, min(size, num_rows(rows)))


def _side_by_side(function, rows: PyTree, size: int) -> PyTree:
    num = num_rows(rows) // size
    blocks = jax.tree.map(lambda leaf: leaf.reshape((num, size, *leaf.shape[1:])), rows)
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.vmap(function)(blocks))


def _in_turn(function, rows: PyTree, size: int) -> PyTree:
    total = num_rows(rows)
    num, rest = divmod(total, size)
    block = jax.checkpoint(
        lambda start, size: function(slice_rows(rows, start, size)), static_argnums=1
    )

    def add(mean, start):
        return axpy(size / total, block(start, size), mean), None

    shapes = jax.eval_shape(lambda: block(0, size))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    mean, _ = jax.lax.scan(add, zero, jnp.arange(num) * size)
    return axpy(rest / total, block(num * size, rest), mean) if rest else mean


def _cached_size(rows: PyTree, results: int, parts: int = 1) -> int | None:
    """The divisor of a part's number of rows nearest to what a cache holds, if one is near."""
    leaves = row_leaves(rows)
    if any(is_sparse(leaf) for leaf in leaves):
        return None  # a product with the stored transpose of all rows is faster
    total = num_rows(rows)
    if total % parts:
        return None
    # Each block writes results of its own: it must be worth that.
    wanted = max(_CACHE, 256 * results) * total / max(_bytes(leaves), 1)
    sizes = np.arange(max(wanted / 3, 1), min(3 * wanted, total / 2) + 1).astype(int)
    sizes = sizes[total // parts % sizes == 0]
    return int(min(sizes, key=lambda size: abs(np.log(size / wanted)), default=0)) or None


def _traffic(function, rows: PyTree) -> tuple[int, int]:
    """Bytes of all intermediate results, were none of them fused, and of the final ones."""
    jaxpr = jax.make_jaxpr(function)(rows)
    return _intermediate(jaxpr.jaxpr), _bytes(jaxpr.out_avals)


def _intermediate(jaxpr) -> int:
    """Bytes of what the equations of a program return, or those within them."""
    total = 0
    for equation in jaxpr.eqns:
        own = _bytes([variable.aval for variable in equation.outvars])
        inner = [_intermediate(p.jaxpr) for p in programs_within(equation)]
        total += max(own, sum(inner))
    return total


def _bytes_per_row(function, rows: PyTree, total: int) -> float:
    """What each further row adds to the intermediate results."""
    num = num_rows(rows)
    half = jax.eval_shape(lambda: slice_rows(rows, 0, num // 2))
    return (total - _traffic(function, half)[0]) / (num - num // 2)


def _bytes(arrays: list[Any]) -> int:
    nodes = [leaf for array in arrays for leaf in jax.tree.leaves(array)]
    return sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in nodes)
