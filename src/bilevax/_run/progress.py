"""How a run gets on, for a person who waits."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from .history import History

# Seconds between two lines where there is no terminal.
PAUSE = 5.0


class Reporter:
    """Shows records as they come, in the words of its owner, and how long a run still takes.

    - `words`: of a record and the seconds left, which are NaN for the first record.
    - `show`: shows a text.
    - `last_step`, `limit`: where the run ends, and after how many seconds at the latest.
    - `pause`: seconds from one text to the next; the last record is always shown.
    """

    def __init__(
        self,
        words: Callable[[dict[str, Any], float], str],
        show: Callable[[str], Any],
        last_step: int,
        *,
        limit: float | int | None = None,
        pause: float | int = 0,
    ):
        self._words, self._show = words, show
        self._last_step, self._limit, self._pause = last_step, limit, pause
        self._first: tuple[int, float] | None = None
        self._shown = -math.inf

    def __call__(self, row: dict[str, Any]) -> None:
        """Show a record, if it is time to."""
        step, now = int(row["step"]), time.perf_counter()
        left = self._left(step, now)
        if now - self._shown >= self._pause or step >= self._last_step:
            self._shown = now
            self._show(self._words(row, left))

    def _left(self, step: int, now: float) -> float:
        """Seconds to the end, by the pace since the first record: what was compiled before
        is not compiled again."""
        if self._first is None:
            self._first = step, now
        first, started = self._first
        if step == first:
            return math.nan
        left = (now - started) / (step - first) * (self._last_step - step)
        return left if self._limit is None else min(left, max(self._limit - now + started, 0.0))


def in_words(left: float) -> str:
    """The seconds left, at the end of a line.

    >>> in_words(61.2), in_words(math.nan)
    ('  61 s left', '')
    """
    return "" if math.isnan(left) else f"  {left:.0f} s left"


@contextlib.contextmanager
def reporting(enabled: bool, last_step: int) -> Iterator[Callable[[History], None]]:
    """Shows the last row of a history on standard error: in a line that renews itself on a
    terminal, elsewhere in a line every few seconds."""
    if not enabled:
        yield lambda history: None
        return
    terminal = sys.stderr.isatty()
    start, end = ("\r\x1b[2K", "") if terminal else ("", "\n")
    show = lambda text: print(start + text, end=end, file=sys.stderr, flush=True)
    report = Reporter(_words, show, last_step, pause=0.1 if terminal else PAUSE)
    try:
        yield lambda history: report(_last(history)) if len(history) else None
    finally:
        if terminal:
            print(file=sys.stderr)


def _last(history: History) -> dict[str, Any]:
    return {name: column[-1] for name, column in history.columns().items()}


def _words(row: dict[str, Any], left: float) -> str:
    return (
        f"step {row['step']}  value {row['value']:.6g}  "
        f"|gradient| {row['gradient_norm']:.3g}  calls {row['calls']}{in_words(left)}"
    )
