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
    if unmeasured or _kinds((loop.hypergradient, loop.outer, loop.shown)) != expected:
        raise ValueError(_OTHER_STATE)


def _expected(problem: AbstractProblem, algorithm: Algorithm, x: PyTree, y: PyTree) -> Any:
    """What kinds of parts a run starts with."""
    leaves, structure = jax.tree.flatten((problem, algorithm, x, y))
    parts = [
        (jax.typeof(leaf), None) if eqx.is_array(leaf) else (None, leaf) for leaf in leaves
    ]
    arrays, others = zip(*parts, strict=True)
    x64 = getattr(jax.config, "jax_enable_x64", False)
    return _start(structure, arrays, others, x64)


@functools.lru_cache(maxsize=256)
def _start(structure, arrays, others, x64: bool):
    """Traced once for each kind of arguments, and by `jax.jit`'s own cache not fast enough:
    where a user takes single steps, to be asked is a fifth of each."""
    del x64

    def first(arrays):
        leaves = [b if a is None else a for a, b in zip(arrays, others, strict=True)]
        return kept.call(_first, tuple(structure.unflatten(leaves)))

    return _kinds(jax.eval_shape(first, arrays))


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
