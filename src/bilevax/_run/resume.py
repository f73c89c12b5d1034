"""Whether a state is one of this problem and algorithm, from which a run can go on."""

import functools
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from .._core import kept
from ..algorithms._base import Algorithm
from ..problems._base import AbstractProblem
from .arguments import initial_estimate
from .check import check_domain, check_kinds
from .means import check_means


def check_state(
    problem: AbstractProblem, algorithm: Algorithm, state: Any, *, needs_measured: bool
) -> None:
    """Raise where the problem and the algorithm make other states; nothing is computed.

    `needs_measured` says that the algorithm has steps that were left to be measured.
    """
    estimator, loop = algorithm.hypergradient, state.loop
    x, y = loop.x, loop.hypergradient.y
    check_kinds(problem, estimator)
    check_domain(problem, x)
    check_means(problem, estimator, x, y)
    try:
        expected = _expected(problem, algorithm, x, y)
    except Exception as error:
        error.add_note(_OTHER_STATE)
        raise
    unmeasured = needs_measured and state.step_size is None
    if unmeasured or _kinds((loop.hypergradient, loop.outer, loop.shown)) != _kinds(expected):
        raise ValueError(_OTHER_STATE)


def _expected(problem: AbstractProblem, algorithm: Algorithm, x: PyTree, y: PyTree) -> PyTree:
    """The shapes of what a run starts with."""
    leaves, structure = jax.tree.flatten((problem, algorithm, x, y))
    arrays = [leaf if eqx.is_array(leaf) else None for leaf in leaves]
    others = tuple(None if eqx.is_array(leaf) else leaf for leaf in leaves)
    return _start.eval_shape((structure, others), arrays)


@functools.partial(jax.jit, static_argnums=0)
def _start(static, arrays):
    # Only ever traced, and that once for each kind of arguments, like other programs.
    structure, others = static
    leaves = [b if a is None else a for a, b in zip(arrays, others, strict=True)]
    return kept.call(_first, tuple(structure.unflatten(leaves)))


def _first(problem: AbstractProblem, algorithm: Algorithm, x: PyTree, y: PyTree) -> PyTree:
    estimate = initial_estimate(problem, algorithm.hypergradient, x, y, None)
    return estimate, algorithm.outer.init(x), None if algorithm.output is None else x


def _kinds(tree: PyTree):
    """The structure, and each leaf's shape and dtype."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(np.shape(leaf), leaf.dtype) for leaf in leaves]


_OTHER_STATE = (
    "state belongs to another algorithm or problem: what this algorithm keeps on this problem "
    "has other parts, shapes or dtypes. Pass `solution.state` of the same problem and "
    "algorithm, or start anew from its variables: x0=solution.x, y0=solution.y."
)
