"""Newton's method and conjugate gradient for many independent problems at once.

The leaves of y have a leading axis of problems that share x and nothing else. Each has its
own inner products, steps and line search, and they share every product with the data: a
joint conjugate gradient would have to resolve the eigenvalues of all of them.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._core.cost import Cost
from .._core.result import Result, finite_or, first_failure
from .._core.tree import cast, float_dtype, negative, norm
from .._core.types import Scalar
from .._rows.sampler import AbstractSampler
from .._rows.samplers import FullBatch
from ._base import AbstractSolver, SolverState
from ._equation import as_linear
from ._tolerance import checked_tolerance

_Each = Float[Array, "problems"]
# Armijo's share of the decrease that the slope promises; steps shorter than this are none.
_SHARE, _SHORTEST = 1e-4, 1e-10


def dots(a: PyTree, b: PyTree) -> _Each:
    """Each problem's inner product."""
    sums = jax.tree.map(lambda x, y: jnp.sum(x * y, axis=tuple(range(1, x.ndim))), a, b)
    return jnp.sum(jnp.stack(jax.tree.leaves(sums)), axis=0)


def moved(u: PyTree, lengths: _Each, direction: PyTree) -> PyTree:
    """u plus each problem's length times its direction."""
    return jax.tree.map(lambda u, d: u + _beside(lengths, d) * d, u, direction)


def _beside(each: Array, leaf: Array) -> Array:
    """A number of each problem, in the shape of its part of a leaf."""
    return each.reshape((-1,) + (1,) * (leaf.ndim - 1))


class _Progress(NamedTuple):
    """Of conjugate gradient: `size` is r^T M r, the square of the residual's length; `stuck`
    are systems that have met a direction without curvature."""

    count: Int[Array, ""]
    z: PyTree
    residual: PyTree
    direction: PyTree
    size: _Each
    stuck: Bool[Array, "problems"]


def solve_separately(
    hvp: Callable, precondition: Callable, rhs: PyTree, start: PyTree | None, goal: _Each, most
) -> _Progress:
    r"""Preconditioned conjugate gradient on each system until $r^\top M r$ is at its goal.

    A direction along which curvature is not positive ends its system's solve short of that.
    """
    # From a start, whose product stands in the program where those of directions do: the step
    # before the first goes there.
    begun = jnp.int32(0 if start is None else -1)
    direction = precondition(rhs) if start is None else start
    size = dots(rhs, direction) if start is None else jnp.full_like(goal, jnp.inf)
    zeros, stuck = optax.tree.zeros_like(rhs), jnp.zeros(goal.shape, bool)
    first = _Progress(begun, zeros, rhs, direction, size, stuck)
    wanting = lambda s: (s.size > goal) & ~s.stuck

    def step(s: _Progress) -> _Progress:
        product = hvp(s.direction)
        curvature, goes = dots(s.direction, product), s.count < 0
        active = wanting(s) & ((curvature > 0) | goes)
        along = jnp.where(active, s.size / jnp.where(active, curvature, 1), 0)
        length = jnp.where(goes, 1, along)
        residual = moved(s.residual, -length, product)
        conditioned = precondition(residual)
        size = dots(residual, conditioned)
        share = jnp.where(active & ~goes, size / jnp.where(active, s.size, 1), 0)
        z, direction = moved(s.z, length, s.direction), moved(conditioned, share, s.direction)
        stuck = s.stuck | (wanting(s) & ~active)
        size = jnp.where(active, size, s.size)
        return _Progress(s.count + 1, z, residual, direction, size, stuck)

    unfinished = lambda s: (s.count < most) & jnp.any(wanting(s))
    return jax.lax.while_loop(unfinished, step, first)


class AbstractPreconditioner(eqx.Module):
    """Makes an approximate inverse of the Hessian: `(x, y) -> (r -> M r)`.

    What it makes is a pytree, whose arrays can be cast.
    """

    @property
    @abc.abstractmethod
    def depends_on_y(self) -> bool:
        """Whether it is another one at another y."""

    @abc.abstractmethod
    def __call__(self, x: PyTree, y: PyTree) -> Callable[[PyTree], PyTree]:
        """The map at x and y."""


