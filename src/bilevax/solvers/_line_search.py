"""A backtracking line search that goes on where values are equal to rounding."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._core.result import all_finite
from .._core.tree import axpy, norm

_Number = Float[Array, ""]


class Point(NamedTuple):
    """A point with the objective's value and gradient there."""

    y: PyTree
    value: _Number
    gradient: PyTree


class Found(NamedTuple):
    """Where a search ended.

    - `point`: the new point, or the old one where no step was found;
    - `trials`: points evaluated;
    - `moved`: whether a step was found;
    - `rounding`: whether the decrease that the full step promised was below half the digits.
    """

    point: Point
    trials: Int[Array, ""]
    moved: Bool[Array, ""]
    rounding: Bool[Array, ""]


def backtrack(evaluate: Callable, start: Point, direction: PyTree) -> Found:
    r"""From the full step on, shorter ones until Armijo's condition holds.

    $g(y + t d) \le g(y) + 10^{-4} t \nabla g(y)^\top d$, each t the minimum of the parabola
    through what is known, within 1/10 and 1/2 of the last. The rounding errors of g are those
    of its terms, which may be much larger than g. So where the decrease that is due is below
    half the digits of g, the step counts too if the gradient's norm shrinks as a step
    of Newton's method shrinks it and g grows by no more than that; and where it is below all
    digits, only then, and within three trials.
    """
    slope = jnp.asarray(optax.tree.vdot(start.gradient, direction), start.value.dtype)
    size = norm(start.gradient)

    def tried(t, trials):
        y = axpy(t, direction, start.y)
        value, gradient = evaluate(y)
        due, eps = -t * slope, jnp.finfo(value.dtype).eps
        scale = jnp.maximum(jnp.abs(start.value), jnp.abs(value))
        half = jnp.sqrt(eps) * scale
        blind = due <= _NOISE * eps * scale
        lower = value <= start.value - _DECREASE * due
        flatter = norm(gradient) <= (1 - t / 4) * size
        flatter = flatter & (due <= half) & (value - start.value <= half)
        good = jnp.where(blind, flatter, lower | flatter) & all_finite((value, gradient))
        return _Trial(Point(y, value, gradient), t, trials, good, blind, due <= half)

    def again(trial):
        few = jnp.where(trial.blind, 3, _MOST)
        return ~trial.good & (trial.trials < few)

    def shorter(trial):
        t = trial.t * _shrinkage(trial.point.value - start.value, trial.t * slope)
        return tried(t, trial.trials + 1)

    one = jnp.ones((), start.value.dtype)
    first = tried(one, jnp.int32(1))
    last = jax.lax.while_loop(again, shorter, first)
    choose = lambda new, old: jnp.where(last.good, new, old)
    point = jax.tree.map(choose, last.point, start)
    return Found(point, last.trials, last.good, first.rounding)


class _Trial(NamedTuple):
    point: Point
    t: _Number
    trials: Int[Array, ""]
    good: Bool[Array, ""]
    blind: Bool[Array, ""]
    rounding: Bool[Array, ""]


def _shrinkage(change: _Number, slope: _Number) -> Any:
    """The minimum, in [1/10, 1/2], of the parabola with this slope at 0 and change at 1."""
    excess = change - slope
    best = -slope / (2 * jnp.where(excess > 0, excess, 1))
    best = jnp.where((excess > 0) & jnp.isfinite(excess), best, 0.1)
    return jnp.clip(best, 0.1, 0.5)


_DECREASE = 1e-4
# Of so many unit roundoffs a value of g may be wrong, and so many steps are tried.
_NOISE, _MOST = 100, 40
