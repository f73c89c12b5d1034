"""An average over rows, of which a reducer sees batches."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._core.integers import uniform_integers
from .._core.types import Index
from .._rows.batch import Batch, full, take
from .._rows.data import num_rows, row_leaves
from .._rows.sampler import AbstractSampler
from .._rows.samplers import FullBatch


class Reader(eqx.Module):
    """A level's data, and the sampler whose batches a reducer gets."""

    data: PyTree
    sampler: AbstractSampler

    def whole(self) -> Batch:
        """All rows."""
        sampler = self.sampler
        size = sampler.block_size if isinstance(sampler, FullBatch) else "auto"
        return full(self.data, size)

    def some(self, size: int, key: Array) -> Batch:
        """So many random rows; all of a level without data."""
        if not row_leaves(self.data):
            return self.whole()
        return take(self.data, uniform_integers(key, (size,), num_rows(self.data)))

    def rows_of(self, size: int | None) -> int:
        """Rows of what `some` returns, or of all where the size is `None`."""
        return size if size is not None and row_leaves(self.data) else num_rows(self.data)


class Average(eqx.Module):
    """An oracle of (w, batch) with all that moves in w, and where its batches come from.

    - `function(w, batch)`: the mean over the rows of a batch, a pytree;
    - `readers`: a `Reader`, or a pytree of them; a batch is then such a pytree of batches;
    - `seed`: for rows that a refresh draws.
    """

    function: Callable[[PyTree, Any], PyTree]
    readers: PyTree
    seed: Array | None = None

    def __call__(self, w: PyTree, batch: Any) -> PyTree:
        return self.function(w, batch)

    def zeros(self, w: PyTree) -> PyTree:
        """Of the structure of the average at w; nothing is called."""
        like = jax.eval_shape(lambda w: self(w, self.whole(None, 0)), w)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)

    def whole(self, size: int | None, i: Index) -> Any:
        """All rows, or so many random ones, that belong to the index i."""
        if size is None:
            return self._of_readers(Reader.whole)
        seed = jnp.uint32(0) if self.seed is None else self.seed
        key = jax.random.fold_in(jax.random.key(seed), i)
        count = iter(range(len(jax.tree.leaves(self.readers, is_leaf=_is_reader))))
        return self._of_readers(lambda r: r.some(size, jax.random.fold_in(key, next(count))))

    @property
    def num_slots(self) -> int:
        """How many batches the partition has, which are the slots of a table."""
        reader = self._reader
        return reader.sampler.num_slots(reader.data)

    def block(self, slot: Array) -> Batch:
        """The batch of a slot."""
        reader = self._reader
        if isinstance(reader.sampler, FullBatch):
            return reader.whole()
        return reader.sampler.batch(reader.data, slot)

    def _of_readers(self, function: Callable[[Reader], Batch]) -> Any:
        return jax.tree.map(function, self.readers, is_leaf=_is_reader)

    @property
    def _reader(self) -> Reader:
        if not _is_reader(self.readers):
            raise TypeError("An average over rows of two levels has no slots.")
        return self.readers


def _is_reader(node: Any) -> bool:
    return isinstance(node, Reader)
