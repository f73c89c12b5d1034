"""A table of the last average of each batch: SAGA, and SAG."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Int, PyTree

from .._core.tree import scale
from ._base import AbstractReducer, Calls

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Start = Literal["full", "zero"] | None
else:
    Start = Any


class Table(eqx.Module):
    """A row for each slot and their mean; the newest row waits to be written."""

    rows: PyTree
    mean: PyTree
    slot: Int[Array, ""]
    row: PyTree


class SAGA(AbstractReducer):
    r"""A table of the last value $t_b$ of each batch b of a fixed partition into n batches.

    With the table's mean $\bar t$ before the update, the estimate is

    - $d = D(w; b) - t_b + \bar t$, which is unbiased: SAGA (Defazio, Bach and
      Lacoste-Julien 2014);
    - $d = \bar t + (D(w; b) - t_b) / n$ with `unbiased=False`, the mean of the table after
      it: SAG (Schmidt, Le Roux and Bach 2017).

    Then $t_b = D(w; b)$. The memory is n times what D returns.

    **Arguments:**

    - `unbiased`: SAGA, or SAG.
    - `start`: `"full"` fills the table at the first w, which reads all rows once; `"zero"`
      starts it at zero. By default SAGA starts full and SAG at zero, as published.

    Its batches are those of `bx.Blocks`; an int as a batch size stands for that.

    >>> import bilevax as bx
    >>> bx.SAGA()
    SAGA(unbiased=True, start='full')
    """

    unbiased: bool = eqx.field(static=True)
    start: str = eqx.field(static=True)

    has_table: ClassVar[bool] = True

    def __init__(self, unbiased: bool = True, start: Start = None):
        if start not in ("full", "zero", None):
            raise ValueError(f"start must be 'full' or 'zero', got {start!r}.")
        self.unbiased = bool(unbiased)
        self.start = start or ("full" if unbiased else "zero")

    @property
    def starts_full(self):
        return self.start == "full"

    def init(self, average, w):
        num, slot = average.num_slots, jnp.int32(0)
        like = jax.eval_shape(lambda w: average(w, average.block(slot)), w)
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        rows = jax.tree.map(lambda leaf: jnp.zeros((num, *leaf.shape), leaf.dtype), zero)
        return Table(rows, zero, slot, zero)

    def update(self, average, w, batch, state, i):
        # The newest row is written before the next one is read: were a row read and then
        # written, XLA on CPU would copy the table at every step.
        rows = jax.tree.map(
            lambda rows, row: jax.lax.dynamic_update_index_in_dim(rows, row, state.slot, 0),
            state.rows,
            state.row,
        )
        old = jax.tree.map(lambda rows: rows[batch.slot], rows)
        new = average(w, batch)
        change = optax.tree.sub(new, old)
        share = scale(1 / average.num_slots, change)
        mean = optax.tree.add(state.mean, share)
        estimate = optax.tree.add(state.mean, change) if self.unbiased else mean
        return estimate, Table(rows, mean, batch.slot, new)

    def refresh(self, average, w, state, i=0):
        slots = jnp.arange(average.num_slots)
        rows = jax.lax.map(lambda slot: average(w, average.block(slot)), slots)
        mean = jax.tree.map(lambda rows: jnp.mean(rows, axis=0), rows)
        first = jax.tree.map(lambda rows: rows[0], rows)
        return mean, Table(rows, mean, jnp.int32(0), first)

    def calls(self, i):
        return Calls(1, 0)

    def refresh_calls(self, num_slots):
        return Calls(num_slots, 0)
