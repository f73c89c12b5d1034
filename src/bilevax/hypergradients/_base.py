"""The hypergradient interface."""

import abc
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from .._cost import Cost
from .._problem import AbstractProblem


@runtime_checkable
class HypergradientState(Protocol):
    """What every estimator's state has: the outer step, y, z, and the last outer value."""

    @property
    def k(self) -> Int[Array, ""]:
        """The outer step, from 0."""
        ...

    @property
    def y(self) -> PyTree:
        """The last inner variable."""
        ...

    @property
    def adjoint(self) -> PyTree:
        """The last adjoint, `None` for an estimator without one."""
        ...

    @property
    def value(self) -> Float[Array, ""]:
        """The outer objective at the last estimate."""
        ...


class AbstractHypergradient(eqx.Module):
    """Estimates the gradient of x -> f(x, y*(x)). Pure: its state is explicit."""

    @property
    @abc.abstractmethod
    def random(self) -> bool:
        """Whether it needs a key."""

    @abc.abstractmethod
    def init(
        self, problem: AbstractProblem, x: PyTree, y: PyTree, adjoint: PyTree | None = None
    ) -> HypergradientState:
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
