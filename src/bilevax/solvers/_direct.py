"""The dense solve of the adjoint system."""

import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree

from .._result import Result, all_finite, finite_or, first_failure
from .._sampling import AbstractSampler, as_sampler
from .._transformation import Clock
from ._base import AbstractSolver, SolverState


class Direct(AbstractSolver):
    r"""Assembles the matrix of the adjoint system and factorises it, through lineax.

    Cholesky where the inner problem minimises, LU for a fixed point. It costs one product
    for each of the m numbers of y, $m^2$ memory and $m^3$ time: for small y only. A
    Hessian that is not positive definite gives `bx.Result.indefinite`, one that is
    singular to working precision `bx.Result.singular`.

    >>> import bilevax as bx
    >>> bx.Direct()
    Direct(sampler=FullBatch())
    """

    sampler: AbstractSampler

    def __init__(self):
        self.sampler = as_sampler(None)

    def init(self, equation, u):
        equation.zeros()  # raises where the equation is not linear
        return SolverState((), self.sampler.init(equation.data), Clock.at(0))

    def solve(self, equation, u, state, key, k):
        del u, k
        batch, _ = self.sampler.draw(equation.data, state.sampler, key)
        rhs, unravel = ravel_pytree(equation.rhs)
        matrix = _matrix(equation.operator(batch), unravel, rhs)
        symmetric = equation.symmetric
        # A symmetric system is the Hessian of a minimum, or I minus a contraction.
        operator = lx.MatrixLinearOperator(
            matrix, lx.positive_semidefinite_tag if symmetric else ()
        )
        solver = lx.Cholesky() if symmetric else lx.LU()
        z = lx.linear_solve(operator, rhs, solver, throw=False).value
        cost = equation.cost(rhs.size, self.sampler.rows(equation.data))
        return unravel(z), state, cost, _result(matrix, z, rhs, symmetric)


def _matrix(operator, unravel, rhs):
    """The dense matrix of the operator, one product a column."""
    column = lambda e: ravel_pytree(operator(unravel(e)))[0]
    return jax.vmap(column, out_axes=1)(jnp.eye(rhs.size, dtype=rhs.dtype))


def _result(matrix, z, rhs, symmetric):
    eps = jnp.finfo(rhs.dtype).eps
    size = jnp.linalg.norm(matrix)
    # |A| |z| / |b| is a lower bound on the condition number of A.
    sound = all_finite(z) & (eps * size * jnp.linalg.norm(z) <= 0.1 * jnp.linalg.norm(rhs))

    def diagnose():
        smallest = jnp.linalg.eigvalsh(matrix)[0] if symmetric else jnp.zeros(())
        negative = smallest < -eps * rhs.size * size
        return Result.where(negative, Result.indefinite, Result.singular)

    failed = jax.lax.cond(sound, lambda: Result.successful, diagnose)
    return first_failure(finite_or(matrix, Result.adjoint_nonfinite), failed)
