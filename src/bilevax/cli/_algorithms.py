"""The table of all algorithms, for a terminal and as a page of the documentation."""

import textwrap

from rich.console import Console
from rich.table import Table

from ..algorithms import table
from ..algorithms._facts import RATES, SYMBOLS


def show_algorithms() -> None:
    """Print it, in two parts so that it fits."""
    console, rows = Console(highlight=False), table()
    for title, fields in _PARTS.items():
        shown = Table(title=title)
        for field in fields:
            width = _WIDTHS.get(field)
            shown.add_column(_HEADS[field], no_wrap=field == "preset", min_width=width)
        for row in rows:
            shown.add_row(*(getattr(row, field) for field in fields))
        console.print(shown)
    console.print(f"{_calls()} Rates are as published: {RATES}.")


def markdown() -> str:
    """The page docs/algorithms.md."""
    lines = [_line(tuple(_HEADS.values())), "|" + "---|" * len(_HEADS)]
    lines += [_line((f"`{row.preset}`", *row[1:])) for row in table()]
    paragraphs = (_PAGE.format(calls=_calls(), rates=RATES)).split("\n\n")
    page = [textwrap.fill(paragraph, 96) for paragraph in paragraphs]
    return "\n\n".join([*page, "\n".join(lines)]) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _calls() -> str:
    letters = {"T": "inner steps", "N": "adjoint steps"} | SYMBOLS
    meanings = "; ".join(f"{letter}: {meaning}" for letter, meaning in letters.items())
    return (
        "Calls are those of one outer step: of the inner gradient, of products with the "
        f"Hessian and with the cross derivative, and of the outer gradient. {meanings}."
    )


_HEADS = {
    "preset": "preset",
    "composition": "composition",
    "inner_gradient": "grad g",
    "hvp": "H z",
    "cross": "J z",
    "outer_gradient": "grad f",
    "batches": "batches",
    "warm_y": "warm y",
    "warm_z": "warm z",
    "second_order": "2nd order",
    "assumptions": "assumptions",
    "rate": "rate",
}
_WIDTHS = {"composition": 34}
_KNOWN = ("batches", "assumptions", "rate")
_PARTS = {
    "algorithms": [field for field in _HEADS if field not in _KNOWN],
    "what they read, and what is known of them": ["preset", *_KNOWN],
}
_PAGE = """# Algorithms

Every preset of `bx.algorithms`, as the code makes it. `bilevax info --algorithms` prints this
table, and with `--markdown` writes this page.

{calls} A start from zero does not pay for the product with zero, and a warm conjugate gradient
pays one for its first residual. A refresh on all rows (`srba`, `vrbo`) comes in place of one
estimate on batches. A test holds the formulas to counted calls.

Assumptions come beside a strongly convex g and Lipschitz derivatives. Rates are as
published: {rates}."""
