"""The paired changes of all sets, in one picture."""

import numpy as np
from matplotlib.figure import Figure

from ._comparison import Comparison
from ._sets import SETS
from ._summary import Summary

# Okabe and Ito's palette, and a marker each.
_FAMILIES = {
    "shared": ("#777777", "o", "shared penalty kept"),
    "theta": ("#0072B2", "^", "penalties by descriptions (theta)"),
    "free": ("#D55E00", "s", "free penalties"),
}
_BELOW = 0.25  # of a row, from its mean down to its single seeds


def picture(summaries: list[Summary], runs: list[Comparison]) -> Figure:
    """One row a set: the mean with its 95 % interval, and faintly the seeds below it."""
    height = 1.7 + 0.5 * len(summaries)
    figure = Figure((6.8, height), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="black", lw=0.8)
    for row, found in enumerate(summaries):
        middle, low, high = _percent([found.change, found.low, found.high])
        axes.plot([low, high], [row, row], color="black", lw=1.6)
        axes.plot(middle, row, "D", color="black", markersize=5)
    for family, (color, marker, label) in _FAMILIES.items():
        at = [(run.change, _row(summaries, run)) for run in runs if run.family == family]
        changes, rows = np.reshape(at, (-1, 2)).T
        options = {"color": color, "alpha": 0.45, "markersize": 5, "label": label}
        axes.plot(_percent(changes), rows + _BELOW, marker, markeredgewidth=0, **options)
    axes.set_yticks(range(len(summaries)), [_title(found) for found in summaries])
    axes.set_ylim(len(summaries) - 0.4, -0.6)
    axes.set(xlabel="change of the test loss against one shared penalty [%]")
    figure.suptitle(_heading(summaries), fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _percent(changes) -> np.ndarray:
    return 100 * np.expm1(np.asarray(changes, float))


def _row(summaries: list[Summary], run: Comparison) -> int:
    return [found.name for found in summaries].index(run.name)


def _title(found: Summary) -> str:
    return SETS[found.name].title if found.name in SETS else found.name


def _heading(summaries: list[Summary]) -> str:
    seeds = max((found.seeds for found in summaries), default=0)
    if seeds < 2:
        return "one seed; left of zero is better"
    return f"means of {seeds} seeds with 95 % intervals, and each seed; left of zero is better"
