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

    # In loops, what is done to several vectors stands in the program once, and compiles in
    # half the time: a run that measures its steps waits for this first.
    def orthogonal(vector, basis):
        # Twice is enough: the second pass removes what rounding left.
        without = lambda _, vector: vector - (basis @ vector) @ basis
        rest = jax.lax.fori_loop(0, 2, without, vector)
        return rest, norm(rest)

    def step(carry, i):
        basis, scale = carry
        image = product(basis[i])
        alpha = basis[i] @ image
        # As good as another random vector.
        fresh = jnp.cos((i + 2).astype(start.dtype) * start)
        both = jnp.stack((image, fresh))
        (rest, other), (beta, size) = jax.lax.map(lambda v: orthogonal(v, basis), both)
        scale = jnp.maximum(scale, norm(image))
        # An invariant subspace is found: go on in its complement, not coupled to it.
        closed = beta <= 10 * jnp.finfo(like.dtype).eps * scale
        rest = jnp.where(closed, other / size, rest / beta)
        return (basis.at[i + 1].set(rest), scale), (alpha, jnp.where(closed, 0, beta))

    first = basis, jnp.zeros((), like.dtype)
    carry, (alphas, betas) = jax.lax.scan(step, first, jnp.arange(num))
    tridiagonal = jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)
    values, vectors = jnp.linalg.eigh(tridiagonal)
    leading = carry[0][:num].T @ vectors[:, jnp.argmax(jnp.abs(values))]
    return values, jnp.abs(betas[-1] * vectors[-1]), leading
