"""One page of figures and their checks, which needs nothing else."""

import inspect
from typing import NamedTuple

from ..reproduce._outcome import Outcome, text
from ..reproduce._papers import Entry, title
from ._report import environment


class Made(NamedTuple):
    """A figure of a paper, remade in so many seconds."""

    paper: str
    entry: Entry
    outcome: Outcome
    seconds: float

    @property
    def picture(self) -> bytes:
        """As a PNG file."""
        return self.outcome.picture("png", dpi=110)

    @property
    def about(self) -> list[str]:
        """Paragraphs on what it shows, its settings and where it differs from the paper."""
        return inspect.cleandoc(self.entry.module.__doc__ or "").split("\n\n")[1:]


def page(made: list[Made], quick: bool) -> str:
    """Paper by paper."""
    papers = dict.fromkeys(one.paper for one in made)
    return (
        environment()
        .get_template("gallery.html")
        .render(
            papers={p: [one for one in made if one.paper == p] for p in papers},
            titles={p: title(p) for p in papers},
            quick=quick,
            text=text,
        )
    )
