"""Functions of x whose closed-over values are made arguments.

`bx.minimum` and `bx.argmin` give x -> min_y and x -> argmin_y rules of differentiation of
their own. JAX applies such a rule to arguments only: what a user's function has closed over
would be taken for a constant, or leak. So it is found and passed beside x.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree


class Split(NamedTuple):
    """The rest of a pytree whose arrays of real numbers were taken out, hashable."""

    leaves: tuple
    treedef: Any

    def join(self, arrays: PyTree) -> PyTree:
        """The whole pytree."""
        return eqx.combine(arrays, jax.tree.unflatten(self.treedef, self.leaves))


def split(tree: PyTree) -> tuple[PyTree, Split]:
    """The arrays of real numbers of a pytree, such as an Equinox module, and the rest."""
    tree = jnp.asarray(tree) if isinstance(tree, float) else tree
    arrays, rest = eqx.partition(tree, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(rest, is_leaf=lambda leaf: leaf is None)
    return arrays, Split(tuple(leaves), treedef)


class Lifted:
    """A user's function on ((x, closed-over values), y[, batch])."""

    def __init__(self, function: Callable, x_rest: Split, y_rest: Split):
        self._function, self._x_rest, self._y_rest = function, x_rest, y_rest

    def plain(self, x: PyTree, y: PyTree, *batch: PyTree) -> PyTree:
        """The function on the arrays of x and y; of its result, the arrays."""
        out = self._function(self._x_rest.join(x), self._y_rest.join(y), *batch)
        return eqx.filter(out, eqx.is_inexact_array)

    def captured(self, x: PyTree, y: PyTree, *batch: PyTree) -> list:
        """The traced real numbers that the function has closed over."""
        return list(jax.closure_convert(self.plain, x, y, *batch)[1])

    def __call__(self, lifted_x, y, *batch):
        x, captured = lifted_x
        converted, own = jax.closure_convert(self.plain, x, y, *batch)
        if len(own) != len(captured):
            raise TypeError(
                "The function closes over different traced values at different calls: pass "
                "them in x."
            )
        return converted(x, y, *batch, *captured)
