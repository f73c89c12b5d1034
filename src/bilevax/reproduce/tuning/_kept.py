"""Finished comparisons on the disk, so that a run that is killed has not lost them."""

import contextlib
import dataclasses
import json
import pathlib

from ..._core.files import write
from ..._core.versions import versions
from ._comparison import Comparison


def keep(folder: pathlib.Path, found: Comparison) -> None:
    """Write a comparison to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"versions": versions(), "comparison": dataclasses.asdict(found)}
    write(_file(folder, found.name, found.seed), json.dumps(record, indent=1).encode())


def kept(folder: pathlib.Path, name: str, seed: int) -> Comparison | None:
    """The comparison, if it is there, was finished, and is of the same versions."""
    # A file that cannot be read is as good as none.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        record = json.loads(_file(folder, name, seed).read_bytes())
        found = Comparison(**record["comparison"])
        if record["versions"] == versions() and not found.failure:
            return found
    return None


def _file(folder: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    return folder / f"{name}_{seed}.json"
