"""Fig. 1d-f: a penalty a word of 20 Newsgroups: validation loss and both accuracies.

Half of the 11,314 training posts train the weights, half validate the penalties; headers are
kept, without which no method comes near the accuracies that the paper prints. T = N = 10,
alpha = gamma = 100, beta = 10, c = 1/2, x_0 = 0, y_0 = 0, batches of 1,000 random rows, fresh
at every call, 300 outer steps. AmIGO-CG on all rows, 1,000 steps, stands beside them, and 400
of it on posts without headers, footers and quotes, as the paper words it. Each curve has a
budget of CPU seconds beside compilation, which a note names where it was not enough. Against
rows read (all calls of a step, times the rows of each) and against CPU seconds.

Complete: each method at the settings of F.2, T in {10, 20}, N in {5, 10} and beta in {0.5, 10}
as far as it has them, without a budget; drawn and judged is the one of the least validation
loss. In float32. Quick, or where the posts are missing: digits, their pixels as counts,
alpha = gamma = 10, 60 steps, batches of 200, three methods.
"""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from .._outcome import Check, Outcome
from . import _post_rules as rules
from . import _settings as settings
from ._learning import Job, Learned, common_step, learn
from ._post_picture import ALL_ROWS, REMOVED, picture
from ._posts import HEADERS, Posts, posts
from ._records import columns, ended
from ._side_by_side import side_by_side

_METHODS = ("amigo_cg", "amigo_gd", "aid_cg", "aid_gd", "aid_fp", "aid_n", "itd")


class _Plan(NamedTuple):
    """Methods on random rows, and AmIGO-CG on all of them; seconds a curve."""

    methods: tuple[str, ...]
    batch_size: int
    steps: int
    steps_on_all: int
    budget: float
    budget_on_all: float
    steps_removed: int = 0


_FULL = _Plan(_METHODS, 1000, 300, 1000, 180.0, 950.0, 400)
_QUICK = _Plan(("amigo_cg", "amigo_gd", "aid_gd"), 200, 60, 60, np.inf, np.inf)


def make(
    quick: bool = False,
    seed: int = 0,
    data: pathlib.Path | None = None,
    complete: bool = False,
) -> Outcome:
    """Curves, and H1 to H4."""
    with jax.enable_x64(False):
        rows = posts(data, quick, seed)
        plan = _QUICK if rows.small else _FULL
        runs, errors, table = _made(rows, plan, seed, data, complete)
    checks = _ordered(runs, plan, 0.0 if rows.small else 0.03) + rules.ahead(errors)
    if not rows.small:
        checks += _levels(runs)
    notes = [n for n in (rows.note, *_cut(runs, plan)) if n is not None]
    names = ("step", "rows", "calls", "seconds", "loss", "accuracy", "test accuracy")
    data_columns = columns(("run",), {(name,): one for name, one in runs.items()}, names)
    shown = () if table is None else tuple(table)
    return Outcome(data_columns, picture(runs), checks, table, shown, notes)


def _made(
    rows: Posts, plan: _Plan, seed: int, data: pathlib.Path | None, complete: bool
) -> tuple[dict[str, Learned], dict[str, rules.Errors], dict[str, np.ndarray] | None]:
    """A run a curve, what H3 compares, and where settings are tried a table of them. What takes
    longest comes first."""
    job = functools.partial(Job, seed=seed)
    on_all = functools.partial(
        job, method="amigo_cg", batch_size=None, budget=plan.budget_on_all
    )
    whole = {ALL_ROWS: on_all(rows=rows, steps=plan.steps_on_all)}
    if plan.steps_removed:
        bare = posts(data, False, seed, HEADERS)
        whole[REMOVED] = on_all(rows=bare, steps=plan.steps_removed)
    job = functools.partial(job, rows=rows, batch_size=plan.batch_size, steps=plan.steps)
    tried = settings.jobs(job, plan.methods, complete, plan.budget)
    runs = {key: functools.partial(learn, one) for key, one in (whole | tried).items()}
    compared = {
        f"H3, {method}": functools.partial(rules.errors, rows, method, seed)
        for method in rules.CARRIED
    }
    made: Any = side_by_side(runs | compared, 1 if rows.small else None)
    found = {key: made[key] for key in tried}
    best = settings.best(found) | {name: made[name] for name in whole}
    errors = {method: made[f"H3, {method}"] for method in rules.CARRIED}
    return best, errors, settings.table(tried, found) if complete else None


def _ordered(runs: dict[str, Learned], plan: _Plan, margin: float) -> list[Check]:
    """H2. Its margin belongs to all steps; where a budget was up, after those that all made."""
    step = common_step(runs[method] for method in plan.methods)
    if step == plan.steps:
        return rules.ordered("H2", runs, step, margin)
    return rules.ordered(f"H2, cut at k = {step}:", runs, step, 0.0)


def _levels(runs: dict[str, Learned]) -> list[Check]:
    return [*rules.levels(runs[ALL_ROWS]), *rules.without_headers(runs[REMOVED])]


def _cut(runs: dict[str, Learned], plan: _Plan) -> list[str]:
    """What ended before its steps, and why."""
    budget = lambda name: plan.budget_on_all if name in (ALL_ROWS, REMOVED) else plan.budget
    return [
        ended(name, one, f"Its {budget(name):g} CPU seconds were up.")
        for name, one in runs.items()
        if one.cut or one.failure
    ]
