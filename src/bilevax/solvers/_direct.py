"""The dense solve of the adjoint system, or of a quadratic inner problem."""

import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree

from .._core.numbers import as_positive
from .._core.result import Result, all_finite, finite_or, first_failure
from .._core.tree import is_traced, norm
from .._core.types import BlockSize, Number, Scalar
from .._rows.sampler import AbstractSampler
from .._rows.samplers import FullBatch
from ._base import AbstractSolver, SolverState
from ._equation import as_linear
from ._quadratic import is_inner, solve_quadratic


class Direct(AbstractSolver):
    r"""Assembles the matrix of the adjoint system and factorises it, through lineax.

    Cholesky where the inner problem minimises, LU for a fixed point. It costs one product
    for each of the m numbers of y, $m^2$ memory and $m^3$ time: for small y only. A
    Hessian that is not positive definite gives `bx.Result.indefinite`, one that is
    singular to working precision `bx.Result.singular`.

    As the inner solver it is for a g that is quadratic in y, which one step solves: see
    `bx.CG`.

    **Arguments:**

    - `block_size`: how all rows of data are read, as in `bx.FullBatch`.
    - `cutoff`: for a symmetric system that is singular: eigenvalues up to `cutoff` times
      the largest count as zero, and the solution is the one of least norm (the
      pseudo-inverse). Where the kernel is known, a `gauge` of the problem is better: no
      threshold then decides what is zero. 1e-10 is good in float64, 1e-5 in float32.

    >>> import bilevax as bx
    >>> bx.Direct()
    Direct(sampler=FullBatch(), cutoff=None)
    >>> flat = bx.MinProblem(lambda x, y: (y[0] + y[1] - x) ** 2 / 2 + x**2)
    >>> estimator = bx.Implicit(bx.GradientDescent(0.25, 10), bx.Direct(cutoff=1e-5))
    >>> float(bx.hypergradient(flat, estimator, 1.0, jax.numpy.zeros(2)).gradient)
    2.0
    """

    sampler: AbstractSampler
    cutoff: Scalar | None

    def __init__(self, *, block_size: BlockSize = "auto", cutoff: Number | None = None):
        self.sampler = FullBatch(block_size)
        self.cutoff = None if cutoff is None else as_positive("cutoff", cutoff)
        if self.cutoff is not None and not is_traced(self.cutoff) and self.cutoff >= 1:
            raise ValueError(f"cutoff must be between 0 and 1, got {cutoff}.")

    def init(self, equation, u):
        if not is_inner(equation):
            as_linear(equation)
        return SolverState.start((), self.sampler.init(equation.data), u)

    def solve(self, equation, u, state, key, k):
        if is_inner(equation):
            return solve_quadratic(self, equation, u, state, key, k)
        del u, k
        batch, _ = self.sampler.draw(equation.data, state.sampler, key)
        equation = as_linear(equation)
        rhs, unravel = ravel_pytree(equation.rhs)
        matrix = _matrix(equation.operator(batch), unravel, rhs)
        if self.cutoff is None:
            z, result = _solve(matrix, rhs, equation.symmetric)
        elif equation.symmetric:
            z, result = _pseudo_solve(matrix, rhs, self.cutoff)
        else:
            raise TypeError(_NEEDS_SYMMETRY)
        cost = equation.cost(rhs.size, self.sampler.rows(equation.data))
        watch = state.watch.begin().see(norm(matrix @ z - rhs))
        return unravel(z), state.with_watch(watch), cost, result


def _matrix(operator, unravel, rhs):
    """The dense matrix of the operator, one product a column."""
    column = lambda e: ravel_pytree(operator(unravel(e)))[0]
    return jax.vmap(column, out_axes=1)(jnp.eye(rhs.size, dtype=rhs.dtype))


def _solve(matrix, rhs, symmetric: bool):
    """The solution, and whether it is one.

    The system is first brought to unit scale, so that a coordinate much stiffer than the
    others is not mistaken for a singular matrix: symmetrically by its diagonal, or by its
    rows.
    """
    # A symmetric system is the Hessian of a minimum, or I minus a contraction.
    diagonal, rows = jnp.abs(jnp.diag(matrix)), jnp.max(jnp.abs(matrix), axis=1)
    size = jnp.sqrt(diagonal) if symmetric else rows
    size = jnp.where(size > 0, size, 1)
    unit = jnp.max(jnp.abs(rhs))
    unit = jnp.where(unit > 0, unit, 1)
    columns = size if symmetric else jnp.ones_like(size)
    scaled = matrix / size[:, None] / columns[None, :]
    tags = lx.positive_semidefinite_tag if symmetric else ()
    solver = lx.Cholesky() if symmetric else lx.LU()
    b = rhs / unit / size
    w = lx.linear_solve(lx.MatrixLinearOperator(scaled, tags), b, solver, throw=False).value
    return unit * w / columns, _result(scaled, w, b, symmetric)


def _pseudo_solve(matrix, rhs, cutoff):
    """The solution of least norm, and whether the matrix is positive beside its kernel."""
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
    threshold = jnp.asarray(cutoff, rhs.dtype) * jnp.max(jnp.abs(values))
    kept = jnp.abs(values) > threshold
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)
    z = vectors @ (inverse * (vectors.T @ rhs))
    negative = jnp.any(values < -threshold)
    finite = finite_or((matrix, rhs, z), Result.adjoint_nonfinite)
    indefinite = Result.where(negative, Result.indefinite, Result.successful)
    return z, first_failure(finite, indefinite)


def _result(matrix, w, b, symmetric: bool):
    eps = jnp.finfo(b.dtype).eps
    size = jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
    # |A| |w| / |b| is a lower bound on the condition number of A; at 1 / eps no digit is
    # left.
    sound = all_finite(w) & (eps * size * jnp.max(jnp.abs(w)) <= jnp.max(jnp.abs(b)))

    def diagnose():
        smallest = jnp.min(jnp.linalg.eigvalsh(matrix)) if symmetric else jnp.zeros(())
        negative = smallest < -eps * b.size * size
        return Result.where(negative, Result.indefinite, Result.singular)

    failed = jax.lax.cond(sound, lambda: Result.successful, diagnose)
    return first_failure(finite_or((matrix, b), Result.adjoint_nonfinite), failed)


_NEEDS_SYMMETRY = (
    "A cutoff is for symmetric systems: leave it out, or declare FixedPointProblem("
    "symmetric=True) where the map's Jacobian is symmetric."
)
