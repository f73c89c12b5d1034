"""Figures of the papers from the command line."""

import pathlib
import sys

from rich.console import Console
from rich.table import Table

from .. import reproduce
from ..reproduce._outcome import FAIL, text
from ._errors import UnusableError, one_of


def list_figures() -> None:
    """Print what can be reproduced."""
    table = Table("paper", "figure", "what it shows")
    for paper in reproduce.PAPERS:
        for entry in reproduce.figures(paper):
            table.add_row(paper, entry.name, entry.title)
    Console(highlight=False, markup=False).print(table)


def reproduce_paper(
    paper: str, figure: str | None, output: pathlib.Path, quick: bool, seed: int | None
) -> int:
    """Make the figures, print their checks, and return 1 if any failed."""
    one_of("PAPER", paper, reproduce.PAPERS)
    entries = reproduce.figures(paper)
    if figure is not None:
        panels = reproduce.PANELS[paper]
        one_of("--figure", figure, [*(entry.name for entry in entries), *panels])
        figure = panels.get(figure, figure)
        entries = [entry for entry in entries if entry.name == figure]
    table = Table("figure", "check", "expected", "measured", "verdict", "seconds")
    failed = False
    for entry in entries:
        print(f"Figure {entry.name}: {entry.title}", file=sys.stderr, flush=True)
        outcome, seconds = reproduce.run(entry, quick, seed)
        try:
            outcome.save(output / paper, f"figure_{entry.name}")
        except OSError as error:
            raise UnusableError(f"Cannot write in {output} ({error}).") from error
        for i, check in enumerate(outcome.checks):
            first = i == 0
            table.add_row(
                entry.name if first else "",
                check.name,
                check.expected,
                text(check.measured),
                check.verdict,
                f"{seconds:.1f}" if first else "",
                style="bold red" if check.verdict == FAIL else None,
            )
        failed |= outcome.failed
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"Pictures and data: {output / paper}", soft_wrap=True)
    return 1 if failed else 0
