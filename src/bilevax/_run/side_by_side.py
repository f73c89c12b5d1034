"""Runs side by side in one program: they share the number of the step, and nothing else."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


class SideBySide(NamedTuple):
    """The axis of a `vmap` over runs.

    A loop that ends for each run by itself would choose between old and new for everything
    that it carries, the columns of the history included, and could not know the step of a
    record. Here it goes on while any run does, and who has ended is held where it is.
    """

    axis: str

    def any(self, running: Bool[Array, ""]) -> Bool[Array, ""]:
        """Whether any of the runs goes on: the same for all."""
        return jax.lax.psum(running.astype(jnp.int32), self.axis) > 0

    def held(self, before: Any, after: Any) -> Any:
        """A run after a step, or as it was before where it had ended.

        The step, and what is drawn ahead of it, move on with the others.
        """
        keep = lambda new, old: jnp.where(before.running, new, old)
        shared = lambda carry: (carry.state.step, carry.ahead)
        is_none = lambda node: node is None
        own = jax.tree.map(keep, after, before)
        return eqx.tree_at(shared, own, shared(after), is_leaf=is_none)