class AbstractSeparable(AbstractSolver):
    """What both solvers share: a preconditioner, all rows, the precision of products."""

    preconditioner: eqx.AbstractVar[AbstractPreconditioner]
    single: eqx.AbstractVar[bool]

    def lowered(self, tree: PyTree) -> PyTree:
        """In the precision of the products of conjugate gradient."""
        return cast(tree, jnp.float32) if self.single else tree

    def init(self, equation, u):
        return SolverState.start((), self.sampler.init(equation.data), u)

    def rows(self, equation) -> int:
        """Rows that a call reads."""
        return self.sampler.rows(equation.data)


class SeparableCG(AbstractSeparable):
    r"""Each adjoint system by preconditioned conjugate gradient.

    **Arguments:**

    - `preconditioner`: an `AbstractPreconditioner`.
    - `num_steps`: the most products of a solve.
    - `tol`: stop where $r^\top M r \le$ `tol`$^2 b^\top M b$ in every system.
    - `single`: whether to compute in single precision, twice as fast, for a `tol` well above
      its rounding.
    """

    preconditioner: AbstractPreconditioner
    num_steps: int = eqx.field(static=True)
    tol: Scalar = eqx.field(converter=checked_tolerance)
    single: bool = eqx.field(static=True, default=False)
    sampler: AbstractSampler = FullBatch(None)

    one_batch_per_solve: ClassVar[bool] = True

    def solve(self, equation, u, state, key, k):
        del k
        batch, _ = self.sampler.draw(equation.data, state.sampler, key)
        linear: Any = as_linear(equation)
        precondition = self.lowered(self.preconditioner(linear.x, linear.y))
        batch = self.lowered(batch)
        system = self.lowered(linear).fix(batch)
        rhs, start = system.rhs, self.lowered(u)
        size = dots(rhs, precondition(rhs))
        goal = jnp.asarray(self.tol**2, size.dtype) * size
        done = solve_separately(
            system.operator(batch), precondition, rhs, start, goal, self.num_steps
        )
        z = cast(done.z, float_dtype(linear.y))
        calls = done.count + int(u is not None)
        short = jnp.any(~(done.size <= goal))
        result = first_failure(
            finite_or(z, system.nonfinite),
            Result.where(short, system.unconverged, Result.successful),
        )
        watch = state.watch.begin().see(norm(cast(done.residual, float_dtype(z))))
        return (
            z,
            state.with_watch(watch),
            system.cost(calls, self.rows(system)),
            result,
        )


class _Point(NamedTuple):
    """Where the problems are, their values and their gradients."""

    y: PyTree
    values: _Each
    gradient: PyTree


class _Iterate(NamedTuple):
    count: Int[Array, ""]
    point: _Point
    decrement: _Each  # F^T M F, twice what a Newton step is expected to gain
    direction: PyTree  # of that step, which the next iterate takes
    products: Int[Array, ""]
    trials: Int[Array, ""]


