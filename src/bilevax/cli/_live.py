"""How a run gets on: a line that renews itself, now and then a line, or JSON."""

import json
import math
import os
import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

# Seconds between two lines where there is no terminal.
_PAUSE = 5.0


class Progress:
    """Shows records on standard error, or as JSON lines on standard output."""

    def __init__(self, num_steps: int, seconds: float | None, *, quiet: bool, as_json: bool):
        self._num_steps, self._limit = num_steps, seconds
        self._quiet, self._json = quiet, as_json
        self._console = Console(stderr=True, highlight=False)
        shown = self._console.is_terminal and not (quiet or as_json)
        self._live = Live(console=self._console, transient=False) if shown else None
        self._started = time.perf_counter()
        self._last = 0.0
        self._first_step: int | None = None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """A sentence for people."""
        if not (self._quiet or self._json):
            self._console.print(Text(text), soft_wrap=True)

    def __call__(self, row: dict[str, Any]) -> None:
        """Show the last record."""
        now = time.perf_counter()
        left = self._left(int(row["step"]), now - self._started)
        if self._json:
            if not self._quiet:
                emit(json.dumps(event(row, left)))
        elif self._live:
            self._live.update(Text(line(row, self._num_steps, left)))
        elif not self._quiet and (now - self._last >= _PAUSE or row["step"] >= self._num_steps):
            self._last = now
            print(line(row, self._num_steps, left), file=sys.stderr, flush=True)

    def _left(self, step: int, spent: float) -> float:
        """Seconds to the end, by the pace since the first record."""
        if self._first_step is None:
            self._first_step, self._started = step, time.perf_counter()
            return math.nan
        taken = step - self._first_step
        left = spent / taken * (self._num_steps - step) if taken else math.nan
        return left if self._limit is None else min(left, max(self._limit - spent, 0.0))


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
    remaining = "" if math.isnan(left) else f"  {left:.0f} s left"
    return (
        f"step {row['step']}/{num_steps}  validation loss {number(row['validation_loss'])}  "
        f"score {row['validation_score']:.4f}  |gradient| {row['gradient_norm']:.1e}  "
        f"{row['calls']} calls{remaining}"
    )


def event(row: dict[str, Any], left: float) -> dict[str, Any]:
    """One record for machines."""
    names = ("validation_loss", "validation_score", "gradient_norm", "seconds")
    numbers = {name: finite(row[name]) for name in names}
    counts = {name: int(row[name]) for name in ("step", "calls")}
    return {"event": "progress", **counts, **numbers, "seconds_left": finite(left)}


def number(value: Any) -> str:
    """Four decimals, or four digits where these would not show them.

    >>> number(0.25), number(2.5e-7), number(1.5e9)
    ('0.2500', '2.5e-07', '1.5e+09')
    """
    plain = value == 0 or 1e-2 <= abs(value) < 1e5
    return f"{value:.4f}" if plain else f"{value:.4g}"


def finite(number: Any) -> float | None:
    """A number as JSON has it: without NaN and infinities.

    >>> finite(1), finite(math.nan)
    (1.0, None)
    """
    return float(number) if math.isfinite(number) else None
