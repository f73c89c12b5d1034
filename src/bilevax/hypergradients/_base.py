"""The hypergradient interface."""

import abc
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._core.cost import Cost
from .._core.result import Result
from .._core.types import Keys
from ..problems._base import AbstractProblem
from ..solvers import Watch


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

    @property
    def watches(self) -> dict[str, Watch]:
        """What is known of the residuals, by level: "inner" and, if there is one, "adjoint"."""
        ...


def last_residuals(state: HypergradientState) -> tuple[Array, Array | None]:
    """Those of the inner and the adjoint solver; `None` for an estimator without one."""
    watches = state.watches
    return watches["inner"].last, watches["adjoint"].last if "adjoint" in watches else None


class AbstractHypergradient(eqx.Module):
    """Estimates the gradient of x -> f(x, y*(x)). Pure: its state is explicit.

    One that draws rows for several estimates at once says for how many in `ahead`. A loop may
    then call `prepare` before every so many of them, `estimate` in between and `examine` when
    it wants to know how things are; calling the estimator itself does all three.
    """

    ahead: ClassVar[int] = 1

    def prepare(self, problem: AbstractProblem, state: Any, key: PRNGKeyArray) -> Any:
        """The state with what the next `ahead` estimates draw."""
        del problem, key
        return state

    def ready(
        self, problem: AbstractProblem, state: Any, key: PRNGKeyArray, due: Bool[Array, ""]
    ) -> Any:
        """The state, prepared where that is due."""
        drawn = jax.lax.cond(
            due,
            lambda: self.drawn(self.prepare(problem, state, key)),
            lambda: self.drawn(state),
        )
        return eqx.tree_at(self.drawn, state, drawn)

    def estimate(self, problem: AbstractProblem, x: PyTree, state: Any):
        """The gradient, the new state and the cost of one estimate that is prepared."""
        del problem, x, state
        raise TypeError(f"{type(self).__name__} is called as a whole.")

    def drawn(self, state: Any) -> Any:
        """The part of a state that `prepare` changes."""
        del state
        return ()

    def examine(self, state: Any) -> Any:
        """The result after such estimates."""
        del state
        return Result.successful

    def drawn_for(self, problem: AbstractProblem, state: Any, keys: Keys) -> Any:
        """What estimates with these keys will draw, where a key alone decides it.

        Of the structure of `samplers`, with an axis of keys; `None` for who draws when asked.
        """
        del problem, state, keys
        return ()

    def samplers(self, state: Any) -> tuple[PyTree, ...]:
        """The samplers' states."""
        del state
        return ()

    def given(self, state: Any, drawn: Any) -> Any:
        """The state in which samplers find what was drawn for the next estimate."""
        is_empty = lambda node: isinstance(node, tuple) and not node
        take = lambda own, new: own if new is None else new
        found = tuple(map(take, self.samplers(state), drawn))
        return eqx.tree_at(self.samplers, state, found, is_leaf=is_empty)

    def init_cost(self, problem: AbstractProblem) -> Cost:
        """What `init` calls."""
        del problem
        return Cost()

    def shortfall(self, state: Any) -> Any:
        """The result that says whether a solver's tolerance was never met so far."""
        del state
        return Result.successful

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


# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Estimator = AbstractHypergradient
else:
    Estimator = Any
