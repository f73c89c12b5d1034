"""Panels of errors against costs, a row a method and a column a condition number."""

import numpy as np
from matplotlib.figure import Figure

from ._curves import named, of_method
from ._picture import STYLES, below, shown
from ._sweep import GROWING, UNROLLED, Runs, Size

_COLORS = ("#56B4E9", "#0072B2", "#009E73", "#E69F00", "#000000")
_POINTS = 120


def grid(
    runs: Runs, size: Size, rows: tuple[str, ...], kappas: tuple[float, ...], title: str
) -> tuple[dict[str, np.ndarray], Figure]:
    """Columns of the CSV file, and the picture."""
    columns = [i for i, kappa in enumerate(size.conditions) if kappa in kappas]
    figure = Figure((2.2 * len(columns) + 0.8, 1.6 * len(rows) + 1.1), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    for axes_of_row, method in zip(grid, rows, strict=True):
        for axes, i in zip(axes_of_row, columns, strict=True):
            _panel(axes, runs, method, i)
        axes_of_row[0].set_ylabel(STYLES[method][2])
    for axes, i in zip(grid[0], columns, strict=True):
        axes.set_title(f"κ = {size.conditions[i]:g}", fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel("oracle calls", fontsize=9)
    figure.suptitle(f"{title}: (ℓ(x) - ℓ*) / (ℓ(0) - ℓ*)", fontsize=11)
    # A row that has all counts.
    fullest = max(range(len(rows)), key=lambda r: len(grid[r, 0].lines))
    below(figure, grid[fullest, 0], 5)
    return _columns(runs, size), figure


def _panel(axes, runs: Runs, method: str, i: int) -> None:
    letter = "T" if method in UNROLLED else "N"
    for (count, run), color in zip(of_method(runs, method).items(), _COLORS, strict=False):
        style = ":" if count == GROWING else "-"
        label = f"{letter} = {named(count)}" if count != GROWING else "growing"
        axes.plot(run.cost, shown(run.errors[i]), style, color=color, label=label)
    axes.set(xscale="log", yscale="log")
    axes.grid(alpha=0.3)


def _columns(runs: Runs, size: Size) -> dict[str, np.ndarray]:
    """A row a point of a curve, of each at most some hundred."""
    found: dict[str, list] = {n: [] for n in ("method", "steps", "kappa", "k", "cost", "error")}
    for (method, count), run in runs.items():
        kept = np.unique(np.geomspace(1, len(run.cost), _POINTS).round().astype(int)) - 1
        for i, kappa in enumerate(size.conditions):
            number = len(kept)
            found["method"] += [method] * number
            found["steps"] += [named(count)] * number
            found["kappa"] += [kappa] * number
            found["k"] += (kept + 1).tolist()
            found["cost"] += run.cost[kept].tolist()
            found["error"] += run.errors[i, kept].tolist()
    return {name: np.array(values) for name, values in found.items()}
