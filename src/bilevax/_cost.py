"""Counts of oracle calls: the one currency in which all methods are compared."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from ._tree import is_traced

Count = int | np.integer | Integer[Array | np.ndarray, "..."]


class Oracles(eqx.Module):
    """One number for each kind of oracle."""

    inner_gradient: Count = 0
    hvp: Count = 0
    cross: Count = 0
    outer_gradient: Count = 0

    @property
    def total(self) -> Count:
        """Sum over the kinds."""
        return self.inner_gradient + self.hvp + self.cross + self.outer_gradient


class Cost(Oracles):
    r"""What was called, as exact integers.

    - `inner_gradient`: evaluations of the inner residual $F(x, y)$, that is of
      $\nabla_y g$ or of the map $\phi$;
    - `hvp`: products $(\partial_y F)^\top z$, Hessian-vector products where
      $F = \nabla_y g$;
    - `cross`: products $(\partial_x F)^\top z$;
    - `outer_gradient`: evaluations of $\nabla f$, both partial gradients together;
    - `rows`: the same four, each call weighted by the rows of data it read. A level
      without data counts one row a call, so that a deterministic method has the cost of
      Arbel and Mairal (2022, Eq. 8) with unit batches;
    - `total`: the number of calls of any kind.

    >>> import bilevax as bx
    >>> cost = bx.Cost.of("hvp", calls=10, rows=50) + bx.Cost.of("cross", calls=1, rows=50)
    >>> cost.hvp, cost.total, cost.rows.total
    (10, 11, 550)
    """

    rows: Oracles = Oracles()

    @classmethod
    def of(cls, oracle: str, calls: Count, rows: Count = 1) -> "Cost":
        """The cost of `calls` calls of one oracle, each reading `rows` rows."""
        return cls(**{oracle: calls}, rows=Oracles(**{oracle: calls * rows}))

    def on_host(self) -> "Cost":
        """The same numbers as Python integers, where they are known."""
        known = lambda n: not is_traced(n) and jnp.ndim(n) == 0
        return jax.tree.map(lambda n: int(n) if known(n) else n, self)

    def __add__(self, other: "Cost") -> "Cost":
        return jax.tree.map(lambda a, b: a + b, self, other)
