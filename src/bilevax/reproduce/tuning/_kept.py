"""Finished comparisons on the disk, so that a run that is killed has not lost them."""

import dataclasses
import pathlib
from typing import Any

from ..._core import records
from ._comparison import Comparison


def keep(folder: pathlib.Path, found: Comparison) -> None:
    """Write a comparison to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _file(folder, found.name, found.seed)
    records.keep(path, {"comparison": dataclasses.asdict(found)})


def kept(folder: pathlib.Path, name: str, seed: int) -> Comparison | None:
    """The comparison, if it is there, was finished, and is of the same versions."""

    def read(record: Any) -> Comparison | None:
        found = Comparison(**record["comparison"])
        return None if found.failure else found

    return records.kept(_file(folder, name, seed), read)


def _file(folder: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    return folder / f"{name}_{seed}.json"
