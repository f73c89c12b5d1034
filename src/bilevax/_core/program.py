"""Compiled functions that are called often for little work."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax

from . import kept


def program(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `eqx.filter_jit`, of positional arguments; it returns sooner.

    Results leave the compiled function as a flat list of leaves, and are put together once.
    Otherwise each call would take them apart and together again, node by node in Python:
    for the state of a run that takes longer than a step of a small problem.

    >>> program(lambda x: {"twice": 2 * x, "what": "a number"})(jax.numpy.ones(2))["what"]
    'a number'
    """

    @functools.wraps(function)
    def flat(*arguments):
        leaves, structure = jax.tree.flatten(kept.call(function, arguments))
        return tuple(leaves), structure

    compiled = eqx.filter_jit(flat)

    @functools.wraps(function)
    def call(*arguments):
        leaves, structure = compiled(*kept.settled(arguments))
        return structure.unflatten(leaves)

    vars(call)["lower"] = compiled.lower
    return call


def primitives(jaxpr: Any) -> Iterator[str]:
    """The names of all operations of a program, and of those within them.

    >>> sorted(set(primitives(jax.make_jaxpr(jax.jit(lambda x: x + x))(1.0))))
    ['add', 'jit']
    """
    for equation in jaxpr.jaxpr.eqns:
        yield equation.primitive.name
        for inner in programs_within(equation):
            yield from primitives(inner)


def programs_within(equation: Any) -> list[Any]:
    """The programs that an operation runs, such as the body of a loop."""
    nodes = jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program)
    return [node for node in nodes if _is_program(node)]


def _is_program(node: Any) -> bool:
    return hasattr(node, "jaxpr") and hasattr(node.jaxpr, "eqns")
