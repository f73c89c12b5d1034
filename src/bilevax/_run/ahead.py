"""Rows of many outer steps drawn at once: each draw by itself takes as long as a product."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from .._core.integers import all_drawn
from .._core.keys import is_by_place
from .._core.types import Index
from .._rows.sampler import ticket_at
from ..hypergradients import AbstractHypergradient
from ..problems._base import AbstractProblem

# Outer steps at most, and numbers: beyond these a draw hides what it takes to begin one.
_STEPS, _NUMBERS = 64, 2**16


class Ahead(eqx.Module):
    """What the outer steps from `first` on draw, one after the other.

    Each step draws with its own key, here as anywhere, so that this is kept in no state, and
    nothing depends on where it begins.
    """

    drawn: PyTree
    first: Int[Array, ""]


class Supply:
    """Draws ahead for an estimator, in a program that is being traced.

    `num` is for how many steps, 0 where nothing is known ahead.
    """

    def __init__(self, problem: AbstractProblem, estimator: AbstractHypergradient, state: Any):
        self._problem, self._estimator = problem, estimator
        # Of as many steps as there will be, so that they are traced once.
        some = lambda: self._drawn(state, state.step, _STEPS)
        able = estimator.random and is_by_place(state.first_key())
        self._of_steps = jax.eval_shape(some) if able else None
        self.num = self._num_steps()

    def room(self, state: Any) -> Ahead:
        """With nothing left, before the step of a state."""
        zeros = lambda one: jnp.zeros((self.num, *one.shape[1:]), one.dtype)
        shapes = self._of_steps if self.num else None
        return Ahead(jax.tree.map(zeros, shapes), state.step - self.num)

    def ready(self, ahead: Ahead, state: Any) -> Ahead:
        """The same, or the next where the step of the state comes after them."""

        def following(ahead):
            first = ahead.first + self.num
            return Ahead(self._drawn(state, first, self.num), first)

        # A loop of one turn or none, in place: a conditional would copy the numbers at every
        # step. The step is counted, since what does not change XLA takes out of a loop.
        return jax.lax.while_loop(lambda a: state.step >= a.first + self.num, following, ahead)

    def given(self, ahead: Ahead, state: Any) -> PyTree:
        """The estimator's state in which samplers find what this step draws."""
        drawn = ticket_at(ahead.drawn, state.step - ahead.first)
        return self._estimator.given(state.hypergradient, drawn)

    def _num_steps(self) -> int:
        size = sum(leaf.size for leaf in jax.tree.leaves(self._of_steps))
        num = min(_STEPS, _NUMBERS * _STEPS // size) if size else 0
        return num if num > 1 else 0

    def _drawn(self, state: Any, first: Index, num: int) -> PyTree:
        keys = state.key_of(first + jnp.arange(num, dtype=jnp.int32))
        return all_drawn(self._estimator.drawn_for(self._problem, state.hypergradient, keys))
