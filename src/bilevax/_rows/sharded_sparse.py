"""Sparse matrices whose rows are spread over devices."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import ArrayLike

from .sparse import AbstractSparse, Compressed, RowLengths, SelectedRows


class ShardedMatrix(AbstractSparse):
    """A sparse matrix in parts of as many consecutive rows, one on each device.

    Each device multiplies by its part. A product with the transpose is summed over devices,
    and nothing else is sent. All parts are as long as the longest: their arrays lie side by
    side in one, with zeros behind the entries, and rows without entries behind the last.
    """

    rows: Compressed
    columns: Compressed
    num: int = eqx.field(static=True)
    lengths: RowLengths = eqx.field(static=True)
    sharding: NamedSharding = eqx.field(static=True)

    @property
    def shape(self):
        return self.num, self.rows.shape[1]

    @property
    def parts(self) -> int:
        """On how many devices the rows lie."""
        return self.sharding.num_devices

    @property
    def dtype(self):
        return self.rows.values.dtype

    def product(self, w, transposed):
        axis = self.sharding.spec[0]
        whole, parts = PartitionSpec(), PartitionSpec(axis)

        def forward(matrix, w):
            return _own(matrix).product(w)

        def backward(matrix, w):
            return jax.lax.psum(_own(matrix).product(w), axis)

        def on_devices(function, matrix, w, of_w, of_result):
            # What multiplies knows nothing of meshes, so that it is not checked against them.
            specs = {"in_specs": (parts, of_w), "out_specs": of_result, "check_vma": False}
            return jax.shard_map(function, mesh=self.sharding.mesh, **specs)(matrix, w)

        if not transposed:
            return on_devices(forward, self.rows, w, whole, parts)[: self.num]
        missing = self.parts * self.rows.shape[0] - self.num
        w = jnp.pad(w, [(0, missing)] + [(0, 0)] * (w.ndim - 1))
        return on_devices(backward, self.columns, w, parts, whole)

    def take(self, indices: ArrayLike) -> SelectedRows:
        """The given rows, which may repeat, on all devices."""
        indices = jnp.clip(jnp.asarray(indices, jnp.int32), 0, self.num - 1)
        per_part, entries = self.rows.shape[0], self.rows.values.shape[1]
        part, row = indices // per_part, indices % per_part
        begins, ends = self.rows.starts[part, row], self.rows.starts[part, row + 1]
        flat: list[Any] = [array.reshape(-1) for array in jax.tree.leaves(self.rows)]
        parent = Compressed(*flat, shape=self.shape)
        return SelectedRows.of(parent, part * entries + begins, ends - begins, self.lengths)


def shard_matrix(matrix: Any, sharding: NamedSharding) -> ShardedMatrix:
    """A canonical SciPy matrix on the devices, each given its own rows."""
    num, size = matrix.shape
    parts = sharding.num_devices
    per_part = -(-num // parts)
    bounds = np.minimum(np.arange(parts + 1) * per_part, num)
    entries = max(int(np.diff(matrix.indptr[bounds]).max()), 1)
    if parts * entries >= 2**31:
        raise ValueError(_TOO_MANY.format(entries, parts))

    @functools.cache
    def part(index: int):
        own = matrix[bounds[index] : bounds[index + 1]]
        own.resize((per_part, size))
        return own, own.T.tocsr()

    def stacked(side: int, shape: tuple[int, int]) -> Compressed:
        place = lambda name, length, dtype: _stacked(
            lambda index: getattr(part(index)[side], name), (parts, length), dtype, sharding
        )
        values = place("data", entries, jax.dtypes.canonicalize_dtype(matrix.dtype))
        columns = place("indices", entries, np.int32)
        return Compressed(values, columns, place("indptr", shape[0] + 1, np.int32), shape)

    rows, columns = stacked(0, (per_part, size)), stacked(1, (size, per_part))
    lengths = RowLengths.of(matrix.indptr)
    return ShardedMatrix(rows, columns, num, lengths, sharding)


def _own(matrix: Compressed) -> Compressed:
    """The part that a device has, of what it sees of the stacked parts."""
    return jax.tree.map(lambda array: array[0], matrix)


def _stacked(of_part, shape: tuple[int, int], dtype, sharding: NamedSharding) -> jax.Array:
    """An array of each part side by side, with zeros behind what is shorter."""

    def on_device(index):
        found = of_part(index[0].start or 0)
        return np.pad(found.astype(dtype), (0, shape[1] - found.size))[None]

    return jax.make_array_from_callback(shape, sharding, on_device)


_TOO_MANY = (
    "A sharded matrix holds fewer than 2^31 entries, and the largest of its parts has {0} on "
    "each of {1} devices: take fewer devices, or shuffle the rows so that parts are equal."
)
