"""How a run gets on, for a person who waits: one line on standard error."""

import sys
import time

from .history import History


class Reporter:
    """Prints the last record: a line that renews itself on a terminal, elsewhere a line
    every few seconds."""

    def __init__(self, enabled: bool, num_steps: int, every: float = 5.0):
        self._enabled = enabled
        self._num_steps = num_steps
        self._terminal = sys.stderr.isatty()
        self._pause = 0.1 if self._terminal else every
        self._started = self._last = time.perf_counter()
        self._first_step: int | None = None

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *exception) -> None:
        if self._enabled and self._terminal:
            print(file=sys.stderr)

    def __call__(self, taken: int, history: History) -> None:
        """Report that `taken` of the steps are done."""
        now = time.perf_counter()
        due = now - self._last >= self._pause or taken >= self._num_steps
        if not (self._enabled and due and len(history)):
            return
        self._last = now
        row = {name: column[-1] for name, column in history.columns().items()}
        left = (now - self._started) / taken * (self._num_steps - taken)
        line = (
            f"step {row['step']}  value {row['value']:.6g}  "
            f"|gradient| {row['gradient_norm']:.3g}  calls {row['calls']}  "
            f"{left:.0f} s left"
        )
        end = "" if self._terminal else "\n"
        start = "\r\x1b[2K" if self._terminal else ""
        print(start + line, end=end, file=sys.stderr, flush=True)
