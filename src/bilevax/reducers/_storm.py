"""Recursive momentum: STORM."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import PyTree

from .._core.numbers import as_share
from .._core.tree import axpy
from .._core.types import Number, Scalar
from ._base import AbstractReducer, Calls

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    from jax.typing import ArrayLike

    Momentum = Number | Callable[[Any], ArrayLike]
else:
    Momentum = Any


class Last(eqx.Module):
    """Where the last estimate was made, and what it was."""

    w: PyTree
    estimate: PyTree


def nothing_yet(average, w) -> Last:
    """Before the first estimate, at w."""
    like = jax.eval_shape(lambda w: average(w, average.whole(None, 0)), w)
    return Last(w, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))


class STORM(AbstractReducer):
    r"""$d_i = D(w_i; b_i) + (1 - c_i) (d_{i-1} - D(w_{i-1}; b_i))$, from
    $d_0 = D(w_0; b_0)$ (Cutkosky and Orabona 2019).

    The same batch at both points: two calls each. With $c = 1$ it is `bx.Sample`.

    **Arguments:**

    - `momentum`: c in (0, 1], or a schedule of the index i of the estimate.

    >>> import bilevax as bx
    >>> reducer = bx.STORM(bx.schedules.polynomial(1.0, 2 / 3))
    """

    momentum: Scalar | Callable

    def __init__(self, momentum: Momentum):
        self.momentum = momentum if callable(momentum) else as_share("momentum", momentum)

    def init(self, average, w):
        return nothing_yet(average, w)

    def update(self, average, w, batch, state, i):
        new, old = average(w, batch), average(state.w, batch)
        momentum = self.momentum(i) if callable(self.momentum) else self.momentum
        # Nothing was estimated before the first.
        kept = jnp.where(jnp.asarray(i) > 0, 1 - momentum, 0)
        estimate = axpy(kept, optax.tree.sub(state.estimate, old), new)
        return estimate, Last(w, estimate)

    def refresh(self, average, w, state, i=0):
        estimate = average(w, average.whole(None, i))
        return estimate, Last(w, estimate)

    def calls(self, i):
        return Calls(2, 0)
