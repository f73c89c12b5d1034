"""A figure that was remade, as its folder keeps it."""

import dataclasses
import json
import pathlib
from typing import Any

from .._core import records
from ..datasets import available
from ..reproduce._outcome import FAIL, Check, Outcome
from ..reproduce._papers import Entry


@dataclasses.dataclass(frozen=True)
class Made:
    """What is said of a figure, and how it was asked for; its picture is a file beside.

    - `settings`: what the figure was made with, as JSON keeps it;
    - `checks`, `notes`: those of the outcome;
    - `table`: columns that are printed, by name, if there are any.
    """

    paper: str
    figure: str
    settings: dict[str, Any]
    seconds: float
    checks: list[Check]
    notes: list[str]
    table: dict[str, list] | None

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(check.verdict == FAIL for check in self.checks)


def asked(entry: Entry, quick: bool, seed: int | None, taken: dict[str, Any]) -> dict[str, Any]:
    """What decides an outcome, as JSON keeps it: options, and which data sets are where."""
    settings = {"quick": quick, "seed": seed} | taken
    if entry.takes("data"):
        settings["data"] = {n: about[-1] for n, about in available(taken.get("data")).items()}
    return json.loads(json.dumps(settings))


def keep(
    folder: pathlib.Path,
    paper: str,
    name: str,
    settings: dict[str, Any],
    found: Outcome,
    seconds: float,
) -> Made:
    """Write an outcome's files, and last what is said of it."""
    # Whoever is stopped in between leaves no record of other files.
    _file(folder, name).unlink(missing_ok=True)
    files = found.save(folder, stem(name))
    table = None
    if found.table is not None:
        table = {column: found.table[column].tolist() for column in found.shown}
    made = Made(paper, name, settings, seconds, found.checks, found.notes, table)
    records.keep(_file(folder, name), {"files": files, "made": dataclasses.asdict(made)})
    return made


def kept(folder: pathlib.Path, paper: str, name: str, settings: dict[str, Any]) -> Made | None:
    """The figure, if it is there, asked for with these settings, and of the same versions."""

    def read(record: Any) -> Made | None:
        checks = [Check(**check) for check in record["made"].pop("checks")]
        made = Made(checks=checks, **record["made"])
        sizes = {file: (folder / file).stat().st_size for file in record["files"]}
        same = (made.paper, made.figure, made.settings) == (paper, name, settings)
        return made if same and sizes == record["files"] else None

    return records.kept(_file(folder, name), read)


def stem(name: str) -> str:
    """How a figure's files begin."""
    return f"figure_{name}"


def _file(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{stem(name)}.json"
