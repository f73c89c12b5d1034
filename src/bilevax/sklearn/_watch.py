"""Who looks on while a fit gets on."""

from collections.abc import Callable
from typing import TypeVar

Part = TypeVar("Part")


class Watch:
    """Sees what a fit is about, may keep its parts, and may hurry it; this one lets it be."""

    def say(self, text: str) -> None:
        """A sentence for people."""

    def part(self, name: str, shape: Part, compute: Callable[[], Part]) -> Part:
        """A part of the fit, arrays in a pytree of the structure of `shape`. It depends on
        nothing but the data, the options and its name: who has kept it need not compute it."""
        del name, shape
        return compute()

    def late(self) -> bool:
        """Whether no further steps shall be taken."""
        return False


class Printing(Watch):
    """Prints the sentences."""

    def say(self, text: str) -> None:
        print(text)
