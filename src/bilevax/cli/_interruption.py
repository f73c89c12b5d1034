"""Ctrl-C and SIGTERM: when they end a run, and what they may not cut off."""

import contextlib
import signal
from collections.abc import Iterator


class Interruption:
    """Turns a first Ctrl-C (or SIGTERM) into a wish; a second one is the usual one."""

    def __init__(self):
        self.wanted = False
        self._held = False

    def __enter__(self) -> "Interruption":
        self._before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        for number in self._before:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """From now on every one is a wish only: what happens now must not be cut off."""
        self._held = True

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """But this may be."""
        self._held = False
        try:
            yield
        finally:
            self._held = True

    def _handle(self, number, frame) -> None:
        if self.wanted and not self._held:
            raise KeyboardInterrupt
        self.wanted = True
