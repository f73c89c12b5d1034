"""What makes a run diverge: steps, and the curvature where they were taken."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._core.result import Result
from .._core.tree import is_traced
from .._rows.samplers import common_block_size
from ..algorithms._base import Algorithm
from ..problems._base import AbstractProblem
from ..schedules import constant_step
from ..solvers import Neumann
from ..solvers._directions import SteepestDescent
from ..solvers._followed import FollowedDescent
from .curvature import Curvature, curvature
from .smoothness import Smoothness
from .steps import with_steps


def check_steps(problem: AbstractProblem, tree: PyTree, x: PyTree, y: PyTree) -> Curvature:
    """Measures the curvature at (x, y), and warns of what cannot converge there.

    Warns of constant inner and adjoint steps above 2 / smoothness, and of a fixed-point map
    whose Jacobian has a norm of 1 or more. `bx.minimize` calls it where a run ended because
    y or z diverged; call it yourself before a long run.

    **Arguments:**

    - `problem`, `x`, `y`: where to look.
    - `tree`: an algorithm, an estimator or a solver.

    **Returns:** the `bx.Curvature`.

    >>> import bilevax as bx, warnings
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2)
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     c = bx.check_steps(problem, bx.GradientDescent(1.5, 10), 1.0, 0.0)
    >>> print(str(caught[0].message)[:54])
    A step of 1.5 in SteepestDescent is above 2 / smoothne
    """
    measured, faults = _measured(problem, tree, x, y)
    for text in faults:
        warnings.warn(text, stacklevel=2)
    return measured


def _measured(problem, tree: PyTree, x: PyTree, y: PyTree) -> tuple[Curvature, list[str]]:
    """The curvature at (x, y), and what cannot converge there."""
    tree = tree.hypergradient if isinstance(tree, Algorithm) else tree
    measured = curvature(problem, x, y, block_size=common_block_size(tree))
    if is_traced(measured.smoothness) or not jnp.isfinite(measured.smoothness):
        return measured, []
    faults = []
    if measured.contraction is not None and measured.contraction >= 1:
        faults.append(_NO_CONTRACTION.format(float(measured.contraction)))
    limit = _limit(float(measured.smoothness))
    long = [(name, float(step)) for name, step in _constant_steps(tree) if float(step) > limit]
    return measured, faults + [_TOO_LONG.format(step, name, limit) for name, step in long]


def _limit(smoothness: float) -> float:
    """Above which steps cannot converge; nothing tells of one without curvature."""
    return 2 / smoothness if smoothness > 0 else math.inf


def explain(
    problem: AbstractProblem, algorithm: Algorithm, followed: Smoothness | None, x, y
) -> None:
    """Warn of what made a run diverge that ended at (x, y), with numbers."""
    if followed is not None:
        algorithm = with_steps(algorithm, followed.step_size)
    # NumPy, which measures too, would warn of the numbers that are no longer finite.
    with np.errstate(all="ignore"):
        measured, faults = _measured(problem, algorithm, x, y)
    steps = ", ".join(f"{float(step):.3g}" for _, step in _constant_steps(algorithm))
    otherwise = _nothing_yet(float(measured.smoothness), steps or "none constant")
    for text in faults or [otherwise]:
        warnings.warn(text, stacklevel=3)


def _nothing_yet(smoothness: float, used: str) -> str:
    """What is said where no step is too long as far as one can tell."""
    if not math.isfinite(smoothness):
        return _NO_SMOOTHNESS.format(used)
    return _NOTHING_YET.format(smoothness, _limit(smoothness), used)


_NO_CONTRACTION = (
    "The fixed-point map does not contract here: the norm of its Jacobian is about {:.3g}, and "
    "must be below 1."
)
_TOO_LONG = (
    "A step of {:.3g} in {} is above 2 / smoothness = {:.3g}, measured here: iterations with "
    "it diverge. Leave the step out to have it measured and followed."
)
_NOTHING_YET = (
    "At the iterate that is returned nothing is wrong yet: the smoothness is {:.3g}, and so "
    "steps below {:.3g} converge there (here: {}). The curvature grows where x goes from "
    "there: leave steps out, to have them follow it, or reduce the outer step."
)
_NO_SMOOTHNESS = (
    "The curvature is no finite number at the iterate that is returned: steps were far too "
    "long before it (here: {}). Leave steps out, to have them follow the curvature, or reduce "
    "them."
)
# The results that `explain` is for.
ASTRAY = (
    Result.inner_nonfinite,
    Result.inner_diverged,
    Result.adjoint_nonfinite,
    Result.adjoint_diverged,
)


def _constant_steps(tree: PyTree) -> Iterator[tuple[str, Any]]:
    """The constant step sizes of solvers and Neumann series, with the solver's name."""
    kinds = SteepestDescent | FollowedDescent | Neumann
    for node in jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kinds)):
        if not isinstance(node, kinds):
            continue
        step = constant_step(node.step_size)
        if step is not None and not is_traced(step):
            yield type(node).__name__, step
