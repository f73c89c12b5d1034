"""Mirror descent on histograms: a multiplicative outer step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..solvers._directions import AbstractDirection, OuterStep, as_outer


class Multiplicative(eqx.Module):
    r"""$x \mapsto x e^{u} / \sum x e^{u}$, along the last axis of each array."""

    def __call__(self, x: PyTree, update: PyTree) -> PyTree:
        """x after an update, a histogram again."""

        def move(x, u):
            # The largest exponent is 0, so that nothing overflows.
            moved = x * jnp.exp(u - jnp.max(u, axis=-1, keepdims=True))
            return moved / jnp.sum(moved, axis=-1, keepdims=True)

        return jax.tree.map(move, x, update)


def mirror_descent(step_size: OuterStep) -> tuple[AbstractDirection, Multiplicative]:
    r"""The outer step and the `apply` of mirror descent with the entropy, for an Algorithm.

    $x_{k+1} \propto x_k \odot e^{-\eta_k \psi_k}$: x stays a histogram, and a constant
    added to the hypergradient changes nothing (exponentiated gradient; Ablin et al. 2020,
    section 5.2).

    **Arguments:** `step_size`: $\eta$, a float, a schedule or an optax transformation.

    **Returns:** `(outer, apply)`, as in `bx.Algorithm(estimator, *bx.mirror_descent(0.5))`.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> outer, apply = bx.mirror_descent(0.5)
    >>> apply(jnp.array([0.5, 0.5]), jnp.array([jnp.log(3.0), 0.0])).round(4).tolist()
    [0.75, 0.25]
    """
    return as_outer(step_size, "step_size"), Multiplicative()
