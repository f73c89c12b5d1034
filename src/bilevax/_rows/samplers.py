"""The samplers: which rows of a level's data an oracle call sees."""

from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from .._core.integers import Draw, uniform_integers
from .._core.numbers import as_count
from .._core.tree import is_traced
from .._core.types import BlockSize, Count
from .batch import Batch, Indices, full, take
from .data import num_rows, row_leaves, slice_rows
from .epochs import before_epochs, in_epochs
from .sampler import AbstractSampler


def _as_batch_size(batch_size: Count) -> int:
    kind = "None (all rows), an int (random rows) or a sampler"
    return as_count("batch_size", batch_size, kind=kind)


def _as_order(order: Any) -> Indices | None:
    if order is None:
        return None
    known = not any(is_traced(leaf) for leaf in jax.tree.leaves(order))
    slots: Any = np.asarray(order) if known else jnp.asarray(order)
    if slots.ndim != 1 or not len(slots) or not jnp.issubdtype(slots.dtype, jnp.integer):
        raise TypeError(
            "order must be a list of at least one batch's number, got "
            f"{slots.dtype}{list(slots.shape)}."
        )
    with jax.ensure_compile_time_eval():
        return jnp.asarray(slots, jnp.int32)


def _as_block_size(size: BlockSize) -> BlockSize:
    if size is None or (isinstance(size, str) and size == "auto"):
        return size
    return as_count("block_size", size, kind="an int, 'auto' or None (all rows)")


# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    BatchSize = Count | AbstractSampler | None
else:
    BatchSize = Any


class FullBatch(AbstractSampler):
    """Every call sees all rows.

    **Arguments:**

    - `block_size`: how many rows are evaluated at once. `"auto"` takes blocks that suit
      the processor's cache, and smaller ones where the intermediate results of all rows
      would need much more memory than the data; it relies on the objectives being means
      over rows. An int walks blocks of so many rows one after another, the last one
      weighted: the least memory. `None` evaluates all rows at once.

    >>> import bilevax as bx
    >>> bx.GradientDescent(0.1, 10, batch_size=bx.FullBatch(block_size=1000)).sampler
    FullBatch(block_size=1000)
    """

    block_size: BlockSize = eqx.field(static=True, default="auto", converter=_as_block_size)

    deterministic: ClassVar[bool] = True

    @property
    def random(self):
        return False

    def rows(self, data):
        return num_rows(data)

    def num_slots(self, data):
        del data
        return 1

    def tickets(self, data, state, key, num):
        return (), state

    def batch(self, data, ticket):
        return full(data, self.block_size)


class RandomRows(AbstractSampler):
    """Independent, uniformly drawn rows, with replacement: what the theory assumes.

    >>> import bilevax as bx
    >>> bx.GradientDescent(0.1, 10, batch_size=32).sampler
    RandomRows(batch_size=32)
    """

    batch_size: int = eqx.field(static=True, converter=_as_batch_size)

    def init(self, data):
        _check_data(data, self.batch_size)
        if self.batch_size > num_rows(data):
            raise ValueError(
                f"batch_size={self.batch_size} draws more rows than the {num_rows(data)} there "
                "are: take a smaller one, or None for all rows, which costs less and has no "
                "noise."
            )
        return ()

    def rows(self, data):
        del data
        return self.batch_size

    def tickets(self, data, state, key, num):
        return uniform_integers(key, (num, self.batch_size), num_rows(data)), state

    def tickets_ahead(self, data, state, keys, num):
        return Draw.of(keys, (num, self.batch_size), num_rows(data))

    def batch(self, data, ticket):
        return take(data, ticket)


class Epochs(AbstractSampler):
    """Walks random permutations of the rows: each row once an epoch, but for a remainder.

    Where the batch size does not divide the rows, the rest of a permutation is left out.

    >>> import bilevax as bx
    >>> bx.GradientDescent(0.1, 10, batch_size=bx.Epochs(32)).sampler
    Epochs(batch_size=32)
    """

    batch_size: int = eqx.field(static=True, converter=_as_batch_size)

    def init(self, data):
        _check_data(data, self.batch_size)
        if self.batch_size > num_rows(data):
            raise ValueError(
                f"Epochs(batch_size={self.batch_size}) needs at least that many rows, and "
                f"there are {num_rows(data)}."
            )
        return before_epochs(num_rows(data))

    def rows(self, data):
        del data
        return self.batch_size

    def tickets(self, data, state, key, num):
        return in_epochs(state, key, num, self.batch_size)

    def batch(self, data, ticket):
        return take(data, ticket)


