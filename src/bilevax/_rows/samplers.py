"""Samplers: which rows of a level's data an oracle call sees."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from .._core.numbers import as_count
from .._core.tree import is_traced
from .._core.types import BlockSize, Count
from .data import num_rows, row_leaves, take_rows

Indices = Int[Array, "rows"]
Stream = Callable[[Int[Array, ""], PyTree], tuple["Batch", PyTree]]


class Batch(eqx.Module):
    """Rows of a level's data, and where they came from.

    `rows` is what the user's function receives (`None` for a level without data);
    `indices` are the rows' places in the data set, which variance-reduced methods need
    (`None` for all rows in order); `block_size` is how many of them are evaluated at once.
    """

    rows: PyTree = None
    indices: Indices | None = None
    block_size: BlockSize = eqx.field(static=True, default=None)


def take(data: PyTree, indices: Indices) -> Batch:
    """The batch of the given rows."""
    return Batch(take_rows(data, indices), indices)


def full(data: PyTree, block_size: BlockSize) -> Batch:
    """The batch of all rows."""
    return Batch(data, None, block_size)


def _as_batch_size(batch_size: Count) -> int:
    kind = "None (all rows), an int (random rows) or a sampler"
    return as_count("batch_size", batch_size, kind=kind)


def _as_block_size(size: BlockSize) -> BlockSize:
    if size is None or (isinstance(size, str) and size == "auto"):
        return size
    return as_count("block_size", size, kind="an int, 'auto' or None (all rows)")


class AbstractSampler(eqx.Module):
    """Draws batches. Its state goes on from one solve to the next.

    `deterministic` says that every draw is the whole data set, so that an equation may be
    linearised once for a whole solve; `random` that drawing needs a key.
    """

    deterministic: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def init(self, data: PyTree) -> PyTree:
        """The state before the first draw."""
        del data
        return ()

    def check(self, data: PyTree) -> None:
        """Raise where the data lack rows that it names."""
        del data

    @abc.abstractmethod
    def rows(self, data: PyTree) -> int:
        """Rows of one batch."""

    @abc.abstractmethod
    def next_indices(
        self, data: PyTree, state: PyTree, key: PRNGKeyArray
    ) -> tuple[Indices, PyTree]:
        """The rows of the next batch, and the new state."""

    def all_indices(
        self, data: PyTree, state: PyTree, key: PRNGKeyArray, num: int
    ) -> tuple[Any, PyTree]:
        """The rows of the next `num` batches, one batch a row."""

        def draw(state, key):
            indices, state = self.next_indices(data, state, key)
            return state, indices

        state, indices = jax.lax.scan(draw, state, jax.random.split(key, num))
        return indices, state

    def draw(self, data: PyTree, state: PyTree, key: PRNGKeyArray) -> tuple[Batch, PyTree]:
        """The next batch, and the new state."""
        indices, state = self.next_indices(data, state, key)
        return take(data, indices), state

    def stream(
        self, data: PyTree, state: PyTree, key: PRNGKeyArray, num
    ) -> tuple[Stream, PyTree]:
        """The batches of one solve of `num` steps: `stream(i, state) -> batch, state`.

        Where `num` is known, rows are drawn here and not in the loop that uses them,
        where random numbers would cost as much as a step.
        """
        if isinstance(num, int):
            indices, state = self.all_indices(data, state, key, num)
            return lambda i, state: (take(data, indices[i]), state), state
        return lambda i, state: self.draw(data, state, jax.random.fold_in(key, i)), state


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
    random: ClassVar[bool] = False

    def rows(self, data):
        return num_rows(data)

    def next_indices(self, data, state, key):
        raise TypeError("A full batch has no indices.")

    def draw(self, data, state, key):
        return full(data, self.block_size), state

    def stream(self, data, state, key, num):
        return lambda i, state: (full(data, self.block_size), state), state


class RandomRows(AbstractSampler):
    """Independent, uniformly drawn rows, with replacement: what the theory assumes.

    >>> import bilevax as bx
    >>> bx.GradientDescent(0.1, 10, batch_size=32).sampler
    RandomRows(batch_size=32)
    """

    batch_size: int = eqx.field(static=True, converter=_as_batch_size)

    def init(self, data):
        _check_data(data, self.batch_size)
        return ()

    def rows(self, data):
        del data
        return self.batch_size

    def next_indices(self, data, state, key):
        return self._indices(data, key, (self.batch_size,)), state

    def all_indices(self, data, state, key, num):
        return self._indices(data, key, (num, self.batch_size)), state

    def _indices(self, data, key, shape):
        return jax.random.randint(key, shape, 0, num_rows(data))


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
        return jnp.int32(0), jnp.arange(num_rows(data), dtype=jnp.int32)

    def rows(self, data):
        del data
        return self.batch_size

    def next_indices(self, data, state, key):
        position, permutation = state
        per_epoch = num_rows(data) // self.batch_size
        shuffle = lambda: jax.random.permutation(key, permutation)
        permutation = jax.lax.cond(position == 0, shuffle, lambda: permutation)
        start = position * self.batch_size
        indices = jax.lax.dynamic_slice(permutation, (start,), (self.batch_size,))
        return indices, ((position + 1) % per_epoch, permutation)


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

    random: ClassVar[bool] = False

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

    def next_indices(self, data, state, key):
        return self.batches[state], (state + 1) % self.batches.shape[0]


def _check_range(rows: np.ndarray, num: int) -> None:
    low, high = int(rows.min()), int(rows.max())
    if low < 0 or high >= num:
        raise ValueError(
            f"Batches names rows {low} to {high}; the data have rows 0 to {num - 1}: leave out "
            "the others."
        )


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
