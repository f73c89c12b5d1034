"""Batches of both levels at once."""

from typing import Any

from jaxtyping import PRNGKeyArray, PyTree

from .._core.keys import split
from .sampler import AbstractSampler


class Pairs(AbstractSampler):
    """A batch of outer rows and one of inner rows; data are such a pair too."""

    outer: AbstractSampler
    inner: AbstractSampler

    @property
    def random(self):
        return self.outer.random or self.inner.random

    def init(self, data):
        return self.outer.init(data[0]), self.inner.init(data[1])

    def rows(self, data) -> Any:
        """Rows of each."""
        return self.outer.rows(data[0]), self.inner.rows(data[1])

    def tickets(self, data, state, key: PRNGKeyArray, num):
        keys = split(key, 2, self.random)
        outer, outer_state = self.outer.tickets(data[0], state[0], keys[0], num)
        inner, inner_state = self.inner.tickets(data[1], state[1], keys[1], num)
        return (outer, inner), (outer_state, inner_state)

    def batch(self, data, ticket: PyTree) -> Any:
        """Both batches."""
        return self.outer.batch(data[0], ticket[0]), self.inner.batch(data[1], ticket[1])
