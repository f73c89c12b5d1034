"""The panels of Fig. 1d-f, against rows and against seconds."""

from matplotlib.figure import Figure

from ._learning import Learned
from ._picture import below, line

ALL_ROWS, REMOVED = "amigo_cg, all rows", "amigo_cg, all rows, headers removed"
_WHOLE = {ALL_ROWS: ("-", "AmIGO-CG, all rows"), REMOVED: (":", "the same, headers removed")}
_PANELS = {
    "loss": "Fig. 1d: validation loss",
    "accuracy": "Fig. 1e: validation accuracy",
    "test accuracy": "Fig. 1f: test accuracy",
}
_AGAINST = {"rows": "rows read", "seconds": "CPU seconds"}


def picture(runs: dict[str, Learned]) -> Figure:
    """A row of panels an axis, a column a quantity."""
    figure = Figure((11.5, 7.4), layout="constrained")
    grid = figure.subplots(2, 3, sharey="col")
    for row, (against, label) in zip(grid, _AGAINST.items(), strict=True):
        for axes, (name, title) in zip(row, _PANELS.items(), strict=True):
            _panel(axes, runs, against, name)
            axes.set(title=title, xlabel=label)
        row[0].set_ylabel("cross-entropy (nats)")
        row[1].set_ylabel("share of rows")
    below(figure, grid[0, 0], 5)
    return figure


def _panel(axes, runs: dict[str, Learned], against: str, name: str) -> None:
    for method, one in runs.items():
        # The first record is where seconds begin.
        start = 1 if against == "seconds" else 0
        values = one.history[against][start:], one.history[name][start:]
        if method in _WHOLE:
            style, label = _WHOLE[method]
            axes.plot(*values, style, color="#000000", lw=1, label=label)
        else:
            line(axes, method, *values)
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
