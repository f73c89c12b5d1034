"""The few operations on pytrees that optax does not have."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jax.core import Tracer
from jaxtyping import Array, PyTree

from .types import Scalar


def axpy(a, x: PyTree, y: PyTree) -> PyTree:
    """`a * x + y`, with the scalar `a` cast to each leaf's own dtype."""
    return jax.tree.map(lambda xi, yi: jnp.asarray(a, yi.dtype) * xi + yi, x, y)


def scale(a, x: PyTree) -> PyTree:
    """`a * x`, with the scalar `a` cast to each leaf's own dtype."""
    return jax.tree.map(lambda xi: jnp.asarray(a, xi.dtype) * xi, x)


def negative(x: PyTree) -> PyTree:
    """`-x`."""
    return jax.tree.map(jnp.negative, x)


# Compiled functions of their own, such as this one, are traced once a shape; inlined, they
# made up most of a small program.
@jax.jit
def norm(tree: PyTree) -> Array:
    """The Euclidean norm over all leaves, without squares that over- or underflow."""
    sizes = jax.tree.map(lambda leaf: jnp.max(jnp.abs(leaf), initial=0), tree)
    largest = jnp.asarray(optax.tree.max(sizes))
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return unit * jnp.asarray(optax.tree.norm(jax.tree.map(lambda leaf: leaf / unit, tree)))


def float_dtype(tree: PyTree):
    """The common floating-point dtype of a tree (float32 for an empty one)."""
    leaves = jax.tree.leaves(tree)
    return jnp.result_type(*leaves) if leaves else jnp.dtype(jnp.float32)


def cast(tree: PyTree, dtype) -> PyTree:
    """With its arrays of floating-point numbers in that dtype; others stay."""
    is_float = lambda leaf: hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if is_float(leaf) else leaf, tree)


def as_scalar(value) -> Scalar:
    """A scalar as an array leaf, so that changing it does not recompile.

    Kept as a NumPy double until it is cast to the dtype of the variable it acts on.
    """
    return value if isinstance(value, jax.Array) else np.asarray(value, np.float64)


def is_traced(leaf) -> bool:
    """Whether a number is not known yet, because a program is being traced."""
    return isinstance(leaf, Tracer)


def maker(module: type) -> Callable[..., Any]:
    """What puts a module together from the values of its fields, in a tenth of the time of its
    `__init__`, which it passes by.

    >>> import equinox as eqx
    >>> class Pair(eqx.Module):
    ...     left: int
    ...     right: int
    >>> maker(Pair)(1, 2)
    Pair(left=1, right=2)
    """
    blank = object.__new__(module)
    for field in dataclasses.fields(module):
        object.__setattr__(blank, field.name, 0)
    structure = jax.tree.structure(blank)
    return lambda *values: structure.unflatten(values)
