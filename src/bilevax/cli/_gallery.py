"""One page of figures and their checks, which needs nothing else."""

import inspect
import pathlib
from typing import NamedTuple

from ..reproduce._outcome import text
from ..reproduce._papers import Entry, title
from ._made import Made, stem
from ._report import environment


class Exhibit(NamedTuple):
    """A figure on the page: what it is, what was found, and where its picture is."""

    entry: Entry
    made: Made
    folder: pathlib.Path

    @property
    def picture(self) -> bytes:
        """As a PNG file."""
        return (self.folder / f"{stem(self.made.figure)}.png").read_bytes()

    @property
    def about(self) -> list[str]:
        """Paragraphs on what it shows, its settings and where it differs from the paper."""
        return inspect.cleandoc(self.entry.module.__doc__ or "").split("\n\n")[1:]


def page(exhibits: list[Exhibit], quick: bool) -> str:
    """Paper by paper."""
    papers = dict.fromkeys(one.made.paper for one in exhibits)
    return (
        environment()
        .get_template("gallery.html")
        .render(
            papers={p: [one for one in exhibits if one.made.paper == p] for p in papers},
            titles={p: title(p) for p in papers},
            quick=quick,
            text=text,
        )
    )
