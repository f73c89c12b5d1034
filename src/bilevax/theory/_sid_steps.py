"""The step sizes that the theorems prescribe."""

import math
import warnings
from typing import NamedTuple

from ._checks import check_contraction, check_nonnegative, check_positive, require
from ._sid_fixed_point import constant_step_floor, longest_step


class Steps(NamedTuple):
    """Step sizes of the three rules, in the words of `bx.schedules`.

    - `constant`: a number;
    - `decreasing`: what `bx.schedules.decreasing` takes;
    - `two_phase`: what `bx.schedules.two_phase` takes, or `None` where it is not known how
      long the first phase is.
    """

    constant: float
    decreasing: dict[str, float]
    two_phase: dict[str, float | int] | None


def steps(
    *,
    contraction: float,
    noise: float = 0.0,
    relative_noise: float = 0.0,
    initial_distance: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
) -> Steps:
    r"""The step sizes of section 4 of Grazzi et al. (2021).

    - constant: $1 / (1 + \sigma_2)$, the longest step of Theorem 4.1. It brings the distance
      into a ball, at a linear rate.
    - decreasing: $\beta / (\gamma + i)$ of Theorem 4.2 with $\beta = 2 / (1 - q^2)$, which
      minimises the limit of the bound, and the smallest valid
      $\gamma = \beta (1 + \sigma_2)$.
    - two-phase: the constant step until its bound is twice the ball's, then the decreasing
      ones with their counter restarted; the limit of the bound is
      $4 \sigma_1 / ((1 - q^2)^2 t)$ whatever the start.

    On the adjoint $\sigma_2$ is not zero, even where that of the inner problem is: see
    `adjoint_noise`, or measure it.

    **Arguments:** `contraction` q, `noise` $\sigma_1$, `relative_noise` $\sigma_2$,
    `initial_distance` $|u_0 - u^*|$, which the two-phase rule needs beside the noise; `beta`
    and `gamma`, if they are to be others.

    **Returns** `Steps(constant, decreasing, two_phase)`. **Raises** `ValueError` for a
    constant out of range. **Warns** where beta or gamma are below what Theorem 4.2 asks for,
    with the smallest valid value.

    >>> import bilevax as bx
    >>> rule = bx.theory.sid.steps(
    ...     contraction=0.5, noise=0.75, relative_noise=1.0, initial_distance=4.0)
    >>> rule.constant, rule.decreasing["gamma"] / rule.decreasing["beta"]
    (0.5, 2.0)
    >>> rule.two_phase["num_steps"]
    8
    >>> step_size = bx.schedules.decreasing(**rule.decreasing)
    >>> round(float(step_size(0)), 6)
    0.5
    """
    check_contraction(contraction)
    check_nonnegative(noise=noise, relative_noise=relative_noise)
    longest = longest_step(relative_noise=relative_noise)
    best = 2 / (1 - contraction**2)
    beta = best if beta is None else _told("beta", beta, best / 2, strict=True)
    least = beta * (1 + relative_noise)
    gamma = least if gamma is None else _told("gamma", gamma, least, strict=False)
    decreasing = {"beta": float(beta), "gamma": float(gamma)}
    first = _first_phase(contraction, noise, relative_noise, longest, initial_distance)
    two_phase = None if first is None else {"step_size": longest, "num_steps": first}
    return Steps(longest, decreasing, two_phase and two_phase | decreasing)


def _told(name: str, value: float, smallest: float, strict: bool) -> float:
    """A value of the caller's, who is told where the theorem does not cover it."""
    check_positive(**{name: value})
    if value > smallest or (value == smallest and not strict):
        return value
    what = "more than" if strict else "at least"
    formula = "1 / (1 - contraction^2)" if strict else "beta (1 + relative_noise)"
    warnings.warn(
        f"{name} = {value:g} is not covered by Theorem 4.2 of Grazzi et al. (2021), which asks "
        f"for {what} {formula} = {smallest:g}: the steps may work, without a guarantee.",
        stacklevel=3,
    )
    return value


def _first_phase(
    contraction: float,
    noise: float,
    relative_noise: float,
    step_size: float,
    initial_distance: float | None,
) -> int | None:
    """Constant steps until what is left of the start is as small as the ball."""
    if initial_distance is None:
        return None
    check_nonnegative(initial_distance=initial_distance)
    remedy = "Without noise the constant step converges, and is all that is needed."
    require(noise > 0, "noise", "be above 0 for the two-phase rule", noise, remedy)
    ball = constant_step_floor(
        contraction=contraction,
        noise=noise,
        relative_noise=relative_noise,
        step_size=step_size,
    )
    excess = initial_distance**2 / ball - 1
    factor = 1 - step_size * (1 - contraction**2)
    if excess <= 1 or factor == 0:
        return 1
    return math.ceil(math.log(excess) / -math.log(factor))
