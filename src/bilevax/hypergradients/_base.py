"""The hypergradient interface."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from .._cost import Cost
from .._problem import AbstractProblem
from .._sampling import full


class AbstractHypergradientState(eqx.Module):
    """What every estimator's state has: the outer step, y, z, and the last outer value."""

    k: eqx.AbstractVar[Int[Array, ""]]
    y: eqx.AbstractVar[PyTree]
    adjoint: eqx.AbstractVar[PyTree]
    value: eqx.AbstractVar[Float[Array, ""]]


class AbstractHypergradient(eqx.Module):
    """Estimates the gradient of x -> f(x, y*(x)). Pure: its state is explicit."""

    @property
    @abc.abstractmethod
    def random(self) -> bool:
        """Whether it needs a key."""

    @abc.abstractmethod
    def init(
        self, problem: AbstractProblem, x: PyTree, y: PyTree, adjoint: PyTree | None = None
    ) -> AbstractHypergradientState:
        """The state before the first estimate."""

    @abc.abstractmethod
    def __call__(
        self,
        problem: AbstractProblem,
        x: PyTree,
        state: Any,
        key: PRNGKeyArray,
    ) -> tuple[PyTree, Any, Cost, Any]:
        """The gradient, the new state, the cost and the result of one estimate at x."""


def no_value_yet(problem: AbstractProblem, x: PyTree, y: PyTree) -> Float[Array, ""]:
    """NaN in the dtype of the outer objective: the value before the first estimate."""
    batch = full(problem.outer_data)
    value, _ = jax.eval_shape(lambda: problem.value_and_gradients(x, y, batch))
    return jnp.full((), jnp.nan, value.dtype)
