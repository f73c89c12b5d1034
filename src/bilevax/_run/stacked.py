"""The compiled part of many runs: chunks of all of them in one program."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._core.program import primitives, program
from .loop import Loop, LoopState, Told, records_of
from .side_by_side import SideBySide

# Batches of these, on several threads, may wait for one another for ever on a CPU.
_IN_TURN = {
    "cholesky",
    "eig",
    "eigh",
    "geqrf",
    "householder_product",
    "lu",
    "qr",
    "schur",
    "svd",
    "triangular_solve",
}


@program
def chunk_of_many(problem, shared, own, metrics, tol, states, ended, numbers):
    """A chunk of each run that has not ended; all are at the same step.

    `shared` and `own` make up the algorithms, of which numbers may differ. Side by side, so
    that products with vectors become products with matrices; in turn, in the same program,
    where a step factorises.
    """
    every, step, *limits = numbers

    def one(run, side_by_side=None):
        own, state, ended = run
        algorithm = eqx.combine(own, shared)
        state = eqx.tree_at(lambda s: s.step, state, step, is_leaf=lambda node: node is None)
        loop = Loop(problem, algorithm, tol, state, ended, side_by_side)
        state, told = records_of(loop, algorithm, metrics, every, *limits)
        return eqx.tree_at(lambda s: s.step, state, told.step), told

    # The step is the same for all, and so a number of the program and not one a run.
    states = eqx.tree_at(lambda s: s.step, states, None)
    each = own, states, ended
    first = jax.tree.map(lambda leaf: leaf[0], each)
    alone = jax.make_jaxpr(lambda run: jax.tree.leaves(one(run)))(first)
    if _IN_TURN.isdisjoint(primitives(alone)):
        beside = SideBySide("runs")
        return jax.vmap(lambda run: one(run, beside), axis_name=beside.axis)(each)
    return jax.lax.map(one, each)


class Stack:
    """The states of all runs, after the same chunk."""

    def __init__(self, loops: LoopState):
        self.loops = loops
        self._apart: list[LoopState] = []

    def __getitem__(self, index: int) -> LoopState:
        # Taken apart all at once, where one is asked for: one program, not one for each leaf.
        self._apart = self._apart or _apart(self.loops)
        return self._apart[index]


@program
def together(trees: list[PyTree]) -> PyTree:
    """Trees of one structure as one, with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@program
def _apart(tree: PyTree) -> list[PyTree]:
    num = jax.tree.leaves(tree)[0].shape[0]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(num)]


def told_each(told: Told) -> Iterator[Told]:
    """What the host is told of each run."""
    told = jax.device_get(told)
    for index in range(len(told.step)):
        yield jax.tree.map(lambda leaf, i=index: leaf[i, ...], told)
