"""The checks of arguments that the pages share."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jax import Array

    Number = float | np.floating | np.integer | np.ndarray | Array
    # A number of numbers, an array of arrays, as NumPy's own functions have it.
    Value = Any
else:
    Number = Value = float | int | np.ndarray


def require(allowed: bool | np.bool_, name: str, must: str, value: Number, remedy: str) -> None:
    """Raises a `ValueError` that names the argument, the fault and the remedy."""
    if not allowed:
        raise ValueError(f"{name} must {must}, got {value}. {remedy}")


def check_nonnegative(**values: Number) -> None:
    """Norms, distances and counts; rejects NaN and infinity too."""
    for name, value in values.items():
        allowed = np.all(np.isfinite(value) & (np.asarray(value) >= 0))
        remedy = "It is a norm, a distance or a count: check how it was computed."
        require(allowed, name, "be finite and at least 0", value, remedy)


def check_positive(**values: Number) -> None:
    """Step sizes, smoothness and strong convexity; rejects NaN and infinity too."""
    for name, value in values.items():
        allowed = np.all(np.isfinite(value) & (np.asarray(value) > 0))
        remedy = "The bound needs a step, a time or a curvature that does not vanish: check it."
        require(allowed, name, "be finite and above 0", value, remedy)


def check_contraction(contraction: Number) -> None:
    """A factor in [0, 1)."""
    allowed = np.all((np.asarray(contraction) >= 0) & (np.asarray(contraction) < 1))
    remedy = "At 1 or above the iteration need not converge: take a shorter step."
    require(allowed, "contraction", "be in [0, 1)", contraction, remedy)


def check_curvature(prefix: str, smoothness: Number, strong_convexity: Number) -> None:
    """Positive constants, strong convexity at most smoothness."""
    names = f"{prefix}smoothness", f"{prefix}strong_convexity"
    check_positive(**{names[0]: smoothness, names[1]: strong_convexity})
    allowed = np.all(np.asarray(strong_convexity) <= smoothness)
    remedy = f"No function is more convex than it is smooth: check {names[0]}, {smoothness}."
    require(allowed, names[1], f"be at most {names[0]}", strong_convexity, remedy)


def check_step(name: str, step_size: Number, largest: Number, text: str) -> None:
    """A positive step, at most the largest for which a proposition holds."""
    check_positive(**{name: step_size})
    allowed = np.all(np.asarray(step_size) <= largest)
    remedy = "The bound is not proved for longer steps: take a shorter one."
    require(allowed, name, f"be at most {text} = {largest}", step_size, remedy)


def check_power(power: Number) -> None:
    """The power of a decreasing step, between 0 and 1."""
    allowed = np.all((np.asarray(power) > 0) & (np.asarray(power) < 1))
    remedy = "At 0 the noise does not vanish, at 1 the rate depends on the constants."
    require(allowed, "power", "be between 0 and 1", power, remedy)


def check_rank(rank: int) -> None:
    """At least one."""
    remedy = "It is min(n, m), the smaller number of entries of x and y."
    require(rank >= 1, "rank", "be at least 1", rank, remedy)
