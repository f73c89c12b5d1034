"""The few operations on pytrees that optax does not have."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def axpy(a, x: PyTree, y: PyTree) -> PyTree:
    """`a * x + y`, with the scalar `a` cast to each leaf's own dtype."""
    return jax.tree.map(lambda xi, yi: jnp.asarray(a, yi.dtype) * xi + yi, x, y)


def scale(a, x: PyTree) -> PyTree:
    """`a * x`, with the scalar `a` cast to each leaf's own dtype."""
    return jax.tree.map(lambda xi: jnp.asarray(a, xi.dtype) * xi, x)


def negative(x: PyTree) -> PyTree:
    """`-x`."""
    return jax.tree.map(jnp.negative, x)


def subtract(x: PyTree, y: PyTree) -> PyTree:
    """`x - y`."""
    return jax.tree.map(jnp.subtract, x, y)


def float_dtype(tree: PyTree):
    """The common floating-point dtype of a tree (float32 for an empty one)."""
    leaves = jax.tree.leaves(tree)
    return jnp.result_type(*leaves) if leaves else jnp.dtype(jnp.float32)
