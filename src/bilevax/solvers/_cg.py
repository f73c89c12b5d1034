"""Conjugate gradient on the adjoint system, or on a quadratic inner problem."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._core.result import Result, first_failure
from .._core.tree import axpy, negative, norm, scale
from .._core.types import Function, Number, NumSteps, Scalar
from .._rows.samplers import AbstractSampler, BatchSize, as_sampler
from ._base import AbstractIterativeSolver, checked_num_steps
from ._equation import AbstractLinearEquation, as_linear
from ._metric import AbstractMetric, Measures, Plain, Preconditioned
from ._quadratic import at_start, is_inner, solve_quadratic
from ._tolerance import checked_tolerance

_Number = Float[Array, ""]


class _CGState(eqx.Module):
    residual: PyTree  # rhs - H z
    direction: PyTree
    size: _Number  # |residual|, here and below in the solver's metric
    rhs_size: _Number
    start_size: _Number  # the larger of |rhs| and the first |residual|
    stiffness: _Number  # the largest |H p| / |p| seen, a lower bound on |H|
    rhs_norm: _Number  # Euclidean, for the tolerance
    measures: Measures | None  # what the metric remembers
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

    As the inner solver it is for a g that is quadratic in y: it solves $H d = -\nabla_y g$
    from where it starts, and goes to y + d. There the gradient is compared with that of a
    quadratic; where it is not the same, the result is `bx.Result.not_quadratic`, and
    `bx.Newton` is what to use. `tol` is then relative to the gradient at the start.

    With a preconditioner $M \approx H^{-1}$, directions start from $M r$ in place of r, and
    $r^\top M r$ takes the place of $r^\top r$: the number of products goes with the
    condition of $M H$. `tol` is relative to the plain norm all the same.

    **Arguments:**

    - `num_steps`: products of one solve, an int of at least 1 or a function of the
      outer step k.
    - `tol`: stop when $\|r\| \le$ `tol` $\|\partial_y f\|$.
    - `batch_size`: rows of the batch: an int, a sampler, or `None` (all).
    - `must_converge`: end with `bx.Result.linear_max_steps` where `num_steps` did not
      reach `tol` or the rounding level; otherwise that is no failure.
    - `preconditioner`: a callable `preconditioner(x, y, r)` that applies a symmetric positive
      definite approximation of the inverse Hessian at (x, y) to r, which is like y, twice a
      product; the penalised problems of `bx.problems` have one, `task.preconditioner`. Its
      arrays are arguments of the compiled program where it is a pytree, an `equinox.Module`
      or a `jax.tree_util.Partial`, and constants where it is a plain function. One that is
      found not to be positive definite ends the solve with `bx.Result.preconditioner`.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> solver = bx.CG(num_steps=10, tol=1e-8)

    Penalties apart by eight orders of magnitude, in one product:

    >>> stiff = lambda x, y: jnp.sum(jnp.array([1e4, 1.0, 1e-4]) * (y - x) ** 2) / 2
    >>> problem = bx.BilevelProblem(lambda x, y: jnp.sum(y**2) / 2, stiff)
    >>> inverse = lambda x, y, r: r / jnp.array([1e4, 1.0, 1e-4])
    >>> estimator = bx.Implicit(bx.GradientDescent(1e-4, 1), bx.CG(1, preconditioner=inverse))
    >>> bx.hypergradient(problem, estimator, 1.0, jnp.ones(3)).gradient.round(4).item()
    3.0
    """

    num_steps: NumSteps
    tol: Scalar
    sampler: AbstractSampler
    preconditioner: Function | None
    must_converge: bool | None = eqx.field(static=True)

    one_batch_per_solve: ClassVar[bool] = True

    def __init__(
        self,
        num_steps: NumSteps,
        *,
        tol: Number = 0.0,
        batch_size: BatchSize = None,
        must_converge: bool | None = None,
        preconditioner: Function | None = None,
    ):
        if preconditioner is not None and not callable(preconditioner):
            raise TypeError(_NOT_CALLABLE.format(preconditioner))
        self.num_steps = checked_num_steps(num_steps)
        self.tol = checked_tolerance(tol)
        self.sampler = as_sampler(batch_size)
        self.preconditioner = preconditioner
        self.must_converge = must_converge

    @property
    def stops_early(self):
        return True

    def init(self, equation, u):
        return super().init(at_start(equation, u) if is_inner(equation) else equation, u)

    def solve(self, equation, u, state, key, k):
        if is_inner(equation):
            return solve_quadratic(self, equation, u, state, key, k)
        return super().solve(equation, u, state, key, k)

    def init_method(self, equation, u):
        equation = as_linear(equation)
        if not equation.symmetric:
            raise TypeError(_NOT_SYMMETRIC)
        return self._start(equation, None, equation.zeros())

    def begin(self, equation, u, state):
        equation = as_linear(equation)
        if u is None:
            started = self._start(equation, None, equation.rhs)
            return equation.zeros(), state.with_method(started), 0, 0
        residual = negative(equation.residual(u))
        return u, state.with_method(self._start(equation, u, residual)), 0, 1

    def step(self, equation, u, state, batch):
        equation, s = as_linear(equation), state.method
        metric = self._metric(equation)
        # Products of unit vectors and norms only: squares would over- and underflow.
        length = metric.length(s.direction, s.measures)
        p = scale(1 / length, s.direction)
        apply = equation.operator(batch)
        product = apply(p)
        curvature, steepness = _dot(p, product), metric.measure(product)
        stiffness = jnp.maximum(s.stiffness, steepness)
        a = s.size / length * s.size / curvature
        z = axpy(a, p, u)
        residual = axpy(-a, product, s.residual)
        reach = metric.reach(z, s.measures, a)

        clear = lambda: (jnp.array(True), residual, jnp.int32(0), Result.successful)
        seen = _Seen(product, curvature, steepness, stiffness)
        examine = lambda: _examine(apply, equation, metric, s, seen, z, residual)
        # Whether rounding is small beside p^T H p, and beside the system at z.
        noise = _eps(curvature) * stiffness
        plain = (curvature > noise) & (noise * reach <= s.start_size)
        sound, new, checks, breakdown = jax.lax.cond(plain, clear, examine)
        kept = lambda new, old: jax.tree.map(lambda n, o: jnp.where(sound, n, o), new, old)
        z, residual = kept((z, new), (u, s.residual))

        pulled = metric.pull(residual)
        size = metric.size(residual, pulled)
        share = (size / s.size) ** 2
        direction = axpy(share, s.direction, pulled)
        failure = first_failure(breakdown, metric.failure(residual, size))
        euclidean = norm(residual)
        floor = self._at_floor(euclidean, size, reach, stiffness, s)
        finished = ~sound | floor | (failure != Result.successful)
        method = _CGState(
            residual,
            direction,
            size,
            s.rhs_size,
            s.start_size,
            stiffness,
            s.rhs_norm,
            metric.after(reach, size, share * length),
            s.checks + checks,
            finished,
            failure,
        )
        return z, state.tick(method, euclidean)

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

    def _metric(self, equation: AbstractLinearEquation) -> AbstractMetric:
        """How residuals and directions are measured."""
        if self.preconditioner is None:
            return Plain()
        return Preconditioned(equation.inverse(self.preconditioner))

    def _start(self, equation, z, residual) -> _CGState:
        """The state before the first product."""
        metric, rhs = self._metric(equation), equation.rhs
        pulled = metric.pull(residual)
        size, euclidean, rhs_norm = metric.size(residual, pulled), norm(residual), norm(rhs)
        rhs_size = metric.measure(rhs)
        failure: Any = metric.failure(residual, size)
        solved = euclidean <= self._floor(rhs_norm)
        return _CGState(
            residual,
            pulled,
            size,
            rhs_size,
            jnp.maximum(size, rhs_size),
            jnp.zeros_like(size),
            rhs_norm,
            metric.start(z, optax.tree.sub(rhs, residual), size),
            jnp.int32(0),
            solved | (failure != Result.successful),
            failure,
        )

    def _floor(self, rhs_norm):
        relative = jnp.maximum(jnp.asarray(self.tol, rhs_norm.dtype), _eps(rhs_norm))
        return relative * rhs_norm

    def _at_floor(self, euclidean, size, reach, stiffness, s: _CGState):
        """Whether the residual is at the tolerance, or small and at the rounding level of H z.

        The level is that of the stiffest coordinate: it may be far above the residuals
        of the others, so it counts only where half the digits are there already.
        """
        rounding = _eps(size) * stiffness * reach
        rounding = jnp.minimum(rounding, math.sqrt(_eps(size)) * s.rhs_size)
        return (euclidean <= self._floor(s.rhs_norm)) | (size <= rounding)


