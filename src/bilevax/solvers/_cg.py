"""Conjugate gradient on the adjoint system, or on a quadratic inner problem."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._core.in_order import in_order
from .._core.result import Result, first_failure
from .._core.tree import axpy, negative, norm, scale
from .._core.types import Function, Number, NumSteps, Scalar
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, as_sampler
from ._base import AbstractIterativeSolver, checked_num_steps
from ._metric import AbstractMetric, Pair, Plain, Preconditioned, dot, power_of_two
from ._quadratic import at_start, is_inner, solve_quadratic
from ._tolerance import checked_tolerance
from ._vectors import Vectors

_Number = Float[Array, ""]


class _CGState(eqx.Module):
    """Residuals and directions are divided by `unit`, near the first residual, once a solve:
    their squares neither over- nor underflow before they are far below its rounding."""

    residual: PyTree  # rhs - H z
    direction: PyTree
    unit: _Number
    weight: _Number  # of the metric, in which all that follows is measured
    square: _Number  # |residual|^2
    length: _Number  # |direction|^2
    reach: _Number  # |z|, or more: of where it started, and of all steps since
    rhs_size: _Number
    start_size: _Number  # the larger of |rhs| and the first |residual|
    stiffness: _Number  # the largest |H p| / |p| seen, a lower bound on |H|
    rhs_norm: _Number  # Euclidean, and not divided, for the tolerance
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
    with `bx.Result.singular` otherwise: never with a NaN. Nothing over- or underflows, whatever
    the scales of H and b: a solve divides its residuals by one power of two, and takes the
    steps where that is not enough along unit vectors.

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
    # A residual may grow for a while on the way to the solution; breakdowns are told apart.
    growth_tells: ClassVar[bool] = False

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
        z, state, cost, result = super().solve(equation, u, state, key, k)
        return Vectors.of(equation).split(z), state, cost, result

    def init_method(self, equation, u):
        system = Vectors.of(equation)
        if not equation.symmetric:
            raise TypeError(_NOT_SYMMETRIC)
        return self._start(system, None, system.zeros())

    def begin(self, equation, u, state):
        system = Vectors.of(equation)
        if u is None:
            started = self._start(system, None, system.rhs)
            return system.zeros(), state.with_method(started), 0, 0
        residual, u = system.join(negative(equation.residual(u))), system.join(u)
        return u, state.with_method(self._start(system, u, residual)), 0, 1

    def step(self, equation, u, state, batch):
        system, s = Vectors.of(equation), state.method
        metric = self._metric(system, s.weight)
        apply = system.operator(batch)
        # What a preconditioner works out of x and y, XLA takes out of the loop if it can.
        part = in_order if self.preconditioner is None else lambda function: function
        product, step, plain = part(_plainly)(part, apply, metric, s, u)
        carefully = lambda: _step_carefully(apply, system.rhs, metric, s, u, product)
        step = jax.lax.cond(plain, lambda: step, carefully)
        method, euclidean = part(self._after)(metric, s, step)
        return step.z, state.with_watch(state.watch.at(euclidean)).tick(method)

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

    def result(self, equation, u, state):
        return first_failure(super().result(equation, u, state), state.method.breakdown)

    def _metric(self, system: Vectors, weight: _Number) -> AbstractMetric:
        """How residuals and directions are measured."""
        if self.preconditioner is None:
            return Plain()
        return Preconditioned(system.inverse(self.preconditioner), weight)

    def _start(self, system: Vectors, z, residual) -> _CGState:
        """The state before the first product."""
        rhs, first = system.rhs, norm(residual)
        unit, one = power_of_two(first), jnp.ones_like(first)
        # Of zeros that it knows, XLA would take the square of 1 / unit, which overflows.
        r = jax.lax.optimization_barrier(scale(1 / unit, residual))
        weight = self._metric(system, one).weight_at(r)
        metric = self._metric(system, weight)
        pair = metric.pair(r)
        square, rhs_size = metric.square(pair), metric.size(rhs) / unit
        size, reach, rhs_norm = jnp.sqrt(square), jnp.zeros_like(first), norm(rhs)
        if z is not None:
            reach = metric.reach(z, optax.tree.sub(rhs, residual)) / unit
        failure: Any = metric.failure(square, first)
        solved = first <= self._floor(rhs_norm)
        return _CGState(
            r,
            pair[-1],
            unit,
            weight,
            square,
            square,
            reach,
            rhs_size,
            jnp.maximum(size, rhs_size),
            jnp.zeros_like(size),
            rhs_norm,
            jnp.int32(0),
            solved | (failure != Result.successful),
            failure,
        )

    def _after(self, metric: AbstractMetric, s: _CGState, step: "_Step"):
        """The state after a step, and the Euclidean norm of its residual."""
        share = step.square / s.square
        scaled = metric.euclidean(step.pair, step.square)
        euclidean = s.unit * scaled
        failure = first_failure(step.breakdown, metric.failure(step.square, scaled))
        floor = (euclidean <= self._floor(s.rhs_norm)) | self._at_rounding(s, step)
        method = _CGState(
            step.pair[0],
            axpy(share, s.direction, step.pair[-1]),
            s.unit,
            s.weight,
            step.square,
            # A residual is orthogonal to the directions before it.
            step.square + share**2 * s.length,
            step.reach,
            s.rhs_size,
            s.start_size,
            step.stiffness,
            s.rhs_norm,
            step.checks,
            ~step.sound | floor | (failure != Result.successful),
            failure,
        )
        return method, euclidean

    def _floor(self, rhs_norm):
        relative = jnp.maximum(jnp.asarray(self.tol, rhs_norm.dtype), _eps(rhs_norm))
        return relative * rhs_norm

    def _at_rounding(self, s: _CGState, step: "_Step"):
        """Whether the residual is small and at the rounding level of H z, or of its own start.

        The level of H z is that of the stiffest coordinate: it may be far above the residuals
        of the others, so it counts only where half the digits are there already.
        """
        eps = _eps(step.square)
        rounding = jnp.minimum(eps * step.stiffness * step.reach, math.sqrt(eps) * s.rhs_size)
        return jnp.sqrt(step.square) <= jnp.maximum(rounding, eps**2 * s.start_size)


class _Step(NamedTuple):
    """Where a step leads, and what it tells."""

    z: PyTree
    pair: Pair
    square: _Number
    stiffness: _Number
    reach: _Number
    checks: Int[Array, ""]  # all so far
    sound: Bool[Array, ""]
    breakdown: Any


def _plainly(
    part: Callable, apply: Callable, metric: AbstractMetric, s: _CGState, u: PyTree
) -> tuple[PyTree, _Step, Bool[Array, ""]]:
    """H p, the step along p, and whether rounding is small beside p^T H p, which did not
    underflow, and beside the system at z."""
    product = part(apply)(s.direction)
    curvature, length = part(_along)(s, product)
    step = part(_stepped)(metric, s, u, product, length)
    noise = _eps(curvature) * step.stiffness
    least = float(jnp.finfo(curvature.dtype).tiny) / _eps(curvature)
    # Nothing here is true of a NaN.
    enough = curvature > jnp.maximum(noise * s.length, least)
    return product, step, enough & (noise * step.reach <= s.start_size)


def _along(s: _CGState, product: PyTree) -> tuple[_Number, _Number]:
    """The curvature along the direction, and how far the step goes."""
    curvature = dot(s.direction, product)
    return curvature, s.square / curvature


def _stepped(
    metric: AbstractMetric, s: _CGState, u: PyTree, product: PyTree, length: _Number
) -> _Step:
    """A step of that length, all its numbers taken for what they are."""
    residual = axpy(-length, product, s.residual)
    pair = metric.pair(residual)
    square = metric.square(pair)
    # Residuals in turn are orthogonal, so that this is |H p| / |p| without its square.
    steepness = jnp.sqrt((s.square + square) / s.length) / length
    stiffness = jnp.maximum(s.stiffness, steepness)
    reach = s.reach + length * jnp.sqrt(s.length)
    z = axpy(length * s.unit, s.direction, u)
    return _Step(
        z, pair, square, stiffness, reach, s.checks, jnp.array(True), Result.successful
    )


def _step_carefully(
    product: Callable,
    rhs: PyTree,
    metric: AbstractMetric,
    s: _CGState,
    u: PyTree,
    along: PyTree,
) -> _Step:
    """The same step, of products of unit vectors and norms only: squares would over- and
    underflow. What rounding may have spoiled is examined."""
    long = jnp.sqrt(s.length)
    p, product_p = scale(1 / long, s.direction), scale(1 / long, along)
    curvature, steepness = dot(p, product_p), metric.size(product_p)
    stiffness = jnp.maximum(s.stiffness, steepness)
    length = s.square / long / curvature
    z = axpy(length * s.unit, p, u)
    residual = axpy(-length, product_p, s.residual)
    reach = s.reach + jnp.abs(length)
    noise = _eps(curvature) * stiffness
    plain = (curvature > noise) & (noise * reach <= s.start_size)
    clear = lambda: (jnp.array(True), residual, jnp.int32(0), Result.successful)
    seen = _Seen(product_p, curvature, steepness, stiffness)
    examine = lambda: _examine(product, rhs, metric, s, seen, z, residual)
    sound, residual, checks, breakdown = jax.lax.cond(plain, clear, examine)
    kept = lambda new, old: jax.tree.map(lambda n, o: jnp.where(sound, n, o), new, old)
    z, residual = kept((z, residual), (u, s.residual))
    pair = metric.pair(residual)
    square = metric.square(pair)
    return _Step(z, pair, square, stiffness, reach, s.checks + checks, sound, breakdown)


class _Seen(NamedTuple):
    """What the product with a unit vector p tells."""

    product: PyTree  # H p
    curvature: _Number  # p^T H p
    steepness: _Number  # |H p|
    stiffness: _Number


def _examine(
    product: Callable,
    rhs: PyTree,
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
    half, size = math.sqrt(_eps(s.square)), jnp.sqrt(s.square)  # half of the digits
    likely = (seen.curvature > 0) & (half * metric.size(residual) <= size)
    solved = size <= half * s.rhs_size
    unit = jnp.where(seen.steepness > 0, 1 / seen.steepness, 0)
    across = scale(unit, metric.pair(seen.product)[-1])
    no = jnp.array(False)

    def confirm(image):
        # Products are of vectors of any scale, the right-hand side's is that of residuals.
        true_residual = scale(1 / s.unit, optax.tree.sub(rhs, image))
        close = metric.size(optax.tree.sub(true_residual, residual)) <= 0.1 * size
        return close, true_residual, no

    def look_across(image, sound, residual):
        return sound, residual, _is_saddle(seen, dot(across, image))

    def ask(asked):
        """One product more, of z where it may confirm the step, else across."""
        index, _, (sound, residual, _) = asked
        confirms = likely & (index == 0)
        image = product(jax.tree.map(partial(jnp.where, confirms), z, across))
        told = jax.lax.cond(
            confirms,
            lambda: confirm(image),
            lambda: look_across(image, sound, residual),
        )
        return index + 1, confirms & ~told[0] & ~solved, told

    # At most two, of which one stands in the program.
    start = jnp.int32(0), likely | ~solved, (no, residual, no)
    checks, _, (sound, residual, saddle) = jax.lax.while_loop(lambda c: c[1], ask, start)
    failure = Result.where(saddle, Result.indefinite, Result.singular)
    failure = Result.where(sound | solved, Result.successful, failure)
    failure = Result.where(jnp.isfinite(seen.curvature), failure, Result.adjoint_nonfinite)
    return sound, residual, checks, failure


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
