"""Conjugate gradient on the adjoint system."""

import math
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._core.result import Result, first_failure
from .._core.tree import axpy, negative, norm, scale
from .._core.types import Number, NumSteps, Scalar
from .._rows.samplers import AbstractSampler, BatchSize, as_sampler
from ._base import AbstractIterativeSolver, checked_num_steps
from ._equation import as_linear
from ._tolerance import checked_tolerance

_Number = Float[Array, ""]


class _CGState(eqx.Module):
    residual: PyTree  # rhs - H z
    direction: PyTree
    size: _Number  # |residual|
    rhs_size: _Number
    start_size: _Number  # the larger of |rhs| and the first |residual|
    stiffness: _Number  # the largest |H p| / |p| seen, a lower bound on |H|
    checks: Int[Array, ""]  # products spent on examining doubtful steps
    finished: Bool[Array, ""]
    breakdown: Result


class CG(AbstractIterativeSolver):
    r"""Conjugate gradient on $H z = -\partial_y f$, from zero or from a warm start.

    Arbel and Mairal (2022, section 2): $r = b - H z$, $p = r$; then repeat
    $a = r^\top r / p^\top H p$; $z \mathrel{+}= a p$; $r' = r - a H p$;
    $p = r' + (r'^\top r' / r^\top r) p$. A warm start costs one product more than
    `num_steps`, for its first residual. With `batch_size` one batch is drawn for each
    solve and kept for all its products.

    It stops early where the residual cannot be reduced further, being at `tol` or at
    the rounding level of $b$ and $H z$. Where rounding errors may spoil a step, next to a
    curvature that is negative or vanishes next to the largest seen, or at a z whose product
    they rule, a further product tells whether the step is sound. If not, the solve
    stops, unless the system is solved to half the digits already, and another product, with
    $H p$, says why: with `bx.Result.indefinite` where H takes both signs on the
    plane of p and $H p$ (of a semidefinite H, $p^\top H p = 0$ only where $H p = 0$), and
    with `bx.Result.singular` otherwise: never with a NaN. Norms and products of unit vectors
    neither under- nor overflow, whatever the scales of H and b.

    **Arguments:**

    - `num_steps`: products of one solve, an int of at least 1 or a function of the
      outer step k.
    - `tol`: stop when $\|r\| \le$ `tol` $\|\partial_y f\|$.
    - `batch_size`: rows of the batch: an int, a sampler, or `None` (all).
    - `must_converge`: end with `bx.Result.linear_max_steps` where `num_steps` did not
      reach `tol` or the rounding level; otherwise that is no failure.

    >>> import bilevax as bx
    >>> solver = bx.CG(num_steps=10, tol=1e-8)
    """

    num_steps: NumSteps
    tol: Scalar
    sampler: AbstractSampler
    must_converge: bool | None = eqx.field(static=True)

    one_batch_per_solve: ClassVar[bool] = True

    def __init__(
        self,
        num_steps: NumSteps,
        *,
        tol: Number = 0.0,
        batch_size: BatchSize = None,
        must_converge: bool | None = None,
    ):
        self.num_steps = checked_num_steps(num_steps)
        self.tol = checked_tolerance(tol)
        self.sampler = as_sampler(batch_size)
        self.must_converge = must_converge

    @property
    def stops_early(self):
        return True

    def init_method(self, equation, u):
        if not equation.symmetric:
            raise TypeError(_NOT_SYMMETRIC)
        zeros = as_linear(equation).zeros()
        return self._start(zeros, zeros)

    def begin(self, equation, u, state):
        equation = as_linear(equation)
        rhs = equation.rhs
        if u is None:
            return equation.zeros(), state.with_method(self._start(rhs, rhs)), 0, 0
        residual = negative(equation.residual(u))
        return u, state.with_method(self._start(residual, rhs)), 0, 1

    def step(self, equation, u, state, batch):
        equation, s = as_linear(equation), state.method
        # Products of unit vectors and norms only: squares would over- and underflow.
        length = norm(s.direction)
        p = scale(1 / length, s.direction)
        product = equation.operator(batch)(p)
        curvature, steepness = _dot(p, product), norm(product)
        stiffness = jnp.maximum(s.stiffness, steepness)
        a = s.size / length * s.size / curvature
        z = axpy(a, p, u)
        residual = axpy(-a, product, s.residual)

        clear = lambda: (jnp.array(True), residual, jnp.int32(0), Result.successful)
        seen = _Seen(product, curvature, steepness, stiffness)
        examine = lambda: _examine(equation, batch, s, seen, z, residual)
        # Whether rounding is small beside p^T H p, and beside the system at z.
        noise = _eps(curvature) * stiffness
        plain = (curvature > noise) & (noise * norm(z) <= s.start_size)
        sound, new, checks, breakdown = jax.lax.cond(plain, clear, examine)
        kept = lambda new, old: jax.tree.map(lambda n, o: jnp.where(sound, n, o), new, old)
        z, residual = kept((z, new), (u, s.residual))

        size = norm(residual)
        direction = axpy((size / s.size) ** 2, s.direction, residual)
        finished = ~sound | self._at_floor(z, size, s.rhs_size, stiffness)
        method = _CGState(
            residual,
            direction,
            size,
            s.rhs_size,
            s.start_size,
            stiffness,
            s.checks + checks,
            finished,
            breakdown,
        )
        return z, state.tick(method, size)

    def done(self, state):
        return state.method.finished

    def extra_calls(self, state):
        return state.method.checks

    def converged(self, state):
        return state.method.finished

    def required(self):
        return bool(self.must_converge)

    def shortfall(self, state, failure):
        if self.must_converge is False:
            return Result.successful
        short = (self.tol > 0) & ~state.watch.met
        return Result.where(short, failure, Result.successful)

    def diverged(self, equation, u, state):
        # Its residual may grow for a while on the way to the solution, and its breakdowns
        # are told apart.
        return jnp.array(False)

    def result(self, equation, u, state):
        return first_failure(super().result(equation, u, state), state.method.breakdown)

    def _start(self, residual, rhs) -> _CGState:
        """The state before the first product."""
        size, rhs_size = norm(residual), norm(rhs)
        sizes = size, rhs_size, jnp.maximum(size, rhs_size), jnp.zeros_like(size)
        solved = size <= self._floor(rhs_size)
        return _CGState(residual, residual, *sizes, jnp.int32(0), solved, Result.successful)

    def _floor(self, rhs_size):
        relative = jnp.maximum(jnp.asarray(self.tol, rhs_size.dtype), _eps(rhs_size))
        return relative * rhs_size

    def _at_floor(self, z, size, rhs_size, stiffness):
        """Whether the residual is at the tolerance, or small and at the rounding level of H z.

        The level is that of the stiffest coordinate: it may be far above the residuals
        of the others, so it counts only where half the digits are there already.
        """
        rounding = _eps(size) * stiffness * norm(z)
        rounding = jnp.minimum(rounding, math.sqrt(_eps(size)) * rhs_size)
        return size <= jnp.maximum(self._floor(rhs_size), rounding)


