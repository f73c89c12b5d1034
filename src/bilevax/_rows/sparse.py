"""Sparse design matrices as operators: `X @ w` and `X.T @ r`, under every transformation.

The products are one primitive that is linear in the dense factor. Its transpose multiplies
by the stored transpose, so that derivatives of any order are products like the first.
"""

import abc
import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, ArrayLike, Int, Num

Dense = Num[Array, "..."]  # a vector or a matrix

# Bytes that a processor computes with at once, and those of a row beyond which it does not pay
# to fill these up.
_REGISTER, _NARROW = 32, 192


class Compressed(eqx.Module):
    """Compressed sparse rows: row i has the entries `starts[i]` to `starts[i + 1]`."""

    values: Num[Array, "*parts entries"]
    columns: Int[Array, "*parts entries"]
    starts: Int[Array, "*parts rows_plus_1"]
    shape: tuple[int, int] = eqx.field(static=True)

    def __check_init__(self):
        # This gives XLA its sparse products, which a program that was traced by another process
        # calls without `product`.
        import jax.experimental.sparse  # noqa: F401

    @classmethod
    def of(cls, matrix) -> "Compressed":
        """From a SciPy CSR matrix."""
        index = lambda array: jnp.asarray(array, jnp.int32)
        parts = jnp.asarray(matrix.data), index(matrix.indices), index(matrix.indptr)
        return cls(*parts, matrix.shape)

    def product(self, w: Dense) -> Dense:
        """The matrix times w, in w's dtype."""
        # Here and below imported where it is needed: a fifth of what `import bilevax` takes.
        from jax.experimental.sparse import BCSR

        parts = self.values.astype(w.dtype), self.columns, self.starts
        matrix = BCSR(parts, shape=self.shape)
        width = math.prod(w.shape[1:])
        spare = self._spare(width, w.dtype.itemsize)
        if not spare:
            return matrix @ w
        filled = jnp.pad(w.reshape(-1, width), ((0, 0), (0, spare)))
        return (matrix @ filled)[:, :width].reshape(-1, *w.shape[1:])

    def _spare(self, width: int, itemsize: int) -> int:
        """Columns of zeros that fill up registers: with rows of a dense factor that are no
        whole number of them, XLA's product takes up to three times as long."""
        if width * itemsize > _NARROW or self.values.size < sum(self.shape):
            return 0  # to copy the dense factor would take longer
        return -width % (_REGISTER // itemsize)


@dataclasses.dataclass(frozen=True)
class RowLengths:
    """How many entries rows have: the longest one, the mean, the standard deviation."""

    longest: int
    mean: float
    spread: float

    @classmethod
    def of(cls, starts: np.ndarray) -> "RowLengths":
        """From where the rows begin and end."""
        lengths = np.diff(starts) if len(starts) > 1 else np.zeros(1, int)
        return cls(int(lengths.max()), float(lengths.mean()), float(lengths.std()))

    def capacity(self, num: int) -> int:
        """Entries to provide for `num` rows drawn at random: four standard deviations
        above the mean, and never more than the longest row needs."""
        likely = int(np.ceil(num * self.mean + 4 * self.spread * np.sqrt(num)))
        return max(min(likely, num * self.longest), 1)


class AbstractSparse(eqx.Module):
    """A matrix that is known by its products with dense vectors and matrices."""

    ndim: ClassVar[int] = 2
    # NumPy arrays leave `array @ matrix` to this class.
    __array_ufunc__: ClassVar[None] = None

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    @abc.abstractmethod
    def dtype(self) -> Any:
        """Of the entries."""

    @abc.abstractmethod
    def product(self, w: Dense, transposed: bool) -> Dense:
        """This matrix or its transpose times w, which has the result's dtype."""

    @property
    def T(self) -> "AbstractSparse":  # noqa: N802 - NumPy's name
        """The transpose; nothing is copied."""
        return Transposed(self)

    def __matmul__(self, w) -> Dense:
        return _multiply(self, w, transposed=False)

    def __rmatmul__(self, w) -> Dense:
        return (self.T @ jnp.asarray(w).T).T

    def todense(self) -> Num[Array, "rows columns"]:
        """The same matrix, dense; for looking at small ones."""
        return self @ jnp.eye(self.shape[1], dtype=self.dtype)


class Transposed(AbstractSparse):
    """The transpose of a sparse matrix."""

    matrix: AbstractSparse

    @property
    def shape(self):
        return self.matrix.shape[::-1]

    @property
    def dtype(self):
        return self.matrix.dtype

    @property
    def T(self):  # noqa: N802
        return self.matrix

    def product(self, w, transposed):
        return self.matrix.product(w, not transposed)


class SparseMatrix(AbstractSparse):
    r"""A sparse matrix for data: rows are examples, columns features.

    `X @ w` and `X.T @ r` with dense vectors and matrices stay sparse under `jit`, `grad`,
    `jvp`, `linearize`, `vmap` over the dense factor, and in loops. Sparse matrices in the
    data of a problem become this by themselves. Its entries are constants: a derivative
    with respect to them raises.

    The transpose is stored too, so that both products walk compressed rows: twice the
    memory of the SciPy matrix.

    **Arguments:**

    - `matrix`: a SciPy sparse matrix or array of any format, two-dimensional, of fewer
      than 2^31 entries. Duplicate entries are summed.

    >>> import bilevax as bx, jax, jax.numpy as jnp, scipy.sparse
    >>> X = bx.SparseMatrix(scipy.sparse.csr_array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]))
    >>> (X @ jnp.ones(3)).tolist()
    [3.0, 3.0]
    >>> jax.grad(lambda w: jnp.sum((X @ w) ** 2) / 2)(jnp.ones(3)).tolist()
    [3.0, 9.0, 6.0]
    """

    rows: Compressed
    columns: Compressed
    lengths: RowLengths = eqx.field(static=True)

    def __init__(self, matrix):
        matrix = as_canonical(matrix)
        self.rows = Compressed.of(matrix)
        self.columns = Compressed.of(matrix.T.tocsr())
        self.lengths = RowLengths.of(matrix.indptr)

    @property
    def shape(self):
        return self.rows.shape

    @property
    def dtype(self):
        return self.rows.values.dtype

    @property
    def nnz(self) -> int:
        """Stored entries."""
        return self.rows.values.size

    def product(self, w, transposed):
        return (self.columns if transposed else self.rows).product(w)

    def to_scipy(self) -> Any:
        """The same matrix as SciPy's compressed sparse rows, on the host."""
        import scipy.sparse

        parts = self.rows.values, self.rows.columns, self.rows.starts
        return scipy.sparse.csr_array(tuple(map(np.asarray, parts)), self.shape)

    def take(self, indices: ArrayLike) -> "SelectedRows":
        """The given rows, which may repeat."""
        indices = jnp.clip(jnp.asarray(indices, jnp.int32), 0, self.shape[0] - 1)
        begins, ends = self.rows.starts[indices], self.rows.starts[indices + 1]
        return SelectedRows.of(self.rows, begins, ends - begins, self.lengths)


class SelectedRows(AbstractSparse):
    """Rows of a sparse matrix, gathered.

    Compiled programs need to know how many entries a batch has before they know which rows
    it has. A window of fixed size is gathered once; where a batch has more entries, the
    products walk the rest in further windows. Nothing is ever left out.
    """

    parent: Compressed
    begins: Int[Array, "batch"]  # where each row begins in the parent
    starts: Int[Array, "batch_plus_1"]  # where it begins here
    first: "Window"
    capacity: int = eqx.field(static=True)
    may_exceed: bool = eqx.field(static=True)

    @classmethod
    def of(cls, parent: Compressed, begins, sizes, lengths: "RowLengths") -> "SelectedRows":
        """The rows that begin there in the parent, with so many entries each."""
        num = begins.shape[0]
        if num == 0:
            raise ValueError("A selection of rows needs at least one.")
        ends = jnp.cumsum(sizes, dtype=jnp.int32)
        starts = jnp.concatenate([jnp.zeros(1, jnp.int32), ends])
        capacity = lengths.capacity(num)
        first = Window.of(parent, begins, starts, 0, capacity)
        return cls(parent, begins, starts, first, capacity, capacity < num * lengths.longest)

    @property
    def shape(self):
        return self.begins.shape[0], self.parent.shape[1]

    @property
    def dtype(self):
        return self.parent.values.dtype

    def product(self, w, transposed):
        part = lambda window: window.product(w, self.shape, transposed)
        total = part(self.first)
        if not self.may_exceed:
            return total

        def add_window(carry):
            begin, total = carry
            window = Window.of(self.parent, self.begins, self.starts, begin, self.capacity)
            return begin + self.capacity, total + part(window)

        unfinished = lambda carry: carry[0] < self.starts[-1]
        carry = jnp.int32(self.capacity), total
        return jax.lax.while_loop(unfinished, add_window, carry)[1]


class Window(eqx.Module):
    """So many consecutive entries of selected rows; those past the end are zero."""

    values: Num[Array, "capacity"]
    columns: Int[Array, "capacity"]
    row: Int[Array, "capacity"]
    starts: Int[Array, "batch_plus_1"]

    @classmethod
    def of(cls, parent: Compressed, begins, starts, begin, capacity: int) -> "Window":
        """The entries `begin` to `begin + capacity` of the rows that begin there."""
        num = begins.shape[0]
        local = jnp.clip(starts - begin, 0, capacity)
        # The row of an entry is the number of rows that ended at or before it.
        ended = jnp.zeros(capacity, jnp.int32).at[local[1:]].add(1, mode="drop")
        row = jnp.minimum(jnp.cumsum(ended, dtype=jnp.int32), num - 1)
        entry = begin + jnp.arange(capacity, dtype=jnp.int32)
        valid = entry < starts[-1]
        source = jnp.where(valid, begins[row] + entry - starts[row], 0)
        values = jnp.where(valid, parent.values[source], 0)
        return cls(values, parent.columns[source], row, local)

    def product(self, w: Dense, shape: tuple[int, int], transposed: bool) -> Dense:
        """These entries, as a matrix or its transpose, times w."""
        if not transposed:
            return Compressed(self.values, self.columns, self.starts, shape).product(w)
        values = self.values.astype(w.dtype).reshape((-1,) + (1,) * (w.ndim - 1))
        zeros = jnp.zeros((shape[1], *w.shape[1:]), w.dtype)
        return zeros.at[self.columns].add(values * w[self.row])


def is_sparse(node: Any) -> bool:
    """Whether a node of a pytree of data is a sparse matrix of this library."""
    return isinstance(node, AbstractSparse)


def is_scipy(value: Any) -> bool:
    """Whether a value is one of SciPy's sparse matrices, which nobody has who has not
    imported `scipy.sparse`."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and module.issparse(value)


def as_canonical(matrix: Any) -> Any:
    """SciPy's compressed sparse rows of real numbers, with one entry a place."""
    import scipy.sparse

    if not scipy.sparse.issparse(matrix) or matrix.ndim != 2:
        raise TypeError(
            "SparseMatrix needs a two-dimensional SciPy sparse matrix or array, got "
            f"{type(matrix).__name__}."
        )
    matrix = scipy.sparse.csr_array(matrix)
    if matrix.dtype.kind not in "biuf":
        raise TypeError(f"SparseMatrix needs real numbers, got {matrix.dtype}.")
    if not matrix.has_canonical_format:
        matrix = matrix.copy()  # the caller's is left as it is
        matrix.sum_duplicates()
    if matrix.nnz >= 2**31:
        raise ValueError(f"SparseMatrix holds fewer than 2^31 entries, got {matrix.nnz}.")
    _check_range(matrix.data)
    if matrix.nnz == 0 and min(matrix.shape) > 0:
        # An explicit zero: gathering needs an entry to gather.
        zero = [matrix.dtype.type(0)], ([0], [0])
        matrix = scipy.sparse.csr_array(zero, matrix.shape)
    return matrix


def _check_range(entries: np.ndarray) -> None:
    """Raise where the device's integers cannot hold the entries."""
    held = jax.dtypes.canonicalize_dtype(entries.dtype)
    if entries.size and held.kind in "iu" and np.abs(entries).max() > np.iinfo(held).max:
        raise ValueError(f"The matrix has integers beyond {held}: convert it to floats.")


def _multiply(matrix: AbstractSparse, w, transposed: bool) -> Dense:
    if is_sparse(w):
        raise TypeError("Products of two sparse matrices are not available: densify one.")
    w = jnp.asarray(w)
    rows, inner = matrix.shape
    if w.ndim not in (1, 2) or w.shape[0] != inner:
        raise ValueError(
            f"A sparse matrix of shape {(rows, inner)} multiplies vectors and matrices with "
            f"{inner} rows, got shape {w.shape}."
        )
    dtype = jnp.result_type(matrix.dtype, w.dtype)
    leaves, treedef = jax.tree.flatten(matrix)
    return _product_p.bind(*leaves, w.astype(dtype), treedef=treedef, transposed=transposed)


_product_p = Primitive("sparse_product")


def _evaluate(*args, treedef, transposed):
    *leaves, w = args
    return jax.tree.unflatten(treedef, leaves).product(w, transposed)


def _abstract(*args, treedef, transposed):
    *leaves, w = args
    rows, columns = jax.tree.unflatten(treedef, leaves).shape
    return w.update(shape=(columns if transposed else rows, *w.shape[1:]))


def _jvp(primals, tangents, **params):
    *leaves, w = primals
    *of_entries, tangent = tangents
    if any(not isinstance(t, ad.Zero) for t in of_entries):
        raise TypeError(
            "The entries of a SparseMatrix are constants: derivatives with respect to them "
            "are not available. Use a dense matrix."
        )
    bind = lambda w: _product_p.bind(*leaves, w, **params)
    return bind(w), bind(tangent)


def _transpose(cotangent, *args, treedef, transposed):
    *leaves, _ = args
    back = _product_p.bind(*leaves, cotangent, treedef=treedef, transposed=not transposed)
    return [*(None for _ in leaves), back]


def _batch(args, dims, **params):
    *leaves, w = args
    *of_leaves, dim = dims
    if all(d is None for d in of_leaves):
        # One product with more columns.
        w = jnp.moveaxis(w, dim, 1)
        flat = w.reshape(w.shape[0], math.prod(w.shape[1:]))
        out = _product_p.bind(*leaves, flat, **params)
        return out.reshape(out.shape[:1] + w.shape[1:]), 1
    mapped = [d is not None for d in dims]
    stacked = [jnp.moveaxis(a, d, 0) for a, d, m in zip(args, dims, mapped, strict=True) if m]

    def one(slices):
        slices = iter(slices)
        return _product_p.bind(
            *(next(slices) if m else a for a, m in zip(args, mapped, strict=True)), **params
        )

    return jax.lax.map(one, stacked), 0


_jitted: Callable = jax.jit(_evaluate, static_argnames=("treedef", "transposed"))
_product_p.def_impl(_jitted)
_product_p.def_abstract_eval(_abstract)
ad.primitive_jvps[_product_p] = _jvp
ad.primitive_transposes[_product_p] = _transpose
batching.primitive_batchers[_product_p] = _batch
mlir.register_lowering(_product_p, mlir.lower_fun(_evaluate, multiple_results=False))
