"""Fig. 1d-f: a penalty a word of 20 Newsgroups: validation loss and both accuracies.

Half of the 11,314 training posts train the weights, half validate the penalties; headers are
kept, without which no method comes near the accuracies that the paper prints. T = N = 10,
alpha = gamma = 100, beta = 10, c = 1/2, x_0 = 0, y_0 = 0, batches of 1,000 random rows, fresh
at every call, 300 outer steps. AmIGO-CG on all rows, 1,000 steps, stands beside them. Each
curve has a budget of time beside compilation, which a note names where it was not enough.
Against rows read: all calls of a step, times the rows of each.

In float32. Quick, or where the posts are missing: digits, their pixels as counts,
alpha = gamma = 10, 60 steps, batches of 200, three methods.
"""

import logging
import pathlib
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from .._outcome import Check, Outcome
from . import _post_rules as rules
from ._learning import Learned, learn
from ._picture import below, line
from ._posts import Posts, posts
from ._records import columns

_log = logging.getLogger(__name__)
_METHODS = ("amigo_cg", "amigo_gd", "aid_cg", "aid_gd", "aid_fp", "aid_n", "itd")
_ALL_ROWS = "amigo_cg, all rows"


class _Plan(NamedTuple):
    """Methods on random rows, and AmIGO-CG on all of them; seconds a curve."""

    methods: tuple[str, ...]
    batch_size: int
    steps: int
    steps_on_all: int
    budget: float
    budget_on_all: float


_FULL = _Plan(_METHODS, 1000, 300, 1000, 150.0, 750.0)
_QUICK = _Plan(("amigo_cg", "amigo_gd", "aid_gd"), 200, 60, 60, np.inf, np.inf)


def make(quick: bool = False, seed: int = 0, data: pathlib.Path | None = None) -> Outcome:
    """Curves, and H1 to H4."""
    with jax.enable_x64(False):
        rows = posts(data, quick, seed)
        plan = _QUICK if rows.small else _FULL
        runs = _runs(rows, plan, seed)
        checks = rules.ahead(rows, seed)
    checks += _on_digits(runs, plan) if rows.small else _on_posts(runs, plan)
    notes = [n for n in (rows.note, *_cut(runs, plan)) if n is not None]
    return Outcome(_columns(runs), _picture(runs), checks, notes=notes)


def _runs(rows: Posts, plan: _Plan, seed: int) -> dict[str, Learned]:
    found = {}
    for method in plan.methods:
        _log.info("%s, batches of %d", method, plan.batch_size)
        found[method] = learn(rows, method, plan.batch_size, plan.steps, seed, plan.budget)
    _log.info(_ALL_ROWS)
    whole = plan.steps_on_all, seed, plan.budget_on_all
    return found | {_ALL_ROWS: learn(rows, "amigo_cg", None, *whole)}


def _on_posts(runs: dict[str, Learned], plan: _Plan) -> list[Check]:
    ordered = {m: runs[m] for m in plan.methods}
    return [*rules.levels(runs[_ALL_ROWS]), *rules.ordered("H2", ordered, plan.steps, 0.03)]


def _on_digits(runs: dict[str, Learned], plan: _Plan) -> list[Check]:
    ordered = {m: runs[m] for m in plan.methods}
    return rules.ordered("H2", ordered, plan.steps, 0.0)


def _cut(runs: dict[str, Learned], plan: _Plan) -> list[str]:
    return [
        f"{name} was cut at step {one.history['step'][-1]}: its "
        f"{plan.budget_on_all if name == _ALL_ROWS else plan.budget:g} s were up."
        for name, one in runs.items()
        if one.cut
    ]


def _columns(runs: dict[str, Learned]) -> dict[str, np.ndarray]:
    names = ("step", "rows", "calls", "seconds", "loss", "accuracy", "test accuracy")
    return columns(("run",), {(name,): one for name, one in runs.items()}, names)


_PANELS = {
    "loss": "Fig. 1d: validation loss",
    "accuracy": "Fig. 1e: validation accuracy",
    "test accuracy": "Fig. 1f: test accuracy",
}


def _picture(runs: dict[str, Learned]) -> Figure:
    figure = Figure((11.5, 4.3), layout="constrained")
    grid = figure.subplots(1, 3)
    for axes, (name, title) in zip(grid, _PANELS.items(), strict=True):
        for method, one in runs.items():
            if method == _ALL_ROWS:
                values = one.history["rows"], one.history[name]
                axes.plot(*values, color="#000000", lw=1, label="AmIGO-CG, all rows")
            else:
                line(axes, method, one.history["rows"], one.history[name])
        axes.set(title=title, xlabel="rows read", xscale="log")
        axes.grid(alpha=0.3)
    grid[0].set_ylabel("cross-entropy (nats)")
    grid[1].set_ylabel("share of rows")
    below(figure, grid[0], 8)
    return figure