class _Seen(NamedTuple):
    """What the product with a unit vector p tells."""

    product: PyTree  # H p
    curvature: _Number  # p^T H p
    steepness: _Number  # |H p|
    stiffness: _Number


def _examine(equation, batch, s: _CGState, seen: _Seen, z, residual):
    """Whether a step that rounding may have spoiled is sound, and if not, why.

    A small curvature may be right, as where one coordinate is much stiffer than the
    others, or be rounding noise, which the step would blow up. If it is right, the
    recurrence's residual is the true one, and grows by the root of the condition number at
    most; the true one is carried on. If it is not, the curvature along H p tells a saddle
    from a kernel.
    """
    product, half = equation.operator(batch), math.sqrt(_eps(s.size))  # of the digits

    def confirm():
        true_residual = optax.tree.sub(equation.rhs, product(z))
        close = norm(optax.tree.sub(true_residual, residual)) <= 0.1 * s.size
        return close, true_residual, jnp.int32(1)

    def look_across():
        along = scale(jnp.where(seen.steepness > 0, 1 / seen.steepness, 0), seen.product)
        return _is_saddle(seen, _dot(along, product(along))), jnp.int32(1)

    likely = (seen.curvature > 0) & (half * norm(residual) <= s.size)
    unlikely = lambda: (jnp.array(False), residual, jnp.int32(0))
    sound, residual, checks = jax.lax.cond(likely, confirm, unlikely)
    fine = sound | (s.size <= half * s.rhs_size)  # or solved already
    nothing = lambda: (jnp.array(False), jnp.int32(0))
    saddle, more = jax.lax.cond(fine, nothing, look_across)
    failure = Result.where(saddle, Result.indefinite, Result.singular)
    failure = Result.where(fine, Result.successful, failure)
    failure = Result.where(jnp.isfinite(seen.curvature), failure, Result.adjoint_nonfinite)
    return sound, residual, checks + more, failure


def _is_saddle(seen: _Seen, across: _Number) -> Bool[Array, ""]:
    """Whether H, on the plane of p and H p, has a negative eigenvalue beyond rounding.

    There its entries are p^T H p, |H p| and the curvature along H p. Without the last,
    p^T H p = 0 would be no kernel either, but rounded it is not 0.
    """
    unit = jnp.maximum(seen.stiffness, jnp.abs(across))
    first, mixed, last = (v / unit for v in (seen.curvature, seen.steepness, across))
    lift = _ROUNDINGS * _eps(unit)
    first, last = first + lift, last + lift
    return (first < 0) | (last < 0) | (first * last < mixed**2)


def _dot(a: PyTree, b: PyTree) -> _Number:
    return jnp.asarray(optax.tree.vdot(a, b))


def _eps(number: _Number) -> float:
    return float(jnp.finfo(number.dtype).eps)


# Of so many unit roundoffs, next to |H|, a product may be wrong.
_ROUNDINGS = 8

_NOT_SYMMETRIC = (
    "CG needs a symmetric adjoint system. If the Jacobian of the fixed-point map in y is "
    "symmetric, say so with `symmetric=True`; otherwise use bx.FixedPointIteration, "
    "bx.Neumann or bx.Direct."
)
