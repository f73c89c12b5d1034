"""Rows spread over devices, of which the compiler makes every product and mean."""

import zlib
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from .data import as_data, check_axes, holds_rows
from .on_disk import is_on_disk
from .sharded import ShardedRows
from .sharded_sparse import shard_matrix
from .sparse import SparseMatrix, as_canonical, is_scipy

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    AnyMesh = Mesh | None
else:
    AnyMesh = Any


def shard_rows(data: PyTree, mesh: AnyMesh = None) -> PyTree:
    """Data with their rows in equal parts on the devices of a mesh.

    Pass what it returns as the data of a problem: all else stays as it is. Each device works
    on its rows, and what is summed over rows is summed over devices too; x and y are on all of
    them. Where the devices do not divide the rows, a few rows of padding lie behind the last
    ones, which no sampler draws and no function of yours sees: the numbers are exact.

    **Arguments:**

    - `data`: a pytree of arrays, SciPy sparse matrices and `bx.SparseMatrix`, each with one
      leading axis of rows. An array on disk (`numpy.load(..., mmap_mode="r")`) is read in the
      parts that devices of this process hold, so that each of several processes reads its
      own rows only. All processes give the same data.
    - `mesh`: a `jax.sharding.Mesh` of one axis; by default all devices. Its axis must be
      `AxisType.Auto`, since on explicit axes each product of your objectives would have to
      name the sharding of its result.

    **Returns:** the same pytree, for a problem. Functions of yours may read what is dense as
    arrays.

    >>> import bilevax as bx, numpy as np
    >>> features, labels = bx.shard_rows((np.ones((6, 2)), np.zeros(6)))
    >>> features.shape, len(features.sharding.device_set)
    ((6, 2), 1)
    """
    mesh = _as_mesh(mesh)
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    leaves, structure = jax.tree_util.tree_flatten_with_path(data, is_leaf=_is_leaf)
    named = {"data" + jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    rows = {where: _on_host(where, leaf) for where, leaf in named.items()}
    _check_same(rows)
    return as_data(structure.unflatten(_place(r, sharding) for r in rows.values()))


def _as_mesh(mesh: Any) -> Mesh:
    if mesh is None:
        return Mesh(np.asarray(jax.devices()), "rows", axis_types=(AxisType.Auto,))
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}.")
    if mesh.size == 0 or len(mesh.axis_names) != 1:
        raise ValueError(
            f"Rows are sharded over one axis of at least one device, and this mesh has "
            f"axes {dict(mesh.shape)}: pass jax.sharding.Mesh(devices, 'rows'), with a list."
        )
    check_axes("mesh", mesh)
    processes = {device.process_index for device in mesh.devices.flat}
    if len(processes) < jax.process_count():
        raise ValueError(_SOME_PROCESSES.format(sorted(processes), jax.process_count()))
    return mesh


def _is_leaf(node: Any) -> bool:
    return holds_rows(node) or is_scipy(node)


def _on_host(where: str, leaf: Any) -> Any:
    """An array of NumPy's or a matrix of SciPy's, from which each device gets its own."""
    if isinstance(leaf, SparseMatrix):
        leaf = leaf.to_scipy()
    if is_scipy(leaf):
        leaf = as_canonical(leaf)
    elif is_on_disk(leaf):
        raise TypeError(
            f"{where} is a bx.RowsOnDisk, which one device reads. To spread rows over devices "
            "pass numpy.load(path, mmap_mode='r'): each gets its own part into memory."
        )
    elif holds_rows(leaf) or not getattr(leaf, "is_fully_addressable", True):
        raise ValueError(
            f"{where} is spread over devices or taken from a matrix already. Pass the rows "
            "themselves, on each process the same, as NumPy arrays or SciPy matrices."
        )
    elif not isinstance(leaf, np.ndarray):  # one on disk is not read yet
        leaf = np.asarray(leaf)
    if leaf.ndim == 0 or leaf.shape[0] == 0:
        raise ValueError(f"{where} has no rows to spread over devices: shape {leaf.shape}.")
    return leaf


def _check_same(rows: dict[str, Any]) -> None:
    """Raise where the processes have not been given data of the same shapes.

    Each would wait for ever for sums of the others.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    shown = ", ".join(f"{name}: {r.dtype}{list(r.shape)}" for name, r in rows.items())
    sums = np.ravel(multihost_utils.process_allgather(np.uint32(zlib.crc32(shown.encode()))))
    if len(set(sums.tolist())) > 1:
        raise ValueError(_DIFFERENT.format(jax.process_index(), shown or "no rows"))


def _place(rows: Any, sharding: NamedSharding) -> Any:
    """Rows on the devices, each given its own."""
    if is_scipy(rows):
        return shard_matrix(rows, sharding)
    num, parts = rows.shape[0], sharding.num_devices
    missing = -num % parts
    dtype = jax.dtypes.canonicalize_dtype(rows.dtype)

    def on_device(index):
        own = np.asarray(rows[index], dtype)
        start, stop, _ = index[0].indices(num + missing)
        return np.pad(own, [(0, stop - start - len(own))] + [(0, 0)] * (own.ndim - 1))

    shape = num + missing, *rows.shape[1:]
    placed = jax.make_array_from_callback(shape, sharding, on_device)
    return placed if parts == 1 else ShardedRows(placed, num, sharding)


_SOME_PROCESSES = (
    "The mesh has devices of the processes {0} only, and there are {1}, which all run the same "
    "program: make it of jax.devices(), of which each process has some."
)
_DIFFERENT = (
    "The processes were given different data, and this one, process {0}, has {1}. Give all of "
    "them the same: each reads its own rows only, of an array on disk too."
)
