"""What a figure comes to: data, a picture, and checks with their verdicts."""

import dataclasses
import io
import itertools
import math
import pathlib
from typing import Any

import numpy as np

from .._core.files import write

PASS, FAIL, REPORTED = "PASS", "FAIL", "REPORTED"


@dataclasses.dataclass(frozen=True)
class Check:
    """One claim: what is expected, what was measured, and whether they agree."""

    name: str
    expected: str
    measured: float
    verdict: str


def within(name: str, measured: Any, low: float | int, high: float | int) -> Check:
    """A number that must lie in an interval; NaN does not.

    >>> within("slope", 2.0, 1.8, 2.2).verdict, within("slope", float("nan"), 0, 1).verdict
    ('PASS', 'FAIL')
    """
    value = float(measured)
    verdict = PASS if low <= value <= high else FAIL
    return Check(name, f"{low:g} to {high:g}", value, verdict)


def at_least(name: str, measured: Any, bound: float | int) -> Check:
    """A number that must reach a bound; NaN does not."""
    return within(name, measured, bound, math.inf)


def at_most(name: str, measured: Any, bound: float | int) -> Check:
    """A number that must not exceed a bound; NaN does."""
    value = float(measured)
    return Check(name, f"at most {bound:g}", value, PASS if value <= bound else FAIL)


def reported(name: str, measured: Any) -> Check:
    """A number without a rule."""
    return Check(name, "-", float(measured), REPORTED)


@dataclasses.dataclass
class Outcome:
    """A figure, remade.

    - `columns`: its data, arrays of one length each, written as one CSV file;
    - `figure`: a matplotlib `Figure`;
    - `checks`: in the order of the paper's claims;
    - `table`: the columns of a table beside the figure, if it has one; `shown`: which of
      them are printed;
    - `notes`: what is missing, and why.
    """

    columns: dict[str, np.ndarray]
    figure: Any
    checks: list[Check]
    table: dict[str, np.ndarray] | None = None
    shown: tuple[str, ...] = ()
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(check.verdict == FAIL for check in self.checks)

    def save(self, folder: pathlib.Path, name: str) -> dict[str, int]:
        """Write NAME.png, .svg, .pdf and .csv, NAME_checks.csv, and NAME_table.csv where there
        is one, each whole or not at all; their names and sizes."""
        folder.mkdir(parents=True, exist_ok=True)
        head = [field.name for field in dataclasses.fields(Check)]
        checks = [dataclasses.astuple(check) for check in self.checks]
        # All are made before the first is written.
        contents = {
            ".png": self.picture("png", dpi=160),
            ".svg": self.picture("svg"),
            ".pdf": self.picture("pdf"),
            ".csv": _csv(_rows(self.columns), [*self.columns]),
            "_checks.csv": _csv(checks, head),
        }
        if self.table is not None:
            contents["_table.csv"] = _csv(_rows(self.table), [*self.table])
        for ending, content in contents.items():
            write(folder / f"{name}{ending}", content)
        return {f"{name}{ending}": len(content) for ending, content in contents.items()}

    def picture(self, kind: str, **options: Any) -> bytes:
        """The figure as a file of this kind."""
        file = io.BytesIO()
        self.figure.savefig(file, format=kind, **options)
        return file.getvalue()


def _rows(columns: dict[str, np.ndarray]) -> list[tuple]:
    """Columns that may be of different lengths, as rows; what is missing is left empty."""
    lists = (np.asarray(column).tolist() for column in columns.values())
    return list(itertools.zip_longest(*lists, fillvalue=""))


def _csv(rows: list[tuple], head: list[str]) -> bytes:
    # Whoever only asks which figures there are need not wait for pandas.
    import pandas as pd

    table = pd.DataFrame(rows, columns=head)
    return table.to_csv(index=False, lineterminator="\n", na_rep="nan").encode()


def text(number: float | int) -> str:
    """A measured number for a table.

    >>> text(1.98765), text(3e-9), text(float("nan"))
    ('1.988', '3e-09', 'nan')
    """
    return "nan" if math.isnan(number) else f"{number:.4g}"
