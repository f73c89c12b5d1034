"""Eleven stochastic methods compared by CPU seconds and rows, beside the paper's figures.

SOBA, MA-SOBA, SABA, SRBA, MRBO, VRBO, stocBiO, AmIGO-GD, F2SA, BSA and TTSA, batches of 64, on
three problems: multinomial logistic regression with a penalty a word of 20 Newsgroups (words
that ten training posts have) and a penalty a pixel of MNIST (5,000 images a level), and
hyper-cleaning (the same images, half of the training labels wrong). Rows are cut to whole
batches. x starts at a shared penalty or equal weights, y at 0.

Suboptimality is l(x) - l*: l(x) = f(x, y*(x)) is computed apart from a run, by Newton's method
to a gradient of 1e-5, while no time is counted; l* is the least value that any run has seen,
those among them that are ten times as long, by the two best methods on the problem. alpha and
beta are 1 over twice the largest smoothness of batches at the start; the scale of gamma is the
step along the first hypergradient that moves no number of x by more than 1, and each method is
tuned over five multiples of it by the last value of one seed, and reported on two others.
Steps decrease as published: of SOBA as k^(-1/2), of MRBO as k^(-1/3), of F2SA, BSA and TTSA as
in their presets' texts; those of the others are constant. `seconds` a run: 30 by default, of
CPU time beside compilation. A run that is in the store is never made again.

Nothing here is in the paper, and so nothing is judged. In float32. Quick, or where data are
missing: digits. Quick: one problem, two methods, two multiples, a twentieth of a second.
"""

import logging
import pathlib
import tempfile

import jax

from ...datasets._mnist import mnist_place
from ...datasets._newsgroups import newsgroups_place
from .._outcome import Check, Outcome, reported
from ._contest import _shown as shown
from ._contest._methods import STEPS
from ._contest._problems import NAMES, TITLES
from ._contest._runs import Plan, compared, ranked
from ._contest._shown import Found
from ._picture import STYLES

_log = logging.getLogger(__name__)
_GRID, _POINTS, _SECONDS = (1e-3, 1e-2, 1e-1, 1.0, 10.0), 6, 30.0


def make(
    quick: bool = False,
    seed: int = 0,
    data: pathlib.Path | None = None,
    folder: pathlib.Path | None = None,
    seconds: float | None = None,
) -> Outcome:
    """All runs, the ranking of each problem and the pictures.

    `folder`: where the store of finished runs is, a temporary one by default.
    """
    if quick:
        sizes = ("pixels",), ("soba", "amigo_gd"), (0.01, 0.1), seconds or 0.05, 2
    else:
        sizes = NAMES, tuple(STEPS), _GRID, seconds or _SECONDS, _POINTS
    found = {}
    with tempfile.TemporaryDirectory() as temporary, jax.enable_x64(False):
        store = pathlib.Path(folder or temporary) / "contest.db"
        plan = Plan(*sizes, seed, store, data, quick)
        for problem in plan.problems:
            _log.info(TITLES[problem])
            found[problem] = compared(plan, problem)
    table = shown.table(found)
    notes = _missing(data, quick) + _edges(plan, found) + _failed(found)
    picture, checks = shown.picture(found), _checks(found)
    return Outcome(shown.columns(found), picture, checks, table, tuple(table), notes)


def _missing(data: pathlib.Path | None, quick: bool) -> list[str]:
    places = {"20 Newsgroups": newsgroups_place(data), "MNIST": mnist_place(data)}
    return [
        f"{name} is not in {place}: shown are scikit-learn's digits."
        for name, (place, there) in places.items()
        if not there and not quick
    ]


def _edges(plan: Plan, found: Found) -> list[str]:
    """Where a multiple was the first or last that was tried, a better one may be beyond."""
    ends = plan.grid[0], plan.grid[-1]
    at = [
        f"{STYLES[method][2]} ({problem})"
        for problem, one in found.items()
        for method, step in one.steps.items()
        if step in ends
    ]
    return [f"Tuned to an end of the grid: {', '.join(at)}."] if at else []


def _failed(found: Found) -> list[str]:
    """A failed run has no value after the last look before."""
    failed = [
        f"{STYLES[method][2]} ({problem}, {_name(seed)}, {_last_look(run)})"
        for problem, one in found.items()
        for (method, seed), run in shown.all_runs(one).items()
        if one.has_failed(run)
    ]
    return [_FAILED.format(", ".join(failed))] if failed else []


def _name(seed: int | str) -> str:
    return seed if isinstance(seed, str) else f"seed {seed}"


def _last_look(run: dict) -> str:
    return f"after step {run['steps'][-1]}" if run["steps"] else "before the first look"


def _checks(found: Found) -> list[Check]:
    return [
        reported(
            f"{problem}: {i + 1}. {STYLES[method][2]}", shown.final(one, method) - one.least
        )
        for problem, one in found.items()
        for i, method in enumerate(ranked(one.runs))
    ] + [reported(f"{problem}: least value", one.least) for problem, one in found.items()]


_FAILED = (
    "Failed on the way, and judged by the last value before: {}. Crosses end their curves."
)
