"""Steps of 1 / smoothness that are not believed when a residual grows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Float, PyTree

from .._core.tree import scale
from ..schedules import Measured
from ._directions import AbstractDirection

# How much a step shrinks at most at once.
_LEAST = 0.1


class Secant(eqx.Module):
    """Where the last trial step started, its residual there, and its size."""

    residual: PyTree
    step_size: Float[Array, ""]


class FollowedDescent(AbstractDirection):
    r"""Minus step size times residual, with a measured step that a growing residual shrinks.

    After the trial step $d = -\alpha r$ with the change of residual $q$, $q^\top q / d^\top q$
    is at most the smoothness along it (where g is convex, by cocoercivity). If it is above
    $2 / \alpha$, which is to say that the residual grew although the curvature is positive,
    the trial is taken back and tried again with $\alpha$ its inverse, from the residual that is
    known there. A residual that grows along negative curvature is on its way out of it.
    The step stays as short until the solve ends. It must not grow again: where y has converged
    its residual no longer tells of steps that are too long, and derivatives of the iterations,
    which take the step for a constant, would grow along the steepest direction.

    No oracle is called for this.
    """

    step_size: Measured

    def init(self, params):
        unknown = jnp.full((), jnp.inf, jnp.result_type(*jax.tree.leaves(params)))
        return Secant(optax.tree.zeros_like(params), unknown)

    def update(self, direction, state, params, clock):
        del params
        measured = jnp.asarray(self.step_size(clock.i), state.step_size.dtype)
        first = clock.i == 0
        factor = jnp.where(first, 1, _shrinkage(direction, state.residual))
        kept = factor >= 1
        last = jnp.where(first, measured, state.step_size)
        tried = jax.lax.stop_gradient(factor * jnp.minimum(last, measured))
        base = jax.tree.map(
            lambda new, old: jnp.where(kept, new, old), direction, state.residual
        )
        # From where the last trial started, if it is taken back.
        length = tried - jnp.where(kept, 0, state.step_size)
        return scale(-length, base), Secant(base, tried)

    def residual(self, direction, state):
        return state.residual


def _shrinkage(new: PyTree, old: PyTree) -> Float[Array, ""]:
    """1 to keep a trial step; else by which factor it is too long."""
    new, old = jax.lax.stop_gradient((new, old))
    larger = jax.tree.map(lambda a, b: jnp.maximum(abs(a), abs(b)), new, old)
    unit = jnp.asarray(optax.tree.max(larger))
    unit = jnp.where(unit > 0, unit, 1)
    change = scale(1 / unit, optax.tree.sub(new, old))
    along = -jnp.asarray(optax.tree.vdot(scale(1 / unit, old), change))
    square = jnp.asarray(optax.tree.vdot(change, change))
    too_long = (along > 0) & (square > 2 * along)
    factor = jnp.clip(along / jnp.where(square > 0, square, 1), _LEAST, 1.0)
    factor = jnp.where(too_long, factor, 1.0)
    return jnp.where(jnp.isfinite(square), factor, _LEAST)
