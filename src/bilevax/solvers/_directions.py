"""Descent directions: plain steps of bilevax and any optax transformation, alike."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from .._core.tree import scale
from .._core.types import Index, Number, StepSize
from ..schedules import as_step_size, evaluate


class Clock(NamedTuple):
    """The index of a step within its solve, and the outer step."""

    i: Index
    k: Index

    @classmethod
    def at(cls, k: Index) -> "Clock":
        """Before the first step of the solve of outer step k."""
        return cls(jnp.int32(0), jnp.asarray(k, jnp.int32))

    def tick(self) -> "Clock":
        """After one more step of the solve."""
        return Clock(self.i + 1, self.k)


class AbstractDirection(eqx.Module):
    """How a solver or x moves, given the residual or gradient."""

    @abc.abstractmethod
    def init(self, params: PyTree) -> PyTree:
        """What is remembered before the first step."""

    @abc.abstractmethod
    def update(
        self, direction: PyTree, state: Any, params: PyTree, clock: "Clock"
    ) -> tuple[PyTree, Any]:
        """The update to add to the parameters, and what is remembered."""

    def residual(self, direction: PyTree, state: Any) -> PyTree:
        """The residual of the iterate from which the update goes on."""
        del state
        return direction


# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    OuterStep = Number | Callable[[Any], Any] | optax.GradientTransformation | AbstractDirection
    Step = StepSize | OuterStep
else:
    Step = OuterStep = Any


class SteepestDescent(AbstractDirection):
    """The update minus step size times direction, with the step size an array leaf."""

    step_size: StepSize

    def value(self, clock: "Clock"):
        """The step size of a step."""
        return evaluate(self.step_size, *clock)

    def init(self, params):
        del params
        return ()

    def update(self, direction, state, params, clock):
        del params
        return scale(-self.value(clock), direction), state


class Optax(AbstractDirection):
    """An optax transformation, which counts its own steps."""

    transformation: optax.GradientTransformation

    def init(self, params):
        return self.transformation.init(params)

    def update(self, direction, state, params, clock):
        del clock
        return self.transformation.update(direction, state, params)


def as_transformation(step: Step, name: str = "step_size") -> AbstractDirection:
    """A descent direction from a step size (never recompiles) or optax (does)."""
    if isinstance(step, optax.GradientTransformation):
        return Optax(step)
    if isinstance(step, AbstractDirection):
        return step
    return SteepestDescent(as_step_size(step, name))


def as_outer(step: OuterStep, name: str) -> AbstractDirection:
    """The same for the outer variable, whose step nothing measures."""
    if step is None:
        raise TypeError(f"{name} must be given{_OUTER}.")
    if isinstance(step, optax.GradientTransformation | AbstractDirection):
        return as_transformation(step)
    return SteepestDescent(as_step_size(step, name, _OUTER))


_OUTER = ": a number such as 0.1, a schedule, or bx.adaptive_step(), which needs no tuning"
