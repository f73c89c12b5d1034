"""The reducer interface."""

import abc
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import equinox as eqx
from jaxtyping import PyTree

from .._core.types import Calls as Number
from .._core.types import Index
from ._average import Average


class Calls(NamedTuple):
    """How often an average is called: on a batch, and on the rows of a refresh."""

    on_batch: Number
    on_refresh: Number


class AbstractReducer(eqx.Module):
    """A running estimate of an average over rows.

    `update` makes the estimate at w from a batch and from what was seen before; `refresh`
    anchors it at w on all rows. Updates are numbered from 0 by i.
    """

    # Whether it keeps something for each batch of a fixed partition.
    has_table: ClassVar[bool] = False

    @property
    def refresh_size(self) -> int | None:
        """Random rows of a refresh, `None` for all."""
        return None

    @property
    def draws(self) -> bool:
        """Whether it draws rows itself, for which the average needs a seed."""
        return self.refresh_size is not None

    @property
    def starts_full(self) -> bool:
        """Whether a refresh comes before the first update."""
        return False

    @abc.abstractmethod
    def init(self, average: Average, w: PyTree) -> Any:
        """The state before the first estimate; nothing is called."""

    @abc.abstractmethod
    def update(
        self, average: Average, w: PyTree, batch: Any, state: Any, i: Index
    ) -> tuple[PyTree, Any]:
        """The estimate at w, the i-th, and the new state."""

    @abc.abstractmethod
    def refresh(
        self, average: Average, w: PyTree, state: Any, i: Index = 0
    ) -> tuple[PyTree, Any]:
        """The average at w on all rows, and the state anchored there; i numbers random rows."""

    @abc.abstractmethod
    def calls(self, i: Index) -> Calls:
        """What update i calls."""

    def refresh_calls(self, num_slots: int) -> Calls:
        """What a refresh calls."""
        del num_slots
        return Calls(0, 1)


# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Reducer = AbstractReducer
else:
    Reducer = Any


def check_reducer(name: str, reducer: Any) -> Any:
    """The reducer, or an error that says what one is."""
    if not isinstance(reducer, AbstractReducer):
        raise TypeError(
            f"{name} must be a reducer, such as bx.Sample(), bx.SAGA() or bx.STORM(0.1), "
            f"got {reducer!r}."
        )
    return reducer
