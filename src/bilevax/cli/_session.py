"""A call as whoever made it sees it: what is said, and the wish to stop."""

import contextlib
import json
import os
import sys
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .._run.progress import PAUSE, Reporter, in_words
from ._call import Call
from ._interruption import Interruption
from ._numbers import finite, number
from ._settings import Settings


class Session:
    """Says how a run gets on, and may be told to stop it.

    A record is shown in a line that renews itself on a terminal, elsewhere in a line on
    standard error every few seconds, or with `--json` as an object on standard output.
    """

    def __init__(self, settings: Settings, call: Call):
        self.call, self.interruption = call, Interruption()
        self._console = Console(stderr=True, highlight=False)
        shown = self._console.is_terminal and not (call.quiet or call.as_json)
        self._live = Live(console=self._console, transient=False) if shown else None
        self.show = self._reporter(settings)

    def _reporter(self, settings: Settings) -> Reporter:
        words, show, pause = lambda row, left: line(row, settings.steps, left), _print, PAUSE
        if self._live is not None:
            live, pause = self._live, 0.0
            show = lambda text: live.update(Text(text))
        elif self.call.quiet:
            show = lambda text: None
        elif self.call.as_json:
            words, show, pause = lambda row, left: json.dumps(event(row, left)), emit, 0.0
        return Reporter(words, show, settings.steps, limit=settings.seconds, pause=pause)

    def following(self) -> contextlib.AbstractContextManager:
        """While records are shown."""
        return contextlib.nullcontext() if self._live is None else self._live

    def part(self, name: str, seconds: float) -> None:
        """A part of the run that is done, for machines."""
        if self.call.as_json:
            emit(json.dumps({"event": "progress", "part": name, "seconds": round(seconds, 3)}))

    def say(self, text: str) -> None:
        """A sentence for people."""
        if not (self.call.quiet or self.call.as_json):
            self._console.print(Text(text), soft_wrap=True)


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def emit(text: str) -> None:
    """Print to standard output, or to nobody once nobody reads it: the run goes on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process


def line(row: dict[str, Any], num_steps: int, left: float) -> str:
    """One record for people.

    >>> row = {"step": 5, "validation_loss": 0.25, "validation_score": 0.5,
    ...        "gradient_norm": 1e-3, "calls": 70}
    >>> line(row, 10, 61.0)
    'step 5/10  validation loss 0.2500  score 0.5000  |gradient| 1.0e-03  70 calls  61 s left'
    """
    return (
        f"step {row['step']}/{num_steps}  validation loss {number(row['validation_loss'])}  "
        f"score {row['validation_score']:.4f}  |gradient| {row['gradient_norm']:.1e}  "
        f"{row['calls']} calls{in_words(left)}"
    )


def event(row: dict[str, Any], left: float) -> dict[str, Any]:
    """One record for machines."""
    names = ("validation_loss", "validation_score", "gradient_norm", "seconds")
    numbers = {name: finite(row[name]) for name in names}
    counts = {name: int(row[name]) for name in ("step", "calls")}
    return {"event": "progress", **counts, **numbers, "seconds_left": finite(left)}
