"""Bounds on x: an additive update followed by a projection."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from .._core.tree import is_traced


class Projected(eqx.Module):
    """`x -> projection(x + update, *arguments)`, the arguments array leaves."""

    projection: Callable
    arguments: tuple

    def __call__(self, x: PyTree, update: PyTree) -> PyTree:
        """x after an update, back within its bounds."""
        moved = optax.apply_updates(x, update)
        arguments = jax.tree.map(lambda a: jnp.asarray(a, _dtype(x)), self.arguments)
        return self.projection(moved, *arguments)


def projected(projection: Callable, *arguments: PyTree) -> Projected:
    """An `apply` for `bx.Algorithm` that keeps x in a convex set.

    **Arguments:**

    - `projection`: called as `projection(x, *arguments)`, such as those of
      `optax.projections`: `projection_non_negative`, `projection_box`,
      `projection_simplex`, `projection_l2_ball`.
    - `arguments`: bounds or radii, numbers or pytrees like x. Changing them does not
      recompile.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> from optax.projections import projection_box
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: jnp.sum((y - 5.0) ** 2) / 2,
    ...     inner=lambda x, y: jnp.sum((y - x) ** 2) / 2)
    >>> preset = bx.algorithms.amigo_cg(outer_step_size=0.5)
    >>> algorithm = bx.Algorithm(
    ...     preset.hypergradient, preset.outer, apply=bx.projected(projection_box, 0.0, 2.0))
    >>> bx.minimize(problem, algorithm, jnp.zeros(2), jnp.zeros(2), num_steps=20).x.tolist()
    [2.0, 2.0]
    """
    if not callable(projection):
        raise TypeError(f"projection must be a function of x, got {projection!r}.")
    leaves = [leaf for leaf in jax.tree.leaves(arguments) if not is_traced(leaf)]
    if any(jnp.any(jnp.isnan(jnp.asarray(leaf))) for leaf in leaves):
        raise ValueError("The bounds of a projection must not be NaN.")
    return Projected(projection, jax.tree.map(jnp.asarray, arguments))


def _dtype(x: PyTree):
    return jnp.result_type(*jax.tree.leaves(x))
