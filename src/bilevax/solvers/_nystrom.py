"""The adjoint system by a low-rank approximation of the Hessian."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._core.keys import split
from .._core.numbers import as_count, as_positive
from .._core.result import Result, finite_or
from .._core.types import Count, Number, Scalar
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, as_sampler
from ._base import AbstractSolver, SolverState
from ._equation import as_linear


class Nystrom(AbstractSolver):
    r"""$z = -(H_k + \rho I)^{-1} \partial_y f$ with the Nystrom approximation $H_k$ of H.

    $H_k = H_{:K} H_{KK}^{+} H_{K:}$ for k columns K of H, drawn at random at every solve: k
    products, made together, and then dense algebra with k columns. It starts afresh at every
    solve: a warm start has no meaning for it. With all columns $H_k$ is H.

    Hataya and Yamada invert by the identity of Woodbury. Here the inverse is taken from the
    eigenvectors of $H_k$, which is the same without its cancellation at small $\rho$.

    **Arguments:**

    - `rank`: k, at most the numbers of y.
    - `regularisation`: $\rho$, in the units of H. Directions that the columns do not reach
      are divided by it: it should be of the order of the eigenvalues left out.
    - `batch_size`: rows of the one batch that all columns are of: an int, a sampler, or `None`.

    >>> import bilevax as bx
    >>> solver = bx.Nystrom(rank=5, regularisation=0.01)

    **Reference:** R. Hataya and M. Yamada, Nystrom method for accurate and scalable implicit
    differentiation, AISTATS 2023.
    """

    rank: int = eqx.field(static=True)
    regularisation: Scalar
    sampler: AbstractSampler

    def __init__(
        self, rank: Count, regularisation: Number = 0.01, *, batch_size: BatchSize = None
    ):
        self.rank = as_count("rank", rank)
        self.regularisation = as_positive("regularisation", regularisation)
        self.sampler = as_sampler(batch_size)

    @property
    def random(self):
        return True

    def init(self, equation, u):
        equation = as_linear(equation)
        if not equation.symmetric:
            raise TypeError(_NOT_SYMMETRIC)
        size = ravel_pytree(u)[0].size
        if self.rank > size:
            raise ValueError(_TOO_MANY.format(self.rank, size))
        return SolverState.start((), self.sampler.init(equation.data), u)

    def solve(self, equation, u, state, key, k):
        del u, k
        batch_key, column_key = split(key, 2)
        equation = as_linear(equation)
        batch, drawn = self.sampler.draw(equation.data, state.sampler, batch_key)
        rhs, unravel = ravel_pytree(equation.rhs)
        places = jax.random.choice(column_key, rhs.size, (self.rank,), replace=False)
        units = jax.nn.one_hot(places, rhs.size, dtype=rhs.dtype)
        operator = equation.operator(batch)
        column = lambda unit: ravel_pytree(operator(unravel(unit)))[0]
        columns = jax.vmap(column, out_axes=1)(units)
        z = _regularised_solve(columns, columns[places], rhs, self.regularisation)
        cost = equation.cost(self.rank, self.sampler.rows(equation.data))
        result = finite_or((columns, z), Result.adjoint_nonfinite)
        watch = state.watch.begin().forget()
        return unravel(z), state.with_watch(watch).with_sampler(drawn), cost, result


def _regularised_solve(
    columns: Float[Array, "n k"], corner: Float[Array, "k k"], rhs: Float[Array, "n"], rho
) -> Float[Array, "n"]:
    """$(C W^+ C^T + \\rho I)^{-1}$ times a vector."""
    values, vectors = jnp.linalg.eigh((corner + corner.T) / 2)
    floor = jnp.finfo(rhs.dtype).eps * len(values) * jnp.max(jnp.abs(values))
    # A semidefinite corner may have small negative eigenvalues, by rounding.
    kept = values > floor
    root = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1)), 0)
    basis, sizes, _ = jnp.linalg.svd((columns @ vectors) * root, full_matrices=False)
    rho = jnp.asarray(rho, rhs.dtype)
    within = basis.T @ rhs
    beyond = rhs - basis @ within
    # Once more: what rounding has left within would be divided by the regularisation.
    beyond = beyond - basis @ (basis.T @ beyond)
    return basis @ (within / (sizes**2 + rho)) + beyond / rho


_NOT_SYMMETRIC = (
    "bx.Nystrom approximates a Hessian, and this system is not symmetric: use bx.Direct, "
    "bx.Neumann or bx.FixedPointIteration."
)
_TOO_MANY = (
    "rank={0} columns were asked for, and y has {1} numbers: take at most {1}, or bx.Direct()."
)
