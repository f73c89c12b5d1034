r"""Step-size schedules.

A schedule's index i counts the steps within one solve, from 0, and restarts at every
solve; `schedule.outer()` makes it the outer step k instead. Parameters are array leaves:
changing them does not recompile. Wherever a step size is expected, a float, one of these,
or any optax schedule (a function of the index) is accepted.

| here | Grazzi et al. (2021) |
|---|---|
| `decreasing(beta, gamma)` | $\eta_i = \beta / (\gamma + i)$ (Theorem 4.2) |
| `two_phase(step_size, num_steps, beta=, gamma=)` | the two-phase rule of section 4 |
"""

import abc
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._core.numbers import as_count, as_finite, as_positive, as_share
from ._core.tree import as_scalar
from ._core.types import Count, Index, Number, Scalar


def _positive(name: str) -> Callable[[Number], Scalar]:
    return lambda value: as_positive(name, value)


def _power(value: Number) -> Scalar:
    return as_finite("power", value)


def _num_steps(value: Count) -> Scalar:
    return as_scalar(as_count("num_steps", value))


def _float(number: Any) -> Array:
    # Casts are explicit, so that schedules work under strict promotion of dtypes too.
    return jnp.asarray(number, jnp.result_type(float))


class Schedule(eqx.Module):
    """A step size that depends on the index of the step."""

    @abc.abstractmethod
    def __call__(self, i: Index) -> Float[Array, ""]:
        """The step size at index i."""

    def outer(self) -> "OuterSchedule":
        """The same schedule, read at the outer step k.

        >>> import bilevax as bx
        >>> s = bx.schedules.polynomial(scale=1.0, power=1.0).outer()
        >>> float(bx.schedules.evaluate(s, 0, 3))
        0.25
        """
        return OuterSchedule(self)


class OuterSchedule(eqx.Module):
    """A schedule whose index is the outer step."""

    schedule: Schedule

    def __call__(self, k: Index) -> Float[Array, ""]:
        """The step size at outer step k."""
        return self.schedule(k)


class Measured(Schedule):
    """Stands for 1 / smoothness, to be measured where a run starts."""

    step_size: Scalar | None = None

    def __call__(self, i):
        del i
        if self.step_size is None:
            raise ValueError(
                "A step size was left to be measured, which bx.minimize and "
                "bx.hypergradient do where they start. Elsewhere call "
                "bx.with_measured_steps first, or give the step size."
            )
        return self.step_size


class decreasing(Schedule):  # noqa: N801 - reads as a function: schedules.decreasing(...)
    r"""$\eta_i = \beta / (\gamma + i)$ (Grazzi et al. 2021, Theorem 4.2).

    With contraction constant q the theorem asks for $\beta > 1 / (1 - q^2)$ and
    $\gamma \ge \beta (1 + \sigma_2)$.

    >>> import bilevax as bx
    >>> float(bx.schedules.decreasing(beta=4.0, gamma=8.0)(0))
    0.5
    """

    beta: Number = eqx.field(converter=_positive("beta"))
    gamma: Number = eqx.field(converter=_positive("gamma"))

    def __call__(self, i: Index) -> Float[Array, ""]:
        return _float(self.beta) / (_float(self.gamma) + _float(i))


class polynomial(Schedule):  # noqa: N801
    r"""$\eta_i = s \, (1 + i)^{-p}$ (Ablin et al. 2020, Prop. 3.6, with $t = 1 + i$).

    >>> import bilevax as bx
    >>> float(bx.schedules.polynomial(scale=2.0, power=0.5)(3))
    1.0
    """

    scale: Number = eqx.field(converter=_positive("scale"))
    power: Number = eqx.field(converter=_power)

    def __call__(self, i: Index) -> Float[Array, ""]:
        return _float(self.scale) * (1 + _float(i)) ** -_float(self.power)


class two_phase(Schedule):  # noqa: N801
    r"""A constant step, then $\beta / (\gamma + i)$ with its counter restarted at 0.

    The constant step brings the error to its ball at a linear rate, the decreasing ones
    bring it to zero (Grazzi et al. 2021, section 4).

    >>> import bilevax as bx
    >>> s = bx.schedules.two_phase(step_size=0.5, num_steps=10, beta=4.0, gamma=8.0)
    >>> float(s(9)), float(s(10)), float(s(12))
    (0.5, 0.5, 0.4000000059604645)
    """

    step_size: Number = eqx.field(converter=_positive("step_size"))
    num_steps: Number = eqx.field(converter=_num_steps)
    _: KW_ONLY
    beta: Number = eqx.field(converter=_positive("beta"))
    gamma: Number = eqx.field(converter=_positive("gamma"))

    def __call__(self, i: Index) -> Float[Array, ""]:
        after = _float(i) - _float(self.num_steps)
        later = _float(self.beta) / (_float(self.gamma) + jnp.maximum(after, 0))
        return jnp.where(after < 0, _float(self.step_size), later)


_BELOW = ": take one below 2 / smoothness of the inner problem, or None to have it measured"


def as_step_size(step_size: Any, name: str = "step_size", remedy: str = _BELOW) -> Any:
    """A checked step size: a schedule as it is, a positive number as an array leaf."""
    if step_size is None:
        return Measured()
    if callable(step_size):
        return step_size
    kind = "a number, a schedule of bx.schedules or an optax schedule"
    return as_positive(name, step_size, kind=kind, remedy=remedy)


def as_weight(name: str, weight: Any) -> Any:
    """A checked weight: a schedule as it is, a number in (0, 1] as an array leaf."""
    return weight if callable(weight) else as_share(name, weight)


def is_measured(step_size: Any) -> bool:
    """Whether it was left out, to be measured."""
    return isinstance(step_size, Measured)


def constant_step(step_size: Any) -> Scalar | None:
    """The number, where one serves all steps; otherwise `None`."""
    step_size = step_size.step_size if isinstance(step_size, Measured) else step_size
    return None if callable(step_size) else step_size


def evaluate(step_size: Any, i: Index, k: Index) -> Any:
    """The step size at step i of the solve of outer step k."""
    if isinstance(step_size, OuterSchedule):
        return step_size(k)
    return step_size(i) if callable(step_size) else step_size
