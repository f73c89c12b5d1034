"""Squared errors of the three methods against epochs, a panel a penalty."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ._methods import EPOCHS, METHODS

# Okabe and Ito's palette.
COLORS = {"batch": "#0072B2", "const": "#D55E00", "dec": "#009E73"}
NAMES = {
    "batch": "Batch (all rows, AID-FP)",
    "const": "Stoch const (steps of 1)",
    "dec": "Stoch dec (decreasing steps)",
}
_STYLES = {"batch": "-o", "const": "--s", "dec": "-.^"}


def panels(errors: dict[str, np.ndarray], titles: list[str], columns: int) -> Figure:
    """Means over runs with a band of one standard deviation, of (runs, budgets, panels)."""
    rows = -(-len(titles) // columns)
    wide = 2.9 * columns if columns > 1 else 5.6
    figure = Figure((wide, 2.7 * rows + (0.5 if rows > 1 else 1.5)), layout="constrained")
    grid = np.atleast_2d(figure.subplots(rows, columns, sharex=True, squeeze=False)).ravel()
    for i, title in enumerate(titles):
        _panel(grid[i], {m: e[..., i] for m, e in errors.items()}, title)
    for axes in grid[len(titles) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel("squared error / |gradient|²")
    for i, axes in enumerate(grid[: len(titles)]):
        if i + columns >= len(titles):
            axes.set_xlabel("epochs, (t + k) passes")
            axes.tick_params(labelbottom=True)
    handles, labels = grid[0].get_legend_handles_labels()
    size = {"ncols": 3} if columns > 2 else {"ncols": 2, "fontsize": 9}
    figure.legend(handles, labels, loc="outside lower center", **size)
    return figure


def _panel(axes: Any, errors: dict[str, np.ndarray], title: str) -> None:
    for method in METHODS:
        mean, spread = errors[method].mean(axis=0), errors[method].std(axis=0)
        color = COLORS[method]
        axes.plot(EPOCHS, mean, _STYLES[method], color=color, label=NAMES[method], markersize=3)
        # A band that reaches below zero ends a tenth of the way there.
        low = np.maximum(mean - spread, mean / 10)
        axes.fill_between(EPOCHS, low, mean + spread, color=color, alpha=0.18, linewidth=0)
    axes.set_title(title, fontsize=10)
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