class SeparableNewton(AbstractSeparable):
    r"""Newton's method on each problem, with conjugate gradient and a line search.

    It starts at y, or at zero where that is lower: of a model whose penalties have changed much
    rows can be wrong and sure of it, and have slopes without curvature to step by.

    It stops where $F^\top M F / 2 \le$ `tol` for every problem: with the inverse Hessian
    for M that is what is left to gain, in the units of g, whatever the scale of y.
    The inner objective says each problem's own value: `inner.by_model(x, y, batch)`.

    **Arguments:**

    - `preconditioner`, `num_steps` (of Newton's method): as in `SeparableCG`.
    - `tol`: in units of g.
    - `num_products`: the most products of one Newton step.
    - `single`: whether these are in single precision, twice as fast. Gradients and values
      are not, so that it ends where it otherwise does, by a step or two more.
    """

    preconditioner: AbstractPreconditioner
    num_steps: int = eqx.field(static=True)
    tol: Scalar = eqx.field(converter=checked_tolerance)
    num_products: int = eqx.field(static=True, default=200)
    single: bool = eqx.field(static=True, default=False)
    sampler: AbstractSampler = FullBatch(None)

    def solve(self, equation, u, state, key, k):
        del k
        batch, _ = self.sampler.draw(equation.data, state.sampler, key)
        inner: Any = equation
        given = inner.problem, inner.x, batch.rows
        at = _evaluation(_values(*given))
        low_gradient = _gradient(_values(*self.lowered(given)))
        goal, dtype = 2 * self.tol, float_dtype(u)
        first = _lower(at, u, optax.tree.zeros_like(u))

        at_start = self.preconditioner(inner.x, first.y)
        fresh = self.preconditioner.depends_on_y

        def step(s: _Iterate) -> _Iterate:
            point, trials = _line_search(at, s)
            y, F = point.y, point.gradient
            _, hvp = jax.linearize(low_gradient, self.lowered(y))
            precondition = self.preconditioner(inner.x, y) if fresh else at_start
            precondition, rhs = self.lowered(precondition), self.lowered(negative(F))
            decrement = dots(rhs, precondition(rhs))
            # Solved the more accurately, the nearer the end is; what is there stays there.
            share = jnp.minimum(0.1, jnp.sqrt(decrement)) ** 2
            accuracy = jnp.maximum(share * decrement, jnp.asarray(0.1 * goal, share.dtype))
            accuracy = jnp.where(cast(decrement, dtype) > goal, accuracy, jnp.inf)
            solved = solve_separately(hvp, precondition, rhs, None, accuracy, self.num_products)
            products, trials = s.products + solved.count, s.trials + trials
            decrement, direction = cast((decrement, solved.z), dtype)
            return _Iterate(s.count + 1, point, decrement, direction, products, trials)

        none, two, zeros = jnp.int32(0), jnp.int32(2), optax.tree.zeros_like(u)
        unknown = jnp.full_like(first.values, jnp.inf)
        start = _Iterate(none, first, unknown, zeros, none, two)
        unfinished = lambda s: (s.count <= self.num_steps) & jnp.any(s.decrement > goal)
        end = jax.lax.while_loop(unfinished, step, start)
        y, _, gradient = end.point
        short = jnp.any(~(end.decrement <= goal))
        result = first_failure(
            finite_or(y, equation.nonfinite),
            Result.where(short, equation.unconverged, Result.successful),
        )
        watch = state.watch.begin().see(norm(gradient))
        rows = self.rows(equation)
        gradients = Cost.of("inner_gradient", end.trials, rows)
        return (
            y,
            state.with_watch(watch),
            gradients + Cost.of("hvp", end.products, rows),
            result,
        )


def _values(problem, x: PyTree, rows: Any) -> Callable[[PyTree], _Each]:
    return lambda y: problem.inner.by_model(x, y, rows)


def _gradient(values: Callable[[PyTree], _Each]) -> Callable[[PyTree], PyTree]:
    return jax.grad(lambda y: jnp.sum(values(y)))


def _evaluation(values: Callable[[PyTree], _Each]) -> Callable[[PyTree], _Point]:
    def at(y):
        found, pull = jax.vjp(values, y)
        return _Point(y, found, pull(jnp.ones_like(found))[0])

    return at


def _lower(at: Callable[[PyTree], _Point], u: PyTree, other: PyTree) -> _Point:
    """Each problem's lower one of two points, with its own value and gradient there."""
    # A loop, that the evaluation stands in the program once.
    points = jax.lax.map(at, jax.tree.map(lambda *two: jnp.stack(two), u, other))
    better = points.values[1] < points.values[0]
    return jax.tree.map(lambda p: jnp.where(_beside(better, p[1]), p[1], p[0]), points)


def _line_search(at: Callable[[PyTree], _Point], s: _Iterate):
    """Each problem's own step, halved until its value decreases; and how many were tried."""
    slope = dots(s.point.gradient, s.direction)
    values = s.point.values
    rounding = 16 * jnp.finfo(slope.dtype).eps * jnp.abs(values)
    enough = lambda lengths, found: found <= values + _SHARE * lengths * slope + rounding

    def unfinished(c):
        lengths, point, _ = c
        return jnp.any(~enough(lengths, point.values) & (lengths > _SHORTEST))

    def halve(c):
        lengths, point, count = c
        lengths = jnp.where(enough(lengths, point.values), lengths, lengths / 2)
        return lengths, at(moved(s.point.y, lengths, s.direction)), count + 1

    # Twice the whole step, and nothing known of it; but the first direction leads nowhere.
    moves = s.count > 0
    lengths = jnp.full_like(slope, jnp.where(moves, 2, 0))
    known = jnp.where(moves, jnp.nan, values)
    start = lengths, s.point._replace(values=known), jnp.int32(0)
    _, point, count = jax.lax.while_loop(unfinished, halve, start)
    return point, count
