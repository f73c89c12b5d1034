"""A table of the last average of each batch: SAGA, and SAG."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from ._base import AbstractReducer, Calls

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Start = Literal["full", "zero"] | None
else:
    Start = Any


class Table(eqx.Module):
    """A row for each slot, all its numbers side by side, and the rows' mean.

    The newest row waits to be written.
    """

    rows: Float[Array, "slots numbers"]
    mean: Float[Array, "numbers"]
    slot: Int[Array, ""]
    row: Float[Array, "numbers"]


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
        zero, _ = ravel_pytree(average.zeros(w))
        rows = jnp.zeros((average.num_slots, *zero.shape), zero.dtype)
        return Table(rows, zero, jnp.int32(0), zero)

    def update(self, average, w, batch, state, i):
        # The newest row is written before the next one is read: were a row read and then
        # written, XLA on CPU would copy the table at every step.
        rows = jax.lax.dynamic_update_index_in_dim(state.rows, state.row, state.slot, 0)
        old = rows[batch.slot]
        new, as_tree = ravel_pytree(average(w, batch))
        change = new - old
        mean = state.mean + change / average.num_slots
        estimate = state.mean + change if self.unbiased else mean
        return as_tree(estimate), Table(rows, mean, batch.slot, new)

    def refresh(self, average, w, state, i=0):
        def row(slot):
            return ravel_pytree(average(w, average.block(slot)))[0]

        rows = jax.lax.map(row, jnp.arange(average.num_slots))
        mean = jnp.mean(rows, axis=0)
        _, as_tree = ravel_pytree(average.zeros(w))
        return as_tree(mean), Table(rows, mean, jnp.int32(0), rows[0])

    def calls(self, i):
        return Calls(1, 0)

    def refresh_calls(self, num_slots):
        return Calls(num_slots, 0)
