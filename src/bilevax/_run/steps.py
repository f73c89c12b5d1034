"""Steps that were left out: 1 / smoothness, measured where a run starts and followed."""

import warnings
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._core.cost import Cost
from .._core.result import Result
from .._core.tree import axpy, is_traced, norm
from .._rows.data import num_rows
from .._rows.samplers import full
from ..algorithms._base import Algorithm
from ..problems._base import AbstractProblem, FixedPointProblem
from ..schedules import Measured, constant_step, is_measured
from ..solvers import Neumann
from ..solvers._directions import SteepestDescent
from ..solvers._followed import FollowedDescent
from .check import as_variable
from .curvature import Curvature, common_block_size, curvature

# Where the Hessian is measured by Lanczos: the start, and after that many steps less one.
_PROBES = 3
# The smoothness is kept while the followed curvature is between this share of it and all of
# it. It rises to the curvature and a margin, since a power product comes from below, and falls
# by a tenth a step at most, since y may soon be where the inner problem is steeper.
_SHARE, _MARGIN, _FALL = 0.8, 1.1, 0.9
# So that a direction that becomes the stiffest is in sight.
_NOISE = 0.1


class Smoothness(eqx.Module):
    r"""The smoothness of the inner problem, followed while x and y move.

    One Hessian-vector product an outer step, of a direction that is carried on: with
    $v$ a unit vector, $\|H v\|$ is a lower bound on the smoothness that the power method
    sharpens from step to step.

    - `value`: the smoothness, 1 for a fixed-point map, which is iterated itself;
    - `direction`: v; `None` where nothing is followed.
    """

    value: Float[Array, ""]
    direction: PyTree

    @property
    def step_size(self) -> Array:
        """1 / smoothness."""
        return 1 / self.value

    def follow(
        self, problem: AbstractProblem, readers: PyTree, x: PyTree, y: PyTree, key: PRNGKeyArray
    ) -> tuple["Smoothness", Cost]:
        """The smoothness at another x and y, and what it costs."""
        if self.direction is None:
            return self, Cost()
        batch = full(problem.inner_data, common_block_size(readers))
        v, unravel = ravel_pytree(self.direction)
        noise = jax.random.normal(key, v.shape, v.dtype)
        v = v + _NOISE * noise / norm(noise)
        v = v / norm(v)
        image = ravel_pytree(problem.linearize(x, y, batch).hvp(unravel(v)))[0]
        size = norm(image)
        # Without curvature there is nothing to follow, nor where it is not finite.
        sound = (size > 0) & jnp.isfinite(size)
        v = jnp.where(sound, image / jnp.where(sound, size, 1), v)
        moved = sound & ((size > self.value) | (size < _SHARE * self.value))
        value = jnp.maximum(_MARGIN * size, _FALL * self.value)
        value = jnp.where(moved, value, self.value)
        return Smoothness(value, unravel(v)), Cost.of("hvp", 1, num_rows(problem.inner_data))


def has_steps_to_measure(tree: PyTree) -> bool:
    """Whether any step size was left to be measured."""
    nodes = jax.tree.leaves(tree, is_leaf=is_measured)
    return any(is_measured(node) and node.step_size is None for node in nodes)


def with_steps(tree: PyTree, step_size) -> PyTree:
    """The same algorithm or estimator with all steps left to be measured set to one."""
    fill = lambda node: Measured(step_size) if is_measured(node) else node
    return jax.tree.map(fill, tree, is_leaf=is_measured)


def measure_smoothness(
    problem: AbstractProblem, readers: PyTree, x: PyTree, y: PyTree
) -> tuple[Smoothness, Cost]:
    """The smoothness of the inner problem at x, of which gradient descent takes the inverse
    as its step, and the cost.

    All rows are read, in blocks where the `readers`, an algorithm or an estimator, allow.

    It is the largest of three measured along the first steps from y, since an inner Hessian
    may be flat where a run starts and steep where it goes; the largest eigenvalue in absolute
    value; where there is no curvature at all it is taken as 1. For a fixed-point map it is 1,
    so that the map itself is iterated, and costs nothing.
    """
    if isinstance(problem, FixedPointProblem):
        return Smoothness(jnp.ones((), jnp.result_type(*jax.tree.leaves(y))), None), Cost()
    return _probe(problem, x, y, common_block_size(readers))


@eqx.filter_jit
def _probe(problem, x, y, block_size):
    batch, rows = full(problem.inner_data, block_size), num_rows(problem.inner_data)
    smoothness, cost = jnp.zeros((), jnp.result_type(*jax.tree.leaves(y))), Cost()
    direction = y
    for probe in range(_PROBES):
        measured = curvature(problem, x, y, num_products=15, block_size=block_size)
        size = jnp.maximum(measured.smoothness, -measured.strong_convexity)
        keep = lambda new, old, larger=size >= smoothness: jnp.where(larger, new, old)
        direction = jax.tree.map(keep, measured.direction, direction)
        smoothness = jnp.maximum(smoothness, size)
        smoothness = jnp.where(smoothness > 0, smoothness, 1)
        cost = cost + measured.cost
        if probe < _PROBES - 1:
            y = axpy(-1 / smoothness, problem.residual(x, y, batch), y)
            cost = cost + Cost.of("inner_gradient", 1, rows)
    return Smoothness(smoothness, direction), cost


def with_measured_steps(tree: PyTree, problem: AbstractProblem, x: PyTree, y: PyTree) -> PyTree:
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
    tree = tree.hypergradient if isinstance(tree, Algorithm) else tree
    measured = curvature(problem, x, y, block_size=common_block_size(tree))
    if is_traced(measured.smoothness) or not jnp.isfinite(measured.smoothness):
        return measured
    if measured.contraction is not None and measured.contraction >= 1:
        warnings.warn(
            f"The fixed-point map does not contract here: the norm of its Jacobian is about "
            f"{float(measured.contraction):.3g}, and must be below 1.",
            stacklevel=2,
        )
    limit = 2 / float(measured.smoothness)
    for name, step in _constant_steps(tree):
        if float(step) > limit:
            warnings.warn(
                f"A step of {float(step):.3g} in {name} is above 2 / smoothness = "
                f"{limit:.3g}, measured here: iterations with it diverge. Leave the step out "
                "to have it measured and followed.",
                stacklevel=2,
            )
    return measured


def explain(
    problem: AbstractProblem, algorithm: Algorithm, followed: Smoothness | None, x, y
) -> None:
    """Warn of what made a run diverge that ended at (x, y), with numbers."""
    if followed is not None:
        algorithm = with_steps(algorithm, followed.step_size)
    with warnings.catch_warnings(record=True, action="always") as caught:
        measured = check_steps(problem, algorithm, x, y)
    used = ", ".join(f"{float(step):.3g}" for _, step in _constant_steps(algorithm))
    smoothness = float(measured.smoothness)
    nothing_yet = _NOTHING_YET.format(smoothness, 2 / smoothness, used or "none constant")
    for text in [str(warning.message) for warning in caught] or [nothing_yet]:
        warnings.warn(text, stacklevel=3)


_NOTHING_YET = (
    "At the iterate that is returned nothing is wrong yet: the smoothness is {:.3g}, and so "
    "steps below {:.3g} converge there (here: {}). The curvature grows where x goes from "
    "there: leave steps out, to have them follow it, or reduce the outer step."
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
