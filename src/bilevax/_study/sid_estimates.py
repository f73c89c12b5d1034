"""Estimates of the constants of stochastic hypergradients, from points and from batches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, PyTree

from .._core.tree import axpy, norm
from .._rows.batch import Batch, full
from .._rows.sampler import AbstractSampler
from ..problems._base import FixedPointProblem
from .spectral import spectral_norm

_POINTS = 8


@eqx.filter_jit
def estimates(
    problem: FixedPointProblem,
    sampler: AbstractSampler,
    x: PyTree,
    y0: PyTree,
    y: PyTree,
    z: PyTree,
    num: int,
    key: Array,
) -> dict[str, Array]:
    """Each constant by its name in `bx.theory.sid`: the largest at the solution y, whose
    adjoint is z, at points around it, and on so many batches."""
    around_key, x_key, batch_key = jax.random.split(key, 3)
    directions, shares = _drawn(y, around_key)
    of_points, of_adjoints = (_part(directions, i) for i in (0, 1))
    # The power method starts in directions that are random too.
    starts = _part(of_points, 0), _random(x, x_key)
    here = _Here(problem, x, y, *starts)
    radius, size = norm(optax.tree.sub(y0, y)), norm(z)
    points = _around(y, radius * shares[0], of_points)
    adjoints = _around(z, size * shares[1], of_adjoints)
    each = _over_batches(sampler, problem.inner_data, batch_key, num)
    return {
        **_beside(here, points),
        **_of_batches(here, each, points, z, adjoints),
        "initial_distance": radius,
        "adjoint_distance": size,
    }


class _Here(NamedTuple):
    """The map at x, and its solution y."""

    problem: FixedPointProblem
    x: PyTree
    y: PyTree
    # Where the power method starts in the space of y and in that of x.
    y_start: PyTree
    x_start: PyTree

    @property
    def everything(self) -> Batch:
        return full(self.problem.inner_data, None)

    def sweep(self, y: PyTree, batch: Batch) -> PyTree:
        return self.problem.sweep(self.x, y, batch)

    def outer(self, y: PyTree):
        """The outer gradients in x and y."""
        batch = full(self.problem.outer_data, None)
        return self.problem.value_and_gradients(self.x, y, batch)[1]

    def jacobian(self, y: PyTree, batch: Batch) -> Callable[[PyTree], PyTree]:
        return jax.linearize(lambda y: self.sweep(y, batch), y)[1]

    def cross(self, y: PyTree, batch: Batch) -> Callable[[PyTree], PyTree]:
        return jax.linearize(lambda x: self.problem.sweep(x, y, batch), self.x)[1]

    def of_jacobian(self, product: Callable) -> Array:
        return spectral_norm(product, self.y_start)

    def of_cross(self, product: Callable) -> Array:
        return spectral_norm(product, self.x_start)


def _beside(here: _Here, points: PyTree) -> dict[str, Array]:
    """On all rows, at the solution and at each point; differences are from the solution."""
    y, rows = here.y, here.everything
    at_solution, jacobian, cross = here.outer(y), here.jacobian(y, rows), here.cross(y, rows)

    def compared(point: PyTree) -> dict[str, Array]:
        away = norm(optax.tree.sub(point, y))
        away = jnp.maximum(away, jnp.finfo(away.dtype).tiny)
        f_x, f_y = here.outer(point)
        there, across = here.jacobian(point, rows), here.cross(point, rows)
        far = lambda a, b: norm(optax.tree.sub(a, b)) / away
        return {
            "contraction": here.of_jacobian(there),
            "outer_lipschitz": norm(f_y),
            "outer_smoothness": far(f_y, at_solution[1]),
            "outer_cross_smoothness": far(f_x, at_solution[0]),
            "jacobian_lipschitz": here.of_jacobian(_difference(there, jacobian)) / away,
            "cross_lipschitz": here.of_cross(_difference(across, cross)) / away,
        }

    each = jax.vmap(compared)(_with(y, points))
    found = {name: jnp.max(values) for name, values in each.items()}
    return found | {"cross_norm": here.of_cross(cross)}


def _of_batches(
    here: _Here, each: Callable, points: PyTree, z: PyTree, adjoints: PyTree
) -> dict[str, Array]:
    """What samples of the map, of the adjoint's and of their derivatives are away from."""
    y, cross = here.y, here.cross(here.y, here.everything)
    _, f_y = here.outer(y)

    def adjoint_sweep(z: PyTree, batch: Batch) -> PyTree:
        (pulled,) = jax.vjp(lambda y: here.sweep(y, batch), y)[1](z)
        return optax.tree.sub(pulled, f_y)

    noise, relative = _noise(here, each, here.sweep, y, points)
    of_adjoint = _noise(here, each, adjoint_sweep, z, adjoints)
    jacobians = each(lambda batch: here.of_jacobian(here.jacobian(y, batch)))
    crosses = each(lambda batch: here.of_cross(_difference(here.cross(y, batch), cross)) ** 2)
    return {
        "noise": noise,
        "relative_noise": relative,
        "noise_at_solution": noise,
        "adjoint_noise": of_adjoint[0],
        "adjoint_relative_noise": of_adjoint[1],
        "sample_lipschitz": jnp.max(jacobians),
        "cross_noise": jnp.mean(crosses),
    }


def _noise(here: _Here, each: Callable, sample: Callable, u: PyTree, others: PyTree):
    r"""$\sigma_1$ at the solution u of a map, $\sigma_2$ from other points."""

    def at(u: PyTree) -> tuple[Array, Array]:
        mean = sample(u, here.everything)
        squares = each(lambda batch: norm(optax.tree.sub(sample(u, batch), mean)) ** 2)
        return jnp.mean(squares), norm(optax.tree.sub(mean, u)) ** 2

    variances, moved = jax.lax.map(at, _with(u, others))
    more = jnp.maximum(variances - variances[0], 0)
    return variances[0], jnp.max(more / jnp.maximum(moved, jnp.finfo(moved.dtype).tiny))


def _with(u: PyTree, others: PyTree) -> PyTree:
    """Points with u before them."""
    return jax.tree.map(lambda one, many: jnp.concatenate([one[None], many]), u, others)


def _difference(a: Callable, b: Callable) -> Callable[[PyTree], PyTree]:
    return lambda v: optax.tree.sub(a(v), b(v))


def _over_batches(sampler: AbstractSampler, data: Any, key: Array, num: int) -> Callable:
    """Applies a function to so many batches."""
    if sampler.deterministic:
        return lambda f: f(full(data, None))[None]
    tickets, _ = sampler.tickets(data, sampler.init(data), key, num)
    return lambda f: jax.lax.map(lambda ticket: f(sampler.batch(data, ticket)), tickets)


def _part(tree: PyTree, i: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], tree)


def _random(like: PyTree, key: Array) -> PyTree:
    return optax.tree.random_like(key, like, jax.random.normal)


def _drawn(like: PyTree, key: Array) -> tuple[PyTree, Array]:
    """Directions of the points around y and around z, and how far they are, as shares."""
    direction_key, share_key = jax.random.split(key)
    num = 2, _POINTS
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*num, *leaf.shape)), like)
    return _random(many, direction_key), jax.random.uniform(share_key, num, minval=0.1)


def _around(u: PyTree, distances: Array, directions: PyTree) -> PyTree:
    """Points at these distances from u."""
    at = lambda distance, direction: axpy(distance / norm(direction), direction, u)
    return jax.vmap(at)(distances, directions)
