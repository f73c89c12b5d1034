"""Steps that were left out: 1 / smoothness takes their place."""

from typing import TypeVar

import jax
from jaxtyping import PyTree

from .._core.once import once
from ..problems._base import AbstractProblem
from ..schedules import Measured, is_measured
from .check import as_variable
from .smoothness import measure_smoothness

Tree = TypeVar("Tree")


@once
def has_steps_to_measure(tree: PyTree) -> bool:
    """Whether any step size was left to be measured."""
    nodes = jax.tree.leaves(tree, is_leaf=is_measured)
    return any(is_measured(node) and node.step_size is None for node in nodes)


def with_steps(tree: PyTree, step_size) -> PyTree:
    """The same algorithm or estimator with all steps left to be measured set to one."""
    fill = lambda node: Measured(step_size) if is_measured(node) else node
    return jax.tree.map(fill, tree, is_leaf=is_measured)


def with_measured_steps(tree: Tree, problem: AbstractProblem, x: PyTree, y: PyTree) -> Tree:
    """An algorithm or estimator whose missing inner and adjoint steps are measured.

    `bx.minimize` and `bx.hypergradient` do this by themselves.

    >>> import bilevax as bx
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2)
    >>> estimator = bx.with_measured_steps(
    ...     bx.Analytic(bx.GradientDescent(num_steps=3)), problem, 1.0, 0.0)
    >>> float(bx.hypergradient(problem, estimator, 1.0, 0.0).y)
    1.0
    """
    if not has_steps_to_measure(tree):
        return tree
    x, y = as_variable("x", x), as_variable("y", y)
    return with_steps(tree, measure_smoothness(problem, tree, x, y)[0].step_size)
