"""Figures of the papers from the command line."""

import collections
import contextlib
import logging
import pathlib
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from .. import reproduce
from .._core.files import write
from ..reproduce._outcome import FAIL, PASS, REPORTED, text
from ._errors import UnusableError, one_of
from ._folder import make_writable, writing_in
from ._gallery import Exhibit, page
from ._made import Made, asked, keep, kept

ALL = "all"
# Which are papers; `tuning` is none.
_THREE = ("superefficiency", "sid", "amigo")


def list_figures() -> None:
    """Print what can be reproduced."""
    table = Table("paper", "figure", "what it shows")
    for paper in reproduce.PAPERS:
        for entry in reproduce.figures(paper):
            table.add_row(paper, entry.name, entry.title)
    Console(highlight=False, markup=False).print(table)


def reproduce_papers(
    paper: str,
    figure: str | None,
    output: pathlib.Path,
    quick: bool,
    seed: int | None,
    options: dict[str, Any],
    html: pathlib.Path | None = None,
) -> int:
    """Make the figures, print their checks, and return 1 if any failed.

    `options`: those that not all figures take, where they were given; `html`: the folder of
    one page with all figures and checks.
    """
    one_of("PAPER", paper, [*reproduce.PAPERS, ALL])
    if paper == ALL and figure is not None:
        raise UnusableError(f"--figure is one of a paper's, and {ALL} are several: name one.")
    chosen = {name: _chosen(name, figure) for name in (_THREE if paper == ALL else [paper])}
    for option in options.keys() - {"resume"}:
        if not any(entry.takes(option) for entries in chosen.values() for entry in entries):
            raise UnusableError(f"The figures of {paper} have no --{option}.")
    if html is not None:
        make_writable(html)
    exhibits = [
        exhibit
        for name, entries in chosen.items()
        for exhibit in _exhibits(name, entries, output / name, quick, seed, options)
    ]
    if html is not None:
        with writing_in(html):
            write(html / "index.html", page(exhibits, quick).encode())
        Console(highlight=False).print(
            f"All on one page: {html / 'index.html'}", soft_wrap=True
        )
    return 1 if any(exhibit.made.failed for exhibit in exhibits) else 0


def _chosen(paper: str, figure: str | None) -> list[Any]:
    """The figures of a paper, or the one that is named or has the panel that is."""
    entries = reproduce.figures(paper)
    if figure is None:
        apart = reproduce.APART.get(paper, ())
        return [entry for entry in entries if entry.name not in apart]
    panels = reproduce.PANELS[paper]
    one_of("--figure", figure, [*(entry.name for entry in entries), *panels])
    return [entry for entry in entries if entry.name == panels.get(figure, figure)]


def _exhibits(
    paper: str,
    entries: list[Any],
    folder: pathlib.Path,
    quick: bool,
    seed: int | None,
    options: dict[str, Any],
) -> list[Exhibit]:
    """Figures of one paper, saved, with a table of their checks."""
    table = Table("figure", "check", "expected", "measured", "verdict", "seconds")
    exhibits, said = [], Console(stderr=True, highlight=False)
    console = Console(highlight=False, markup=False)
    # At once, and not after minutes.
    make_writable(folder)
    for entry in entries:
        said.print(Text(entry.title), soft_wrap=True)
        made, found = _made(paper, entry, folder, quick, seed, options, said)
        said.print(f"  {_counts(made)} {found}", soft_wrap=True)
        for note in made.notes:
            said.print(Text(f"  {note}"), soft_wrap=True)
        if made.table is not None:
            console.print(_readable(made.table))
        _add_rows(table, made)
        exhibits.append(Exhibit(entry, made, folder))
    console.print(table)
    spent = sum(one.made.seconds for one in exhibits)
    console.print(f"{spent:.1f} s. Pictures and data: {folder}", soft_wrap=True)
    return exhibits


def _made(
    paper: str,
    entry: Any,
    folder: pathlib.Path,
    quick: bool,
    seed: int | None,
    options: dict[str, Any],
    said: Console,
) -> tuple[Made, str]:
    """A figure, made now or kept from before, and what to say of that."""
    taken = {name: value for name, value in options.items() if entry.takes(name)}
    settings = asked(entry, quick, seed, taken)
    # Those that go on by themselves know which of their runs have failed.
    if options.get("resume") and not entry.takes("resume"):
        made = kept(folder, paper, entry.name, settings)
        if made is not None:
            return made, f"kept, made in {made.seconds:.1f} s"
    # Where what takes long is kept as it comes.
    place = {"folder": folder / "runs"} if entry.takes("folder") else {}
    with _following(said):
        outcome, seconds = reproduce.run(entry, quick, seed, **place, **taken)
    with writing_in(folder):
        made = keep(folder, paper, entry.name, settings, outcome, seconds)
    return made, f"in {seconds:.1f} s"


def _counts(made: Made) -> str:
    """How many checks have which verdict."""
    counts = collections.Counter(check.verdict for check in made.checks)
    return ", ".join(f"{counts[v]} {v}" for v in (PASS, FAIL, REPORTED) if counts[v])


def _add_rows(table: Table, made: Made) -> None:
    for i, check in enumerate(made.checks):
        table.add_row(
            "" if i else made.figure,
            check.name,
            check.expected,
            text(check.measured),
            check.verdict,
            "" if i else f"{made.seconds:.1f}",
            style="bold red" if check.verdict == FAIL else None,
        )


def _readable(columns: dict[str, list]) -> Table:
    """A table beside a figure."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for i, name in enumerate(columns):
        words = name.split("_")
        width = max(map(len, words))
        table.add_column(" ".join(words), min_width=width, no_wrap=not i)
    for row in zip(*columns.values(), strict=True):
        # Columns of one width; the file has all digits.
        table.add_row(*(f"{c:.4f}" if isinstance(c, float) else str(c) for c in row))
    return table


@contextlib.contextmanager
def _following(console: Console):
    """What a figure logs, as a line that renews itself on a terminal."""
    logger = logging.getLogger(reproduce.__name__)
    before = logger.level
    with console.status("computing") as status:
        handler = _Shown(status)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


class _Shown(logging.Handler):
    """Shows the last record."""

    def __init__(self, status: Status):
        super().__init__()
        self._status = status

    def emit(self, record: logging.LogRecord) -> None:
        self._status.update(Text(record.getMessage()))
