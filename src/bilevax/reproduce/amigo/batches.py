"""Fig. 4: 20 Newsgroups with batches of 100, 1,000, 2,000 and 4,000 rows.

Settings are those of Fig. 1d-f, and stocBiO, BSA, TTSA, MRBO and VRBO are there too, with
eta = 0.5, Q = b = 10 and constant steps. Every curve has 20 CPU seconds beside compilation, so
that methods are compared after as many steps as all have made. In float32.

Complete: all 300 steps of every curve, and of each method the best of the settings of F.2.

Quick, or where the posts are missing: digits, batches of 50 and 200, 30 steps, three methods.
"""

import functools
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from matplotlib.figure import Figure

from .._outcome import Check, Outcome, reported, within
from . import _post_rules as rules
from . import _settings as settings
from ._learning import Job, Learned, common_step, learn
from ._picture import below, decades_alone, line
from ._posts import posts
from ._records import columns, ended
from ._side_by_side import side_by_side

_SMALL = ("amigo_cg", "amigo_gd", "aid_gd")
_ORDERED = ("amigo_cg", "amigo_gd", "aid_gd", "aid_fp", "aid_n", "itd")
_OTHERS = ("stocbio", "bsa", "ttsa", "mrbo", "vrbo")
_BUDGET, _STEPS = 20.0, 300
Runs = dict[tuple[int, str], Learned]


def make(
    quick: bool = False,
    seed: int = 0,
    data: pathlib.Path | None = None,
    complete: bool = False,
) -> Outcome:
    """A row of panels a quantity, a column a batch size; H5 and H6."""
    with jax.enable_x64(False):
        rows = posts(data, quick, seed)
        sizes = (50, 200) if rows.small else (100, 1000, 2000, 4000)
        methods = _SMALL if rows.small else _ORDERED + _OTHERS
        steps = 30 if rows.small else _STEPS
        job = functools.partial(Job, rows=rows, steps=steps, seed=seed)
        runs = _runs(job, methods, sizes, complete, 1 if rows.small else None)
    checks = [check for size in sizes for check in _compared(runs, size)]
    notes = [] if rows.note is None else [rows.note]
    notes += [
        ended(f"|D| = {size}: {method}", one)
        for (size, method), one in runs.items()
        if one.failure
    ]
    return Outcome(_columns(runs), _picture(runs, sizes), checks, notes=notes)


def _runs(
    job: Callable[..., Job],
    methods: tuple[str, ...],
    sizes: tuple[int, ...],
    complete: bool,
    processes: int | None,
) -> Runs:
    """Each method's best run at each batch size."""
    tasks = {
        (size, *key): functools.partial(learn, one)
        for size in sizes
        for key, one in settings.jobs(
            functools.partial(job, batch_size=size), methods, complete, _BUDGET
        ).items()
    }
    made = side_by_side(tasks, processes)
    of_size = lambda size: {key[1:]: one for key, one in made.items() if key[0] == size}
    return {
        (size, method): one
        for size in sizes
        for method, one in settings.best(of_size(size)).items()
    }


def _compared(runs: Runs, size: int) -> list[Check]:
    """H5 and H6, after as many steps as all have made."""
    of = {method: one for (s, method), one in runs.items() if s == size}
    step = common_step(of.values())
    ordered = {method: one for method, one in of.items() if method in _ORDERED}
    checks = rules.ordered(f"H5 |D| = {size}, k = {step}:", ordered, step, 0.0)
    for method in _OTHERS:
        if method in of:
            name = f"H6 |D| = {size}, k = {step}: loss of {method} beside AID-GD's"
            off = of[method].at(step, "loss") - of["aid_gd"].at(step, "loss")
            judged = method in ("stocbio", "bsa")
            checks.append(within(name, off, -0.05, 0.05) if judged else reported(name, off))
    return checks


def _columns(runs: Runs) -> dict[str, np.ndarray]:
    names = ("step", "rows", "seconds", "loss", "accuracy", "test accuracy")
    return columns(("batch_size", "method"), runs, names)


_AXES = (("rows", "loss"), ("seconds", "loss"), ("rows", "test accuracy"))
_LABELS = {
    "loss": "validation loss (nats)",
    "test accuracy": "test accuracy",
    "rows": "rows read",
    "seconds": "CPU seconds",
}


def _picture(runs: Runs, sizes: tuple[int, ...]) -> Figure:
    figure = Figure((3 * len(sizes) + 0.8, 8.2), layout="constrained")
    grid = figure.subplots(3, len(sizes), sharey="row", squeeze=False)
    for row, (against, name) in zip(grid, _AXES, strict=True):
        row[0].set_ylabel(_LABELS[name])
        for axes, size in zip(row, sizes, strict=True):
            for (of, method), one in runs.items():
                if of == size:
                    line(axes, method, one.history[against], one.history[name])
            axes.set(xscale="log" if against == "rows" else "linear", xlabel=_LABELS[against])
            decades_alone(axes)
            axes.grid(alpha=0.3)
    for axes, size in zip(grid[0], sizes, strict=True):
        axes.set_title(f"Fig. 4: |D| = {size}", fontsize=10)
    below(figure, grid[0, 0], 6)
    return figure
