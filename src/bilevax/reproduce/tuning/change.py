"""Change of the test loss against scikit-learn's shared penalty, on eight data sets.

`AdaptiveLogisticRegressionCV` and `AdaptiveRidgeCV` beside (c), which is
`LogisticRegressionCV(scoring="neg_log_loss")` solved to convergence, or `RidgeCV`: the same
rows, scaling, folds and grid, both refitted on all rows that are not test rows, compared on the
same test rows. Sets: digits, breast cancer, wine, MNIST averaged to 14 x 14 pixels (500
rows), four newsgroups (500 words, 600 rows), diabetes, diabetes with all products of two
features, diabetes with 200 permuted copies of its columns.

Seeds draw the test rows and the folds: `seeds` of them, from `seed` on. Quick: wine and
products, two seeds.

MNIST and the newsgroups are read from the folder of data; where they are not there the set is
left out, and a note says how to get it. A run that fails is recorded, and fails its set.
"""

import dataclasses
import logging
import os
import pathlib

import numpy as np

from .._outcome import FAIL, PASS, Check, Outcome
from ._comparison import Comparison, compare
from ._kept import keep, kept
from ._parts import parts
from ._picture import picture
from ._rules import checks
from ._sets import QUICK, SETS, Table
from ._summary import Summary, summary

_log = logging.getLogger(__name__)
_FIELDS = [field.name for field in dataclasses.fields(Comparison)]


def make(
    quick: bool = False,
    seed: int = 0,
    seeds: int | None = None,
    data: str | os.PathLike | None = None,
    folder: pathlib.Path | None = None,
    resume: bool = False,
) -> Outcome:
    """The changes of all sets and seeds, their means, and the rules.

    `folder`: where each finished comparison is kept at once; with `resume` those that are
    there are not computed again.
    """
    names = QUICK if quick else tuple(SETS)
    chosen = range(seed, seed + (seeds or (2 if quick else 5)))
    runs: dict[str, list[Comparison]] = {}
    notes = []
    for place, name in enumerate(names):
        _log.info("reading %s", name)
        try:
            table = SETS[name].load(data)
        except OSError as error:
            notes.append(f"{name} is left out. {error}")
            continue
        except ValueError as error:
            runs[name] = [_failed(name, s, error) for s in chosen]
            continue
        runs[name] = []
        for s in chosen:
            _log.info("%s, seed %d (set %d of %d)", name, s, place + 1, len(names))
            found = kept(folder, name, s) if folder and resume else None
            if found is None:
                found = _run(name, table, s)
                if folder:
                    keep(folder, found)
            runs[name].append(found)
    everything = [run for of_set in runs.values() for run in of_set]
    notes += [f"{r.name}, seed {r.seed}, failed: {r.failure}" for r in everything if r.failure]
    summaries = [summary(name, of_set) for name, of_set in runs.items()]
    judged = [checks(found) for found in summaries]
    return Outcome(
        _columns([*map(dataclasses.asdict, everything)], _FIELDS),
        picture(summaries, everything),
        [check for of_set in judged for check in of_set],
        _table(summaries, judged),
        notes,
    )


def _run(name: str, table: Table, seed: int) -> Comparison:
    """A comparison, or the error that has ended it: the others go on."""
    try:
        return compare(name, seed, parts(SETS[name], table, seed), SETS[name].classes)
    except Exception as error:
        return _failed(name, seed, error)


def _failed(name: str, seed: int, error: Exception) -> Comparison:
    return Comparison(name, seed, failure=f"{type(error).__name__}: {error}")


def _table(summaries: list[Summary], judged: list[list[Check]]) -> dict[str, np.ndarray]:
    """One row a set."""
    failed = [any(check.verdict == FAIL for check in of_set) for of_set in judged]
    table = _columns([found._asdict() for found in summaries], list(Summary._fields))
    return table | {"verdict": np.where(failed, FAIL, PASS)}


def _columns(rows: list[dict], names: list[str]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in names}
