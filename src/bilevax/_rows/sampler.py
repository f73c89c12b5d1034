"""What a sampler is: it names batches, ahead of their use where it can."""

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from .._core.keys import fold_in
from .._core.types import Index, Keys
from .batch import Batch

Stream = Callable[[Int[Array, ""], PyTree], tuple[Batch, PyTree]]


class Drawn(eqx.Module):
    """A sampler's state, and what names the batches that it has drawn ahead.

    It may stand where a state does; `draw` and `stream` then take these batches.
    """

    sampler: PyTree
    tickets: PyTree


class AbstractSampler(eqx.Module):
    """Draws batches. Its state goes on from one solve to the next.

    `deterministic` says that every draw is the whole data set, so that an equation may be
    linearised once for a whole solve.
    """

    deterministic: ClassVar[bool] = False

    @property
    def random(self) -> bool:
        """Whether drawing needs a key."""
        return True

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

    def num_slots(self, data: PyTree) -> int:
        """Batches of the partition, where the batches are those of one."""
        del data
        raise TypeError(f"The batches of {type(self).__name__} are no partition.")

    @abc.abstractmethod
    def tickets(
        self, data: PyTree, state: PyTree, key: PRNGKeyArray, num: int
    ) -> tuple[PyTree, PyTree]:
        """What names the next `num` batches, one a row, and the new state."""

    @abc.abstractmethod
    def batch(self, data: PyTree, ticket: PyTree) -> Batch:
        """The batch that a ticket names."""

    def draw(self, data: PyTree, state: PyTree, key: PRNGKeyArray) -> tuple[Batch, PyTree]:
        """The next batch, and the new state."""
        tickets, state = self._next(data, state, key, 1)
        return self.batch(data, ticket_at(tickets, 0)), state

    def stream(
        self, data: PyTree, state: PyTree, key: PRNGKeyArray, num
    ) -> tuple[Stream, PyTree]:
        """The batches of one solve of `num` steps: `stream(i, state) -> batch, state`.

        Where `num` is known, or they are drawn ahead, rows are not drawn in the loop that uses
        them, where random numbers would cost as much as a step.
        """
        if isinstance(num, int) or isinstance(state, Drawn):
            tickets, state = self._next(data, state, key, num)
            return lambda i, state: (self.batch(data, ticket_at(tickets, i)), state), state
        return lambda i, state: self.draw(data, state, fold_in(key, i)), state

    def drawn_for(self, data: PyTree, state: PyTree, keys: Keys, num: int) -> Drawn | None:
        """What `draw`, or a `stream` of `num`, would draw with each of many keys, all at once.

        They are keys whose draws are by place (`is_by_place`). `None` where a key does not
        decide that alone: such a sampler draws when it is asked.
        """
        if not self.random or jax.tree.leaves(state):
            return None
        return Drawn(state, self.tickets_ahead(data, state, keys, num))

    def tickets_ahead(self, data: PyTree, state: PyTree, keys: Keys, num: int) -> PyTree:
        """The tickets of each of many keys. Each leaf may be a `Draw` in place of an array."""
        return jax.vmap(lambda key: self.tickets(data, state, key, num)[0])(keys)

    def drawn_singly_for(
        self, data: PyTree, state: PyTree, keys: Keys, most: int
    ) -> Drawn | None:
        """The same of a `stream` of at most so many batches, whose number is not known."""
        singly = fold_in(keys[:, None], jnp.arange(most, dtype=jnp.int32))
        drawn = self.drawn_for(data, state, singly.reshape(-1), 1)
        split = lambda leaf: leaf.reshape(len(keys), most, *leaf.shape[2:])
        return drawn and Drawn(state, jax.tree.map(split, drawn.tickets))

    def _next(self, data: PyTree, state: PyTree, key: PRNGKeyArray, num):
        """The next tickets, which may be drawn already, and the new state."""
        if isinstance(state, Drawn):
            return state.tickets, state.sampler
        return self.tickets(data, state, key, num)


def without_drawn(state: PyTree) -> PyTree:
    """A sampler's state, where what was drawn ahead is not used."""
    return state.sampler if isinstance(state, Drawn) else state


def ticket_at(tickets: PyTree, i: Index) -> PyTree:
    """One of many tickets."""
    return jax.tree.map(lambda leaf: leaf[i], tickets)