class _Seen(NamedTuple):
    """What the product with a unit vector p tells."""

    product: PyTree  # H p
    curvature: _Number  # p^T H p
    steepness: _Number  # |H p|
    stiffness: _Number


def _examine(
    product: Callable,
    equation: AbstractLinearEquation,
    metric: AbstractMetric,
    s: _CGState,
    seen: _Seen,
    z: PyTree,
    residual: PyTree,
):
    """Whether a step that rounding may have spoiled is sound, and if not, why.

    A small curvature may be right, as where one coordinate is much stiffer than the
    others, or be rounding noise, which the step would blow up. If it is right, the
    recurrence's residual is the true one, and grows by the root of the condition number at
    most; the true one is carried on. If it is not, the curvature along H p tells a saddle
    from a kernel.
    """
    half = math.sqrt(_eps(s.size))  # of the digits

    def confirm():
        true_residual = optax.tree.sub(equation.rhs, product(z))
        close = metric.measure(optax.tree.sub(true_residual, residual)) <= 0.1 * s.size
        return close, true_residual, jnp.int32(1)

    def look_across():
        unit = jnp.where(seen.steepness > 0, 1 / seen.steepness, 0)
        along = scale(unit, metric.pull(seen.product))
        return _is_saddle(seen, _dot(along, product(along))), jnp.int32(1)

    likely = (seen.curvature > 0) & (half * metric.measure(residual) <= s.size)
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
_NOT_CALLABLE = (
    "preconditioner must be a callable (x, y, r) that applies an approximation of the inverse "
    "Hessian to r, got {!r}."
)
