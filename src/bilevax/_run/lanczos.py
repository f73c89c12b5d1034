"""The Lanczos iteration: extreme eigenvalues of a symmetric operator from its products."""

import jax
import jax.numpy as jnp

from .._core.tree import norm


def lanczos(product, like, num: int, key):
    """Ritz values in increasing order, their residuals, and the vector of the largest in
    absolute value, after `num` products."""
    start = jax.random.normal(key, like.shape, like.dtype)
    basis = jnp.zeros((num + 1, like.size), like.dtype)
    basis = basis.at[0].set(start / norm(start))

    def orthogonal(vector, basis):
        # Twice is enough: the second pass removes what rounding left.
        for _ in range(2):
            vector = vector - (basis @ vector) @ basis
        return vector

    def step(carry, inputs):
        basis, scale = carry
        i, fresh_key = inputs
        image = product(basis[i])
        alpha = basis[i] @ image
        rest = orthogonal(image, basis)
        beta = norm(rest)
        scale = jnp.maximum(scale, norm(image))
        # An invariant subspace is found: go on in its complement, not coupled to it.
        closed = beta <= 10 * jnp.finfo(like.dtype).eps * scale
        fresh = orthogonal(jax.random.normal(fresh_key, like.shape, like.dtype), basis)
        rest = jnp.where(closed, fresh / norm(fresh), rest / beta)
        return (basis.at[i + 1].set(rest), scale), (alpha, jnp.where(closed, 0, beta))

    keys = jax.random.split(jax.random.fold_in(key, 1), num)
    inputs = jnp.arange(num), keys
    carry, (alphas, betas) = jax.lax.scan(step, (basis, jnp.zeros((), like.dtype)), inputs)
    tridiagonal = jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)
    values, vectors = jnp.linalg.eigh(tridiagonal)
    leading = carry[0][:num].T @ vectors[:, jnp.argmax(jnp.abs(values))]
    return values, jnp.abs(betas[-1] * vectors[-1]), leading
