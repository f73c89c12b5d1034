"""Recursive momentum: STORM."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import PyTree

from .._core.tree import axpy
from .._core.types import Scalar, Weight
from ..schedules import as_weight, evaluate
from ._base import AbstractReducer, Calls


class Last(eqx.Module):
    """Where the last estimate was made, and what it was."""

    w: PyTree
    estimate: PyTree


def nothing_yet(average, w) -> Last:
    """Before the first estimate, at w."""
    return Last(w, average.zeros(w))


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

    def __init__(self, momentum: Weight):
        self.momentum = as_weight("momentum", momentum)

    def init(self, average, w):
        return nothing_yet(average, w)

    def update(self, average, w, batch, state, i):
        new, old = average(w, batch), average(state.w, batch)
        momentum = evaluate(self.momentum, i, i)
        # Nothing was estimated before the first.
        kept = jnp.where(jnp.asarray(i) > 0, 1 - momentum, 0)
        estimate = axpy(kept, optax.tree.sub(state.estimate, old), new)
        return estimate, Last(w, estimate)

    def refresh(self, average, w, state, i=0):
        estimate = average(w, average.whole(None, i))
        return estimate, Last(w, estimate)

    def calls(self, i):
        return Calls(2, 0)
