"""Differences from an anchor: SPIDER (SARAH), and SVRG."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree

from .._core.numbers import as_count
from .._core.types import Count
from ._base import AbstractReducer, Calls
from ._storm import Last, nothing_yet


class SPIDER(AbstractReducer):
    r"""Every `period` estimates the average on all rows; between them differences on a batch.

    - $d_i = d_{i-1} + D(w_i; b_i) - D(w_{i-1}; b_i)$: SPIDER, or SARAH (Nguyen et al. 2017;
      Fang et al. 2018);
    - $d_i = D(w_i; b_i) - D(\tilde w; b_i) + D(\tilde w)$ with `recursive=False`, from the
      last $\tilde w$ on all rows: SVRG (Johnson and Zhang 2013).

    Where i is a multiple of `period`, $d_i = D(w_i)$ and the batch is not read.

    **Arguments:**

    - `period`: estimates from one refresh to the next.
    - `recursive`: SPIDER, or SVRG.
    - `refresh_batch_size`: random rows of a refresh; `None` reads all.

    >>> import bilevax as bx
    >>> [tuple(map(int, bx.SPIDER(3).calls(i))) for i in range(4)]
    [(0, 1), (2, 0), (2, 0), (0, 1)]
    """

    period: int = eqx.field(static=True)
    recursive: bool = eqx.field(static=True)
    refresh_batch_size: int | None = eqx.field(static=True)

    def __init__(
        self, period: Count, recursive: bool = True, refresh_batch_size: Count | None = None
    ):
        self.period = as_count("period", period)
        self.recursive = bool(recursive)
        size = refresh_batch_size
        kind = "None (all rows) or an int (random rows)"
        if size is not None:
            size = as_count("refresh_batch_size", size, kind=kind)
        self.refresh_batch_size = size

    @property
    def refresh_size(self):
        return self.refresh_batch_size

    def init(self, average, w):
        return nothing_yet(average, w)

    def update(self, average, w, batch, state, i):
        def differ():
            new, old = average(w, batch), average(state.w, batch)
            estimate = optax.tree.add(state.estimate, optax.tree.sub(new, old))
            return estimate, Last(w, estimate) if self.recursive else state

        due = jnp.asarray(i) % self.period == 0
        return jax.lax.cond(due, lambda: self.refresh(average, w, state, i), differ)

    def refresh(self, average, w, state, i=0):
        estimate = average(w, average.whole(self.refresh_batch_size, i))
        return estimate, Last(w, estimate)

    def calls(self, i):
        due = jnp.asarray(i) % self.period == 0
        return Calls(jnp.where(due, jnp.int32(0), 2), due.astype(jnp.int32))
