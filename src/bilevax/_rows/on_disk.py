"""Rows that stay in a file: a compiled program reads the block or the rows that it uses."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.buffer_callback import buffer_callback
from jaxtyping import Array, ArrayLike

from .._core.types import Index


class RowsOnDisk(eqx.Module):
    """Rows of an array in a file, of which memory holds blocks: for data beyond memory.

    It goes into the data of a problem where the array would go, beside others that are in
    memory, such as labels. Full batches are walked in blocks, of `bx.FullBatch(block_size)`
    rows or of 2 MB, and the system reads the next block while the program works on one. Random
    rows, `bx.Epochs` and `bx.Blocks` read the rows of each batch. Blocks are read again for
    every product and never kept, also where an estimator linearises once for many.

    Objectives must be means over rows. Rows are not searched for NaN before a run; one that
    meets them ends with its result. Sparse matrices and arrays whose rows do not lie together
    (in Fortran's order, compressed) cannot be read like this.

    **Arguments:**

    - `array`: a memory-mapped array, from `numpy.load("rows.npy", mmap_mode="r")`,
      `numpy.memmap` or `bx.datasets.load_file`, or some consecutive rows of one; or the path
      of an NPY file.
    - `dtype`: of the rows in a program; by default the file's, or what JAX has in its place:
      float32 for doubles, unless 64-bit numbers are enabled.

    The file must stay where and what it is. Another file is another program, which is compiled.

    >>> import bilevax as bx, numpy as np, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.npy"
    >>> np.save(path, np.arange(6.0).reshape(3, 2))
    >>> rows = bx.RowsOnDisk(path)
    >>> rows.shape, rows.take(np.array([2, 0])).tolist()
    ((3, 2), [[4.0, 5.0], [0.0, 1.0]])
    """

    file: "File" = eqx.field(static=True)
    dtype: np.dtype = eqx.field(static=True)

    def __init__(self, array: Any, dtype: Any = None):
        self.file = File.of(array)
        wanted = self.file.dtype if dtype is None else np.dtype(dtype)
        self.dtype = jax.dtypes.canonicalize_dtype(wanted.newbyteorder("="))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows."""
        return self.file.shape

    @property
    def ndim(self) -> int:
        """Axes, the first of which is that of rows."""
        return len(self.shape)

    def cut(self, start: Index, size: int) -> Array:
        """`size` consecutive rows."""
        return self._read(self.file.consecutive, size, jnp.asarray(start, jnp.int32))

    def take(self, indices: ArrayLike) -> Array:
        """The given rows, which may repeat; beyond the last one is the last."""
        indices = jnp.asarray(indices, jnp.int32)
        return self._read(self.file.selected, len(indices), indices)

    def __array__(self, *args, **kwargs):
        raise TypeError(_NO_ARRAY)

    def _read(self, read: Callable[..., None], size: int, places: Array) -> Array:
        shape = jax.ShapeDtypeStruct((size, *self.shape[1:]), self.dtype)
        if jax.default_backend() == "cpu":
            # Into the program's own memory: rows are copied once, from the system's cache.
            return buffer_callback(read, shape, vmap_method="expand_dims")(places)

        def returned(places):
            rows = np.empty(shape.shape, shape.dtype)
            read(None, rows, places)
            return rows

        return jax.pure_callback(returned, shape, places, vmap_method="sequential")


@dataclasses.dataclass(frozen=True)
class File:
    """Where rows begin in a file, and what they are. No module: its methods must be quick."""

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, array: Any) -> "File":
        """Of a memory-mapped array, or of the path of an NPY file."""
        if isinstance(array, str | os.PathLike):
            array = np.load(array, mmap_mode="r")
        base = _mapped(array)
        begin = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        path: Any = base.filename
        return cls(os.path.abspath(path), base.offset + begin, array.shape, array.dtype)

    @functools.cached_property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def consecutive(self, _: Any, out: Any, start: Any) -> None:
        """Fill a block of rows; several, where the program is that of several runs."""
        size, starts = out.shape[-len(self.shape)], np.asarray(start).ravel().tolist()
        blocks = np.asarray(out).reshape(-1, size, *self.shape[1:])
        with open(self.path, "rb", buffering=0) as file:
            for rows, first in zip(blocks, starts, strict=True):
                begin, length = self.offset + first * self.row_bytes, size * self.row_bytes
                _expect(file.fileno(), begin + length, length)
                if rows.dtype == self.dtype:
                    file.seek(begin)
                    self._fill(file, rows)
                else:
                    rows[...] = self._array()[first : first + size]

    def selected(self, _: Any, out: Any, indices: Any) -> None:
        """Fill rows of these indices."""
        indices = np.clip(np.asarray(indices), 0, self.shape[0] - 1)
        np.asarray(out)[...] = self._array()[indices]

    def _fill(self, file: Any, rows: np.ndarray) -> None:
        """A read may return less than it was asked for."""
        view: Any = memoryview(rows.reshape(-1).view(np.uint8))  # pyright: ignore
        while len(view):
            num = file.readinto(view)
            if not num:
                raise OSError(f"{self.path} ends before the last of its {self.shape[0]} rows.")
            view = view[num:]

    def _array(self) -> np.ndarray:
        """Mapped for a moment: pages that stay mapped count as the process's memory."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


def _expect(file: int, begin: int, length: int) -> None:
    """Have the system read the next block while this one is worked on, unless it has already.

    Advice takes a fifth of the time of a read, a look at the last byte next to none.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return
    try:
        os.preadv(file, [bytearray(1)], begin + length - 1, os.RWF_NOWAIT)
    except OSError:
        os.posix_fadvise(file, begin, length, os.POSIX_FADV_WILLNEED)


def is_on_disk(node: Any) -> bool:
    """Whether a node of a pytree of data is rows on disk."""
    return isinstance(node, RowsOnDisk)


def _mapped(array: Any) -> np.memmap:
    """The whole map of whose file an array shows rows."""
    base = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    while isinstance(base, np.memmap) and isinstance(base.base, np.memmap):
        base = base.base
    if not isinstance(base, np.memmap):
        raise TypeError(_NOT_MAPPED.format(type(array).__name__))
    if base.filename is None or array.dtype.kind not in "biuf" or not array.ndim:
        raise TypeError(
            f"Rows on disk are an array of real numbers in a named file, got {array.dtype} of "
            f"shape {array.shape}."
        )
    if not array.flags.c_contiguous:
        raise ValueError(
            "The rows on disk do not lie one after another: write the array in C's order "
            "(numpy.ascontiguousarray), and take all columns and rows that are consecutive."
        )
    return base


_NO_ARRAY = (
    "Here all rows are needed as one array, and rows on disk are read in blocks by objectives "
    "that are means over rows: write the objective yourself, or pass numpy.load(path)."
)
_NOT_MAPPED = (
    "Rows on disk are a memory-mapped array or the path of an NPY file, got {}. Of an array in "
    "memory: numpy.save(path, array), then bx.RowsOnDisk(path). Arrow and Parquet files: "
    "bx.datasets.load_file writes such a file once."
)
