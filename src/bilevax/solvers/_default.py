"""The linear solver where none was given."""

from typing import Any

import jax.numpy as jnp
import optax.tree
from jaxtyping import PyTree

from .._core.tree import float_dtype

# Up to this many numbers a dense factorisation is cheaper than anything else.
_SMALL = 200


def is_small(y: PyTree) -> bool:
    """Whether systems for such a y are factorised where nobody says how to solve them."""
    return optax.tree.size(y) <= _SMALL


def unit_roundoff(y: PyTree) -> float:
    """Of the dtype of y."""
    dtype: Any = float_dtype(y)
    return float(jnp.finfo(dtype).eps)
