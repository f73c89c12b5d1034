"""How much of a download has arrived."""

import sys


class Arriving:
    """A line on the terminal, renewed at every hundredth; elsewhere nothing.

    It is what pooch takes for a progress bar, whose own needs a further package.
    """

    def __init__(self, name: str):
        self.name = name
        self.total = 0
        self.reset()

    def reset(self) -> None:
        """Nothing has arrived."""
        self._bytes, self._shown = 0, -1

    def update(self, size: int) -> None:
        """So many bytes more, of `total`."""
        self._bytes += size
        share = min(100 * self._bytes // self.total, 100) if self.total else 0
        if sys.stderr.isatty() and share != self._shown:
            self._shown = share
            print(f"\r{self.name}: {share:3d} %", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """The line ends."""
        if sys.stderr.isatty():
            print(file=sys.stderr)
