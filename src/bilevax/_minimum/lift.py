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
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import PyTree

from .._core.tree import is_traced
from .._rows.data import all_rows, unread


class Parts(NamedTuple):
    """A pytree, such as an Equinox module, in three parts.

    - `real`: its arrays of real numbers, which are differentiated and minimised over;
    - `other`: its other arrays, such as indices and masks;
    - `rest`: what is no array, hashable.
    """

    real: PyTree
    other: PyTree
    rest: PyTree

    def join(self, real: PyTree) -> PyTree:
        """The whole pytree with other real numbers."""
        return eqx.combine(real, self.other, self.rest)


def split(tree: PyTree) -> Parts:
    """The parts of a pytree. Python floats outside Equinox modules are real numbers too."""
    is_module = lambda node: isinstance(node, eqx.Module)
    to_array = lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float | np.ndarray) else leaf
    tree = jax.tree.map(to_array, tree, is_leaf=is_module)
    is_array = lambda leaf: eqx.is_array(leaf) or isinstance(leaf, np.ndarray)
    arrays, rest = eqx.partition(tree, is_array)
    arrays = jax.tree.map(jnp.asarray, arrays)
    real, other = eqx.partition(arrays, eqx.is_inexact_array)
    return Parts(real, other, rest)


class Captured(NamedTuple):
    """The traced values that a function has closed over, real numbers and others."""

    real: list
    other: list


class Lifted:
    """A user's function of x, y and perhaps a batch, without anything closed over.

    Called as `lifted((x, captured reals of all functions), y[, batch])`, with the real
    arrays of x and y; their other arrays, and other captured values, are given to `bind`.
    Two of the same name, function and rests are equal, so that programs are reused.
    """

    def __init__(self, name: str, function: Callable, x_rest: PyTree, y_rest: PyTree):
        self._name, self._function = name, function
        self._x_rest, self._y_rest = x_rest, y_rest
        self._identity = name, id(function), hashable(x_rest), hashable(y_rest)
        self._others: tuple[PyTree, PyTree, dict[str, list]] = (None, None, {})

    def __eq__(self, other) -> bool:
        return isinstance(other, Lifted) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def bind(self, x_other: PyTree, y_other: PyTree, captured: dict[str, list]) -> "Lifted":
        """The same function with the arrays that are not real numbers."""
        bound = Lifted(self._name, self._function, self._x_rest, self._y_rest)
        bound._others = x_other, y_other, captured
        return bound

    def _plain(self, x: PyTree, y: PyTree, *batch: PyTree) -> PyTree:
        x_other, y_other, _ = self._others
        whole_x = eqx.combine(x, x_other, self._x_rest)
        whole_y = eqx.combine(y, y_other, self._y_rest)
        return eqx.filter(
            self._function(whole_x, whole_y, *map(all_rows, batch)), eqx.is_inexact_array
        )

    def captured(self, x: PyTree, y: PyTree, *batch: PyTree) -> Captured:
        """What the function has closed over."""
        consts = jax.make_jaxpr(self._plain)(x, y, *unread(batch)).consts
        traced = self._traced(consts, (x, y, batch))
        return Captured(
            [c for c in traced if _is_real(c)], [c for c in traced if not _is_real(c)]
        )

    def _traced(self, consts: list, arguments: PyTree) -> list:
        own = set(map(id, jax.tree.leaves((self._others, arguments))))
        return [c for c in consts if is_traced(c) and id(c) not in own]

    def __call__(self, lifted_x, y, *batch):
        x, reals = lifted_x
        arguments = (x, y, *batch)
        closed, out = jax.make_jaxpr(self._plain, return_shape=True)(*arguments)
        real = iter(reals.get(self._name, []))
        other = iter(self._others[2].get(self._name, []))
        # The constants come in the order of their first use, whatever the batch.
        given = {
            id(c): next(real if _is_real(c) else other)
            for c in self._traced(closed.consts, arguments)
        }
        consts = [given.get(id(c), c) for c in closed.consts]
        closed_over_nothing = ClosedJaxpr(closed.jaxpr, consts)
        flat = jaxpr_as_fun(closed_over_nothing)(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(out), flat)


def _is_real(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def hashable(tree: PyTree) -> tuple:
    """A pytree without arrays as something that can be compared and hashed."""
    leaves, treedef = jax.tree.flatten(tree, is_leaf=lambda leaf: leaf is None)
    return tuple(leaves), treedef
