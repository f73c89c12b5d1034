"""The comparison as a table, a picture and columns of a file."""

import numpy as np
from matplotlib.figure import Figure

from .._picture import STYLES, below, decades_alone
from ._problems import TITLES
from ._runs import Compared, end, ranked

# By problem.
Found = dict[str, Compared]


def final(one: Compared, method: str) -> float:
    """The mean suboptimality at the end of the reported runs."""
    return float(np.mean([end(run) for (m, _), run in one.runs.items() if m == method]))


def table(found: Found) -> dict[str, np.ndarray]:
    """A row a method and problem: place, multiple, and how far it got."""
    rows = [
        (
            problem,
            i + 1,
            STYLES[method][2],
            f"{one.steps[method]:g}",
            f"{final(one, method) - one.least:.3g}",
            _last(one, method, "steps"),
            _last(one, method, "rows"),
        )
        for problem, one in found.items()
        for i, method in enumerate(ranked(one.runs))
    ]
    names = "problem", "place", "method", "multiple", "suboptimality", "steps", "rows"
    return {
        n: np.array(column) for n, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def _last(one: Compared, method: str, name: str) -> int:
    """Of the reported runs' first seed; 0 where it has failed."""
    run = next(run for (m, _), run in one.runs.items() if m == method)
    return int(run[name][-1]) if run[name] else 0


def columns(found: Found) -> dict[str, np.ndarray]:
    """A row a look at a run."""
    names = "seconds", "rows", "steps", "values"
    rows = [
        (problem, method, seed, *seen, seen[-1] - one.least)
        for problem, one in found.items()
        for (method, seed), run in all_runs(one).items()
        for seen in zip(*(run[name] for name in names), strict=True)
    ]
    labels = ("problem", "method", "seed", *names, "suboptimality")
    columns = zip(*rows, strict=True) if rows else [()] * len(labels)
    return {n: np.array(column) for n, column in zip(labels, columns, strict=True)}


def all_runs(one: Compared) -> dict:
    """The reported runs, and the longer ones."""
    return one.runs | {(method, "longer"): run for method, run in one.longer.items()}


def picture(found: Found) -> Figure:
    """A row of panels a problem, against CPU seconds and against rows."""
    figure = Figure((10.5, 3.4 * len(found) + 0.9), layout="constrained")
    grid = figure.subplots(len(found), 2, sharey="row", squeeze=False)
    for row, (problem, one) in zip(grid, found.items(), strict=True):
        for axes, against in zip(row, ("seconds", "rows"), strict=True):
            _panel(axes, one, against)
            label = {"seconds": "CPU seconds", "rows": "rows read"}[against]
            axes.set(title=TITLES[problem], xlabel=label)
        row[0].set_ylabel("ℓ(x) - ℓ*")
    below(figure, grid[0, 0], 6)
    return figure


def _panel(axes, one: Compared, against: str) -> None:
    """Two seeds a method, in one colour; l* itself has no place on a logarithmic axis.

    A cross ends what failed before its time.
    """
    for number, ((method, _), run) in enumerate(one.runs.items()):
        color, style, name = STYLES[method]
        above = np.array(run["values"]) - one.least
        shown = np.where(above > 0, above, np.nan)
        label = None if number % 2 else name
        axes.plot(run[against], shown, color=color, ls=style, marker=".", ms=4, label=label)
        if one.has_failed(run):
            axes.plot(run[against][-1:], shown[-1:], color=color, marker="x", ms=8, mew=2)
    axes.set(xscale="log", yscale="log")
    decades_alone(axes)
    axes.grid(alpha=0.3)
