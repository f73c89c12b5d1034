"""Conjugate gradient on the adjoint system."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Float, PyTree

from .._result import Result, first_failure
from .._sampling import AbstractSampler, as_sampler
from .._tree import as_scalar, axpy, float_dtype, negative
from .._types import BatchSize, NumSteps, Scalar
from ._base import AbstractIterativeSolver, check_num_steps

_Number = Float[Array, ""]


class _CGState(eqx.Module):
    residual: PyTree  # rhs - H z
    direction: PyTree
    square: _Number  # squared norm of the residual
    floor: _Number  # squared norm of the residual at which to stop
    stiffness: _Number  # the largest |H p| / |p| seen, a lower bound on |H|
    breakdown: Result


class CG(AbstractIterativeSolver):
    r"""Conjugate gradient on $H z = -\partial_y f$, from zero or from a warm start.

    Arbel and Mairal (2022, section 2): $r = b - H z$, $p = r$; then repeat
    $a = r^\top r / p^\top H p$; $z \mathrel{+}= a p$; $r' = r - a H p$;
    $p = r' + (r'^\top r' / r^\top r) p$. A warm start costs one product more than
    `num_steps`, for its first residual. With `batch_size` one batch is drawn for each
    solve and kept for all its products.

    It stops early where the residual has reached its floor (`tol`, or rounding), and
    with `bx.Result.indefinite` or `bx.Result.singular` where a direction's curvature is
    negative or vanishes next to the largest seen: never with a NaN.

    **Arguments:**

    - `num_steps`: products of one solve, an int of at least 1 or a function of the
      outer step k.
    - `tol`: stop when $\|r\| \le$ `tol` $\|\partial_y f\|$.
    - `batch_size`: rows of the batch: an int, a sampler, or `None` (all).

    >>> import bilevax as bx
    >>> solver = bx.CG(num_steps=10, tol=1e-8)
    """

    num_steps: NumSteps
    tol: Scalar
    sampler: AbstractSampler

    stops_early: ClassVar[bool] = True
    one_batch_per_solve: ClassVar[bool] = True

    def __init__(
        self,
        num_steps: NumSteps,
        tol: float = 0.0,
        batch_size: BatchSize = None,
    ):
        check_num_steps(num_steps)
        self.num_steps = num_steps
        self.tol = as_scalar(tol)
        self.sampler = as_sampler(batch_size)

    def init_method(self, equation, u):
        if not equation.symmetric:
            raise TypeError(_NOT_SYMMETRIC)
        return _start(equation.zeros(), jnp.zeros((), float_dtype(u)), 0.0)

    def begin(self, equation, u, state):
        rhs_square = _square(equation.rhs)
        if u is None:
            u, residual, calls = equation.zeros(), equation.rhs, 0
        else:
            residual, calls = negative(equation.residual(u)), 1
        return u, state.with_method(_start(residual, rhs_square, self.tol)), 0, calls

    def step(self, equation, u, state, batch):
        s = state.method
        product = equation.operator(batch)(s.direction)
        curvature = optax.tree.vdot(s.direction, product)
        length = _square(s.direction)
        stiffness = jnp.maximum(s.stiffness, jnp.sqrt(_square(product) / length))
        breakdown = _breakdown(curvature, length, stiffness)

        ok = breakdown == Result.successful
        a = jnp.where(ok, s.square / jnp.where(ok, curvature, 1), 0)
        residual = axpy(-a, product, s.residual)
        square = _square(residual)
        direction = axpy(square / s.square, s.direction, residual)
        return axpy(a, s.direction, u), state.tick(
            _CGState(residual, direction, square, s.floor, stiffness, breakdown)
        )

    def done(self, state):
        s = state.method
        return (s.square <= s.floor) | (s.breakdown != Result.successful)

    def result(self, equation, u, state):
        return first_failure(super().result(equation, u, state), state.method.breakdown)


def _start(residual, rhs_square, tol) -> _CGState:
    """The state before the first product."""
    square = _square(residual)
    info = jnp.finfo(square.dtype)
    # Below `tiny / eps` the squares of CG lose their digits to underflow, and a residual
    # at rounding level of the right-hand side cannot be reduced.
    relative = jnp.maximum(jnp.asarray(tol, square.dtype), info.eps)
    floor = jnp.maximum(relative**2 * rhs_square, info.tiny / info.eps)
    return _CGState(residual, residual, square, floor, 0 * square, Result.successful)


def _breakdown(curvature, length, stiffness):
    threshold = jnp.finfo(curvature.dtype).eps * stiffness * length
    result = Result.where(curvature > threshold, Result.successful, Result.singular)
    return Result.where(curvature < -threshold, Result.indefinite, result)


def _square(tree: PyTree) -> _Number:
    return jnp.asarray(optax.tree.vdot(tree, tree))


_NOT_SYMMETRIC = (
    "CG needs a symmetric adjoint system. If the Jacobian of the fixed-point map in y is "
    "symmetric, say so with `symmetric=True`; otherwise use bx.FixedPointIteration, "
    "bx.Neumann or bx.Direct."
)
