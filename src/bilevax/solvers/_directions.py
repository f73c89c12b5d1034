"""Descent directions: plain steps of bilevax and any optax transformation, alike."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optax.tree
from jaxtyping import Array, Int, PyTree

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


class Objective(NamedTuple):
    """What a line search asks for: the value at the parameters, and a function of them."""

    value: Any
    value_fn: Callable[[PyTree], Any]


class Searched(eqx.Module):
    """The state of an optax transformation, and how often its line searches evaluated."""

    state: Any
    evaluations: Int[Array, ""]


class Searching(AbstractDirection):
    """An optax transformation whose update needs the objective, such as `optax.lbfgs`."""

    transformation: optax.GradientTransformationExtraArgs

    def init(self, params):
        return Searched(self.transformation.init(params), jnp.int32(0))

    def update(self, direction, state, params, clock):
        del direction, state, params, clock
        raise TypeError(_NEEDS_OBJECTIVE)

    def search(
        self, gradient: PyTree, state: Searched, params: PyTree, objective: Objective
    ) -> tuple[PyTree, Searched]:
        """The update, from the objective too."""
        update, new = self.transformation.update(
            gradient,
            state.state,
            params,
            value=objective.value,
            grad=gradient,
            value_fn=objective.value_fn,
        )
        counts = optax.tree.get_all_with_path(new, "num_linesearch_steps")
        evaluations = sum((jnp.asarray(count, jnp.int32) for _, count in counts), jnp.int32(0))
        return update, Searched(new, state.evaluations + evaluations)


def needs_objective(transformation: Any) -> bool:
    """Whether an optax transformation has an update that asks for the objective's value."""
    if not isinstance(transformation, optax.GradientTransformationExtraArgs):
        return False

    def update(params):
        return transformation.update(params, transformation.init(params), params)

    # One that needs parameters of a certain structure fails otherwise, if at all.
    try:
        jax.eval_shape(update, jnp.zeros(1))
    except TypeError as error:
        return "keyword-only argument" in str(error)
    except Exception:
        return False
    return False


def as_transformation(step: Step, name: str = "step_size") -> AbstractDirection:
    """A descent direction from a step size (never recompiles) or optax (does)."""
    given: Any = step
    if needs_objective(given):
        return Searching(given)
    if isinstance(step, optax.GradientTransformation):
        return Optax(step)
    if isinstance(step, AbstractDirection):
        return step
    return SteepestDescent(as_step_size(step, name))


def as_outer(step: OuterStep | None, name: str) -> AbstractDirection:
    """The same for the outer variable, whose step nothing measures."""
    if step is None:
        raise TypeError(f"{name} must be given{_OUTER}.")
    if isinstance(step, optax.GradientTransformation | AbstractDirection):
        return as_transformation(step)
    return SteepestDescent(as_step_size(step, name, _OUTER))


_NEEDS_OBJECTIVE = (
    "This optax transformation asks for the value of the objective, which only bx.Descent has "
    "for it: take one that asks for the gradient alone, such as optax.adam(0.1)."
)
_OUTER = ": a number such as 0.1, a schedule, or bx.adaptive_step(), which needs no tuning"
