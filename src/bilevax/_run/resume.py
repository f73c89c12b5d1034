"""Whether a state is one of this problem and algorithm, from which a run can go on."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

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

    def first():
        return initial_estimate(problem, estimator, x, y, None), algorithm.outer.init(x)

    try:
        expected = eqx.filter_eval_shape(first)
    except Exception as error:
        error.add_note(_OTHER_STATE)
        raise
    unmeasured = needs_measured and state.step_size is None
    if unmeasured or _kinds((loop.hypergradient, loop.outer)) != _kinds(expected):
        raise ValueError(_OTHER_STATE)


def _kinds(tree: PyTree):
    """The structure, and each leaf's shape and dtype."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(np.shape(leaf), leaf.dtype) for leaf in leaves]


_OTHER_STATE = (
    "state belongs to another algorithm or problem: what this algorithm keeps on this problem "
    "has other parts, shapes or dtypes. Pass `solution.state` of the same problem and "
    "algorithm, or start anew from its variables: x0=solution.x, y0=solution.y."
)
