"""Rows spread over devices, of which the compiler makes every product and mean."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from .data import as_data, check_axes
from .sparse import is_scipy, is_sparse

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    AnyMesh = Mesh | None
else:
    AnyMesh = Any


def shard_rows(data: PyTree, mesh: AnyMesh = None) -> PyTree:
    """Dense data with their rows in equal parts on the devices of a mesh.

    Pass what it returns as the data of a problem: all else stays as it is. Each device works
    on its rows, and what is summed over rows is summed over devices too; x and y are on all of
    them.

    **Arguments:**

    - `data`: a pytree of arrays with one leading axis of rows. An array on disk
      (`numpy.load(..., mmap_mode="r")`) is read in the parts that devices of this process hold,
      so that each of several processes reads its own rows only.
    - `mesh`: a `jax.sharding.Mesh` of one axis; by default all devices. Its axis must be
      `AxisType.Auto`, since on explicit axes each product of your objectives would have to
      name the sharding of its result.

    The number of rows must be a multiple of the number of devices. Rows of padding would not
    be exact: an objective is a mean over the rows that it is given, and knows of no weights.
    Sparse matrices stay on one device and are refused.

    >>> import bilevax as bx, numpy as np
    >>> features, labels = bx.shard_rows((np.ones((6, 2)), np.zeros(6)))
    >>> features.shape, len(features.sharding.device_set)
    ((6, 2), 1)
    """
    mesh = _as_mesh(mesh)
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    matrix = lambda leaf: is_sparse(leaf) or is_scipy(leaf)
    place = lambda path, leaf: _place("data" + jax.tree_util.keystr(path), leaf, sharding)
    return as_data(jax.tree_util.tree_map_with_path(place, data, is_leaf=matrix))


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
    return mesh


def _place(where: str, leaf: Any, sharding: NamedSharding) -> jax.Array:
    """An array on the devices, each given its own rows."""
    if is_sparse(leaf) or is_scipy(leaf):
        raise TypeError(
            f"{where} is sparse, and only dense rows can be sharded: leave it on one device, "
            "where its products read its entries only, or pass its dense form."
        )
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise ValueError(
            f"{where} is spread over processes already. Pass the rows themselves, on each "
            "process the same, as NumPy arrays."
        )
    rows = leaf if isinstance(leaf, np.ndarray) else np.asarray(leaf)
    num, parts = (rows.shape[0] if rows.ndim else 0), sharding.num_devices
    if num == 0 or num % parts:
        fewer = max(d for d in range(1, parts + 1) if num % d == 0)
        raise ValueError(_UNEVEN.format(where, num, parts, num % parts, fewer))
    dtype = jax.dtypes.canonicalize_dtype(rows.dtype)
    return jax.make_array_from_callback(
        rows.shape, sharding, lambda index: np.asarray(rows[index], dtype)
    )


_UNEVEN = (
    "{0} has {1} rows, which {2} devices do not share equally. Leave {3} rows out, or pass a "
    "mesh of {4} of the devices; rows that are made up would change what is a mean over rows."
)
