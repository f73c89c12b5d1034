"""The spectral norm of a linear map, from its products."""

import jax
import jax.numpy as jnp

from .._core.tree import norm, scale

_PRODUCTS = 30


def spectral_norm(product, start, num: int = _PRODUCTS):
    """The largest singular value of a map of trees like `start`, by the power method.

    It comes from below. Works under `jit` and `vmap`.
    """
    transposed = jax.linear_transpose(product, start)
    unit = lambda v: scale(1 / jnp.maximum(norm(v), jnp.finfo(norm(v).dtype).tiny), v)

    def step(_, v):
        (image,) = transposed(product(v))
        return unit(image)

    return norm(product(jax.lax.fori_loop(0, num, step, unit(start))))
