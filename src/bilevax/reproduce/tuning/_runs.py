"""All comparisons, one after another: what goes wrong is recorded, and the others go on."""

import logging
import os
import pathlib
from typing import NamedTuple

from ._comparison import Comparison, compare
from ._kept import keep, kept
from ._parts import parts
from ._sets import SETS, Table

_log = logging.getLogger(__name__)


class Request(NamedTuple):
    """What to compare.

    - `names`, `seeds`: all sets with all seeds;
    - `data`: the folder where data are kept;
    - `folder`: where each finished comparison is kept at once, if anywhere; with `resume`
      those that are there are not computed again.
    """

    names: tuple[str, ...]
    seeds: range
    data: str | os.PathLike | None = None
    folder: pathlib.Path | None = None
    resume: bool = False


def all_runs(request: Request) -> tuple[list[Comparison], list[str]]:
    """The comparisons, and a note for each set that is not there and each that failed."""
    runs, notes = [], []
    for name in request.names:
        _log.info("reading %s", name)
        try:
            table = SETS[name].load(request.data)
        except OSError as error:
            notes.append(f"{name} is left out. {error}")
        except ValueError as error:  # its file is damaged
            runs += [_failed(name, seed, error) for seed in request.seeds]
        else:
            runs += [_one(request, name, table, seed) for seed in request.seeds]
    notes += [f"{r.name}, seed {r.seed}, failed. {r.failure}" for r in runs if r.failure]
    return runs, notes


def _one(request: Request, name: str, table: Table, seed: int) -> Comparison:
    """The comparison that is kept, or a new one."""
    folder, place = request.folder, request.names.index(name) + 1
    _log.info("%s, seed %d (set %d of %d)", name, seed, place, len(request.names))
    if folder and request.resume and (found := kept(folder, name, seed)):
        return found
    try:
        data = SETS[name]
        found = compare(name, seed, parts(data, table, seed), data.classes)
    except Exception as error:
        return _failed(name, seed, error)
    if folder:
        keep(folder, found)
    return found


def _failed(name: str, seed: int, error: Exception) -> Comparison:
    return Comparison(name, seed, failure=f"{type(error).__name__}: {error}")