class Blocks(AbstractSampler):
    """A fixed partition into batches of consecutive rows, visited in a fresh order every epoch.

    Each batch has a slot, which reducers with a table need (`bx.SAGA`, `bx.SAG`): a fixed
    batch is one term of a finite sum. Rows that lie together are read without being gathered.

    **Arguments:**

    - `batch_size`: rows of a batch; it must divide the number of rows.
    - `order`: the batches to visit, by number, in this order and over again, repetitions
      allowed; by default all of them in a fresh random order every epoch.

    >>> import bilevax as bx
    >>> bx.SGD(0.1, 10, batch_size=bx.Blocks(32)).sampler
    Blocks(batch_size=32)
    """

    batch_size: int = eqx.field(static=True, converter=_as_batch_size)
    order: Indices | None = eqx.field(default=None, converter=_as_order)

    @property
    def random(self):
        return self.order is None

    def init(self, data):
        _check_data(data, self.batch_size)
        self.check(data)
        if self.order is not None:
            return jnp.int32(0)
        return before_epochs(self.num_slots(data))

    def check(self, data):
        rows = num_rows(data)
        if rows % self.batch_size and row_leaves(data):
            raise ValueError(_UNEVEN.format(self.batch_size, rows, *_divisors(rows, self)))
        if self.order is not None and not is_traced(self.order):
            _check_slots(np.asarray(self.order), rows // self.batch_size)

    def rows(self, data):
        del data
        return self.batch_size

    def num_slots(self, data):
        return num_rows(data) // self.batch_size

    def tickets(self, data, state, key, num):
        if self.order is None:
            slots, state = in_epochs(state, key, num, 1)
            return slots[:, 0], state
        places = (state + jnp.arange(num, dtype=jnp.int32)) % len(self.order)
        return self.order[places], (state + num) % len(self.order)

    def batch(self, data, ticket):
        start = ticket * self.batch_size
        rows = slice_rows(data, start, self.batch_size)
        return Batch(rows, start + jnp.arange(self.batch_size), slot=ticket)


class Batches(AbstractSampler):
    """A given list of batches, in order and over again.

    **Arguments:**

    - `batches`: arrays of row indices, all of one length.

    Rows that the data do not have are refused before any work. Where the batches are traced
    themselves, as arguments of a function under `jit` or `vmap`, they are not known then: an
    index below 0 reads the first row, one beyond the data the last.

    >>> import bilevax as bx
    >>> sampler = bx.Batches([[0, 1], [2, 3], [4, 5]])
    """

    batches: Int[Array, "batches rows"]

    def __init__(self, batches):
        lengths = {len(batch) for batch in batches}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                "Batches needs at least one batch, and all of one length; got lengths "
                f"{sorted(lengths)}."
            )
        known = not any(is_traced(leaf) for leaf in jax.tree.leaves(batches))
        rows: Any = np.asarray(batches) if known else jnp.asarray(batches)
        if not jnp.issubdtype(rows.dtype, jnp.integer):
            raise TypeError(f"Batches needs integer row indices, got {rows.dtype}.")
        if known:
            _check_range(rows, np.iinfo(np.int32).max)
        # Known within a program that is being traced, too.
        with jax.ensure_compile_time_eval():
            self.batches = jnp.asarray(rows, jnp.int32)

    @property
    def random(self):
        return False

    def init(self, data):
        _check_data(data, self.batches.shape[1])
        self.check(data)
        return jnp.int32(0)

    def check(self, data):
        if not is_traced(self.batches):
            _check_range(np.asarray(self.batches), num_rows(data))

    def rows(self, data):
        del data
        return self.batches.shape[1]

    def tickets(self, data, state, key, num):
        total = self.batches.shape[0]
        places = (state + jnp.arange(num, dtype=jnp.int32)) % total
        return self.batches[places], (state + num) % total

    def batch(self, data, ticket):
        return take(data, ticket)


def _check_range(rows: np.ndarray, num: int) -> None:
    low, high = int(rows.min()), int(rows.max())
    if low < 0 or high >= num:
        raise ValueError(
            f"Batches names rows {low} to {high}; the data have rows 0 to {num - 1}: leave out "
            "the others."
        )


def _check_slots(order: np.ndarray, num: int) -> None:
    if order.min() < 0 or order.max() >= num:
        raise ValueError(
            f"order names batches {order.min()} to {order.max()}; there are batches 0 to "
            f"{num - 1}."
        )


def _divisors(rows: int, sampler: "Blocks") -> tuple[int, int]:
    """The batch sizes next to the sampler's that divide the rows."""
    sizes = [size for size in range(1, rows + 1) if rows % size == 0]
    below = [size for size in sizes if size < sampler.batch_size]
    above = [size for size in sizes if size > sampler.batch_size]
    return max(below, default=1), min(above, default=rows)


def as_sampler(batch_size: BatchSize) -> AbstractSampler:
    """A sampler from what every `batch_size` argument accepts."""
    if batch_size is None:
        return FullBatch()
    if isinstance(batch_size, AbstractSampler):
        return batch_size
    return RandomRows(_as_batch_size(batch_size))


def _check_data(data: PyTree, batch_size: int) -> None:
    if not row_leaves(data):
        raise ValueError(
            f"batch_size={batch_size} was given for a level without data: pass "
            "inner_data= or outer_data= to the problem, or leave the batch size out."
        )


def common_block_size(readers: PyTree) -> BlockSize:
    """How full batches may be split: not at all where any reader says so."""
    is_sampler = lambda node: isinstance(node, FullBatch)
    nodes = jax.tree.leaves(readers, is_leaf=is_sampler)
    sizes = [node.block_size for node in nodes if is_sampler(node)]
    return None if None in sizes else next(iter(sizes), "auto")


_UNEVEN = (
    "Blocks(batch_size={0}) does not divide the {1} rows, so that its batches would weigh "
    "unequally: take a batch size of {2} or {3}, or leave some rows out."
)
