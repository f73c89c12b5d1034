"""The smoothness of the inner problem: measured where a run starts, then followed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._core.cost import Cost
from .._core.tree import axpy, norm
from .._rows.data import num_rows
from .._rows.samplers import common_block_size, full
from ..problems._base import AbstractProblem, FixedPointProblem
from .curvature import curvature

# Where the Hessian is measured by Lanczos: the start, and after that many steps less one.
_PROBES = 3
# Of each, as many as y has numbers at most.
_PRODUCTS = 15
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

    def step(y, smoothness):
        return axpy(-1 / smoothness, problem.residual(x, y, batch), y)

    def probe(carry, index):
        y, smoothness, direction = carry
        y = jax.lax.cond(index > 0, step, lambda y, _: y, y, smoothness)
        measured = curvature(problem, x, y, num_products=_PRODUCTS, block_size=block_size)
        size = jnp.maximum(measured.smoothness, -measured.strong_convexity)
        keep = lambda new, old: jnp.where(size >= smoothness, new, old)
        direction = jax.tree.map(keep, measured.direction, direction)
        smoothness = jnp.maximum(smoothness, size)
        return (y, jnp.where(smoothness > 0, smoothness, 1), direction), None

    nothing = jnp.zeros((), jnp.result_type(*jax.tree.leaves(y)))
    # One program for all probes: unrolled it would be the largest of a run.
    carry, _ = jax.lax.scan(probe, (y, nothing, y), jnp.arange(_PROBES))
    num_products = _PROBES * min(_PRODUCTS, optax.tree.size(y))
    cost = Cost.of("hvp", num_products, rows) + Cost.of("inner_gradient", _PROBES - 1, rows)
    return Smoothness(carry[1], carry[2]), cost
