"""The data of a level: a pytree whose leaves, dense or sparse, share their rows."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PyTree

from .._core.tree import is_traced
from .on_disk import RowsOnDisk, is_on_disk
from .sharded import ShardedRows
from .sparse import AbstractSparse, SparseMatrix, is_scipy, is_sparse


def as_data(data: PyTree) -> PyTree:
    """Data as JAX arrays, moved to the device once and not at every call.

    SciPy's sparse matrices become a `bx.SparseMatrix`.
    """

    def convert(leaf):
        if holds_rows(leaf):
            return leaf
        if isinstance(leaf, jax.Array) and not is_traced(leaf):
            check_axes("The mesh of the data", getattr(leaf.sharding, "mesh", None))
        return SparseMatrix(leaf) if is_scipy(leaf) else jnp.asarray(leaf)

    return jax.tree.map(convert, data, is_leaf=_is_matrix)


def check_axes(name: str, mesh: Any) -> None:
    """Raise where a mesh has axes that are not left to the compiler."""
    if mesh is not None and any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise ValueError(
            f"{name} has explicit axes, on which a product of an objective would have to name "
            "the sharding of its result. Make it with axis_types=(AxisType.Auto,), of "
            "jax.sharding, or let bx.shard_rows(data) place NumPy arrays on all devices."
        )


def holds_rows(node: Any) -> bool:
    """Whether a node of data that is no array stands for one: a sparse matrix, sharded rows or
    rows on disk."""
    return isinstance(node, AbstractSparse | ShardedRows | RowsOnDisk)


def row_leaves(data: PyTree) -> list[Any]:
    """The arrays and what stands for one, each with one leading axis of rows."""
    return jax.tree.leaves(data, is_leaf=holds_rows)


def num_parts(data: PyTree) -> int:
    """On how many devices `bx.shard_rows` has put the rows."""
    return max((getattr(leaf, "parts", 1) for leaf in row_leaves(data)), default=1)


def all_rows(data: PyTree) -> PyTree:
    """What a function of all rows sees: data without padding."""
    whole = lambda leaf: leaf.whole() if isinstance(leaf, ShardedRows) else leaf
    return jax.tree.map(whole, data, is_leaf=holds_rows)


def unread(data: PyTree) -> PyTree:
    """Data to trace a function of all rows with: of those on disk the shapes alone."""
    shape = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    seen = lambda leaf: shape(leaf) if is_on_disk(leaf) else leaf
    return jax.tree.map(seen, data, is_leaf=holds_rows)


def num_rows(data: PyTree) -> int:
    """Rows of a data set; one for a level without data, whose every call reads "one"."""
    leaves = row_leaves(data)
    return leaves[0].shape[0] if leaves else 1


def take_rows(data: PyTree, indices: Int[Array, "batch"]) -> PyTree:
    """The given rows."""

    def take(leaf):
        return leaf.take(indices) if holds_rows(leaf) else _take_dense(leaf, indices)

    return jax.tree.map(take, data, is_leaf=holds_rows)


def slice_rows(data: PyTree, start: int | Int[Array, ""], size: int) -> PyTree:
    """`size` consecutive rows."""

    def cut(leaf):
        if is_sparse(leaf):
            return leaf.take(start + jnp.arange(size))
        if holds_rows(leaf):
            return leaf.cut(start, size)
        return jax.lax.dynamic_slice_in_dim(leaf, start, size)

    return jax.tree.map(cut, data, is_leaf=holds_rows)


def _take_dense(leaf: ArrayLike, indices: Int[Array, "batch"]) -> Array:
    return jnp.take(leaf, indices, axis=0, mode="clip")


def _is_matrix(leaf: Any) -> bool:
    return holds_rows(leaf) or is_scipy(leaf)
