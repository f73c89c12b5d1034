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
import os
import pathlib

import numpy as np

from .._outcome import FAIL, PASS, Check, Outcome
from ._comparison import Comparison
from ._picture import picture
from ._rules import checks
from ._runs import Request, all_runs
from ._sets import QUICK, SETS
from ._summary import Summary, summary

# What is printed of the table.
_SHOWN = (
    "name",
    "baseline_loss",
    "change",
    "standard_error",
    "default_change",
    "score_change",
    "families",
    "verdict",
)


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
    runs, notes = all_runs(Request(names, chosen, data, folder, resume))
    of = lambda name: [run for run in runs if run.name == name]
    summaries = [summary(name, of(name)) for name in names if of(name)]
    judged = [checks(found) for found in summaries]
    return Outcome(
        _columns([*map(dataclasses.asdict, runs)], _names(Comparison)),
        picture(summaries, runs),
        [check for of_set in judged for check in of_set],
        _table(summaries, judged),
        _SHOWN,
        notes,
    )


def _table(summaries: list[Summary], judged: list[list[Check]]) -> dict[str, np.ndarray]:
    """One row a set."""
    failed = [any(check.verdict == FAIL for check in of_set) for of_set in judged]
    table = _columns([*map(dataclasses.asdict, summaries)], _names(Summary))
    return table | {"verdict": np.where(failed, FAIL, PASS)}


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _columns(rows: list[dict], names: list[str]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in names}
