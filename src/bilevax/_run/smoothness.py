"""The smoothness of the inner problem: measured where a run starts, then followed."""

import math
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._core.cost import Cost
from .._core.program import program
from .._core.tree import axpy, norm
from .._core.types import Index
from .._rows.batch import full
from .._rows.data import num_rows
from .._rows.sampler import AbstractSampler
from .._rows.samplers import common_block_size
from ..problems._base import AbstractProblem, FixedPointProblem
from .curvature import curvature
from .lanczos import lanczos

# Where the Hessian is measured by Lanczos: the start, and after that many steps less one.
_PROBES = 3
# Of each, as many as y has numbers at most.
_PRODUCTS = 15
# Of so many drawn batches the smoothness is measured too.
_BATCHES = 8
# The smoothness is kept while the followed curvature is between this share of it and all of
# it. It rises to the curvature and a margin, since a power product comes from below, and falls
# by a tenth a step at most, since y may soon be where the inner problem is steeper.
_SHARE, _MARGIN, _FALL = 0.8, 1.1, 0.9
# So that a direction that becomes the stiffest is in sight, each step adds another wave: of
# frequencies a golden ratio apart, which in the mean over steps are as large along every
# direction as white noise is, and compile far sooner.
_NOISE, _GOLDEN = 0.1, (5**0.5 - 1) / 2


class Smoothness(eqx.Module):
    r"""The smoothness of the inner problem, followed while x and y move.

    One Hessian-vector product an outer step, of a direction that is carried on: with
    $v$ a unit vector, $\|H v\|$ is a lower bound on the smoothness that the power method
    sharpens from step to step.

    - `value`: the smoothness, 1 for a fixed-point map, which is iterated itself;
    - `direction`: v; `None` where nothing is followed;
    - `share`: of 1 / smoothness, which the step is: 1, and less where rows are drawn.
    """

    value: Float[Array, ""]
    direction: PyTree
    share: Float[Array, ""]

    @property
    def step_size(self) -> Array:
        """The step that those left out stand for."""
        return self.share / self.value

    def follow(
        self, problem: AbstractProblem, readers: PyTree, x: PyTree, y: PyTree, k: Index
    ) -> tuple["Smoothness", Cost]:
        """The smoothness at the x and y of step k, and what it costs."""
        if self.direction is None:
            return self, Cost()
        batch = full(problem.inner_data, common_block_size(readers))
        v, unravel = ravel_pytree(self.direction)
        angle = 2 * np.pi * (_GOLDEN * jnp.asarray(k + 1, v.dtype) % 1)
        wave = jnp.cos(angle * jnp.arange(1, v.size + 1, dtype=v.dtype))
        v = v + _NOISE * math.sqrt(2 / v.size) * wave
        v = v / norm(v)
        image = ravel_pytree(problem.linearize(x, y, batch).hvp(unravel(v)))[0]
        size = norm(image)
        # Without curvature there is nothing to follow, nor where it is not finite.
        sound = (size > 0) & jnp.isfinite(size)
        v = jnp.where(sound, image / jnp.where(sound, size, 1), v)
        moved = sound & ((size > self.value) | (size < _SHARE * self.value))
        value = jnp.maximum(_MARGIN * size, _FALL * self.value)
        value = jnp.where(moved, value, self.value)
        return Smoothness(value, unravel(v), self.share), Cost.of(
            "hvp", 1, num_rows(problem.inner_data)
        )


def measure_smoothness(
    problem: AbstractProblem, readers: PyTree, x: PyTree, y: PyTree
) -> tuple[Smoothness, Cost]:
    """The smoothness of the inner problem at x, of which gradient descent takes the inverse
    as its step, and the cost.

    All rows are read, in blocks where the `readers`, an algorithm or an estimator, allow.
    Where they draw rows, steps must suit the batches that come, and a batch can be far less
    smooth than the mean, by as much as y has numbers: the step is 1 over twice the largest
    smoothness of the mean and of 8 drawn batches of each kind, at the last of the points below.

    It is the largest of three measured along the first steps from y, since an inner Hessian
    may be flat where a run starts and steep where it goes; the largest eigenvalue in absolute
    value; where there is no curvature at all it is taken as 1. For a fixed-point map it is 1,
    so that the map itself is iterated, and costs nothing.
    """
    if isinstance(problem, FixedPointProblem):
        one = jnp.ones((), jnp.result_type(*jax.tree.leaves(y)))
        return Smoothness(one, None, one), Cost()
    samplers = tuple(drawing(readers))
    return _probe(problem, x, y, common_block_size(readers), samplers)


def drawing(readers: PyTree) -> Iterator[AbstractSampler]:
    """The samplers that draw the rows of inner and adjoint steps."""
    is_sampler = lambda node: isinstance(node, AbstractSampler)
    for path, node in jax.tree_util.tree_leaves_with_path(readers, is_leaf=is_sampler):
        others = jax.tree_util.keystr(path).endswith(("outer_sampler", "cross_sampler"))
        if is_sampler(node) and not node.deterministic and not others:
            yield node


@program
def _probe(problem, x, y, block_size, samplers):
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
    y, value, direction = carry
    share = jnp.ones_like(value)
    for sampler in samplers:
        largest, extra = _of_batches(problem, x, y, sampler)
        # Twice is a margin for batches that were not drawn.
        share = jnp.minimum(share, value / (2 * jnp.maximum(largest, value)))
        cost = cost + extra
    return Smoothness(value, direction, share), cost


def _of_batches(problem, x, y, sampler: AbstractSampler) -> tuple[Array, Cost]:
    """The largest smoothness of a few batches, and the cost of knowing it."""
    data, (flat, unravel) = problem.inner_data, ravel_pytree(y)
    num = min(_PRODUCTS, flat.size)
    tickets, _ = sampler.tickets(data, sampler.init(data), jax.random.key(1), _BATCHES)

    def smoothness(ticket):
        hvp = problem.linearize(x, y, sampler.batch(data, ticket)).hvp
        product = lambda v: ravel_pytree(hvp(unravel(v)))[0]
        values, residuals, _ = lanczos(product, flat, num, jax.random.key(0))
        return jnp.maximum(values[-1] + residuals[-1], -values[0])

    largest = jnp.max(jax.lax.map(smoothness, tickets))
    return largest, Cost.of("hvp", _BATCHES * num, sampler.rows(data))
