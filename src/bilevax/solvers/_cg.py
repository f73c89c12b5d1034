"""Conjugate gradient on the adjoint system."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._result import Result, first_failure
from .._sampling import AbstractSampler, as_sampler
from .._tree import axpy, negative, scale
from .._types import BatchSize, Number, NumSteps, Scalar
from ._base import AbstractIterativeSolver, checked_num_steps
from ._tolerance import checked_tolerance

_Number = Float[Array, ""]


class _CGState(eqx.Module):
    residual: PyTree  # rhs - H z
    direction: PyTree
    square: _Number  # squared norm of the residual, in units of `unit`
    rhs_square: _Number
    unit: _Number  # the scale of the system, so that squares neither under- nor overflow
    stiffness: _Number  # the largest |H p| / |p| seen, a lower bound on |H|
    checks: Int[Array, ""]  # products spent on confirming a small curvature
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
    the rounding level of $b$ and $H z$. Where a direction's curvature is negative it stops with
    `bx.Result.indefinite`; where it vanishes next to the largest seen, and a further
    product confirms that the step would only amplify rounding errors, with
    `bx.Result.singular`, unless the system is solved to half the digits already: never
    with a NaN.

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
        return self._start(equation.zeros(), equation.zeros())

    def begin(self, equation, u, state):
        rhs = equation.rhs
        if u is None:
            return equation.zeros(), state.with_method(self._start(rhs, rhs)), 0, 0
        residual = negative(equation.residual(u))
        return u, state.with_method(self._start(residual, rhs)), 0, 1

    def step(self, equation, u, state, batch):
        s = state.method
        product = equation.operator(batch)(s.direction)
        curvature = _dot(s.direction, product, s.unit)
        length = _dot(s.direction, s.direction, s.unit)
        steepness = jnp.sqrt(_dot(product, product, s.unit) / length)
        stiffness = jnp.maximum(s.stiffness, steepness)
        a = s.square / curvature
        z = axpy(a, s.direction, u)
        residual = axpy(-a, product, s.residual)

        noise = _eps(curvature) * stiffness * length
        clear = lambda: (jnp.array(True), jnp.int32(0), Result.successful)
        examine = lambda: _examine(equation, batch, s, curvature, noise, z, residual)
        sound, checks, breakdown = jax.lax.cond(curvature > noise, clear, examine)
        kept = lambda new, old: jax.tree.map(lambda n, o: jnp.where(sound, n, o), new, old)
        z, residual = kept((z, residual), (u, s.residual))

        square = _dot(residual, residual, s.unit)
        direction = axpy(square / s.square, s.direction, residual)
        finished = ~sound | self._at_floor(z, square, s, stiffness)
        method = _CGState(
            residual,
            direction,
            square,
            s.rhs_square,
            s.unit,
            stiffness,
            s.checks + checks,
            finished,
            breakdown,
        )
        return z, state.tick(method, s.unit * jnp.sqrt(square))

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
        unit = jnp.asarray(optax.tree.max(jax.tree.map(jnp.abs, (residual, rhs))))
        unit = jnp.where(unit > 0, unit, 1)
        square, rhs_square = _dot(residual, residual, unit), _dot(rhs, rhs, unit)
        none = jnp.zeros_like(square)
        solved = square <= self._floor(rhs_square)
        state = residual, residual, square, rhs_square, unit, none, jnp.int32(0), solved
        return _CGState(*state, Result.successful)

    def _floor(self, rhs_square):
        relative = jnp.maximum(jnp.asarray(self.tol, rhs_square.dtype), _eps(rhs_square))
        return relative**2 * rhs_square

    def _at_floor(self, z, square, s: _CGState, stiffness):
        """Whether the residual is at the tolerance, or small and at the rounding level of H z.

        The level is that of the stiffest coordinate: it may be far above the residuals
        of the others, so it counts only where half the digits are there already.
        """
        rounding = (_eps(square) * stiffness) ** 2 * _dot(z, z, s.unit)
        rounding = jnp.minimum(rounding, _eps(square) * s.rhs_square)
        return square <= jnp.maximum(self._floor(s.rhs_square), rounding)


def _examine(equation, batch, s: _CGState, curvature, noise, z, residual):
    """Whether a step along a direction of little curvature is sound, and if not, why.

    A small curvature may be right, as where one coordinate is much stiffer than the
    others, or be rounding noise, which the step would blow up. If it is right, the
    recurrence's residual is the true one.
    """
    true_residual = negative(equation.residual(z, batch))
    deviation = optax.tree.sub(true_residual, residual)
    confirmed = _dot(deviation, deviation, s.unit) <= 0.01 * s.square
    sound = (curvature > 0) & confirmed
    solved = s.square <= _eps(s.square) * s.rhs_square
    failure = Result.where(curvature < -noise, Result.indefinite, Result.singular)
    failure = Result.where(sound | solved, Result.successful, failure)
    failure = Result.where(jnp.isfinite(curvature), failure, Result.adjoint_nonfinite)
    return sound, jnp.int32(1), failure


def _dot(a: PyTree, b: PyTree, unit: _Number) -> _Number:
    """The inner product in units of `unit` squared."""
    return jnp.asarray(optax.tree.vdot(scale(1 / unit, a), scale(1 / unit, b)))


def _eps(number: _Number) -> float:
    return float(jnp.finfo(number.dtype).eps)


_NOT_SYMMETRIC = (
    "CG needs a symmetric adjoint system. If the Jacobian of the fixed-point map in y is "
    "symmetric, say so with `symmetric=True`; otherwise use bx.FixedPointIteration, "
    "bx.Neumann or bx.Direct."
)
