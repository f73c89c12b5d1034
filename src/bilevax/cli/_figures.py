"""The pictures of a run, in colours that are safe for colour blindness."""

import io
import warnings

import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's blue and orange.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"
_SIZE, _DPI = (5.0, 3.4), 160
_MOST_BARS = 30


def png(figure: Figure) -> bytes:
    """The picture as a file's content."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        # Without the software's name and version, equal pictures are equal files.
        figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def curve(
    history: dict[str, np.ndarray],
    columns: dict[str, str],
    against: tuple[str, str],
    label: str,
    baseline: dict[str, float] | None = None,
    log: bool = False,
) -> Figure:
    """Columns of the history, each with its name, and the baseline's as dashed lines."""
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    for (column, name), color in zip(columns.items(), (BLUE, ORANGE), strict=False):
        axes.plot(history[against[0]], history[column], color=color, label=name)
        if baseline:
            axes.axhline(
                baseline[column], color=color, linestyle="--", label=f"{name}, baseline"
            )
    axes.set(xlabel=against[1], ylabel=label)
    axes.set_xlim(left=0)
    if log and all(np.all(history[column] > 0) for column in columns):
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure


def judged(
    curves: dict[str, tuple[np.ndarray, ...]], label: str, taken: str | None, step: int
) -> Figure:
    """Losses of families at every step from the shared start, with the standard error of
    what is gained on it; and the step at which a family is taken."""
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    for (name, (losses, errors)), color in zip(curves.items(), (BLUE, ORANGE), strict=False):
        steps = np.arange(len(losses))
        axes.plot(steps, losses, color=color, label=name)
        axes.fill_between(
            steps, losses - errors, losses + errors, color=color, alpha=0.15, lw=0
        )
        if name == taken:
            axes.plot(step, losses[step], "o", color=color, label="taken")
    start = next(iter(curves.values()))[0][0]
    axes.axhline(start, color=GREY, linestyle="--", label="best shared penalty")
    axes.set(xlabel="steps from the best shared penalty", ylabel=label)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    told = "± one standard error of the difference"
    # Above, since curves may be anywhere.
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, title=told, title_fontsize=8)
    return figure


def grid(penalties: np.ndarray, losses: np.ndarray, label: str) -> Figure:
    """Losses of shared penalties."""
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.semilogx(penalties, losses, ".-", color=BLUE, label="one penalty for all features")
    best = int(np.nanargmin(losses))
    axes.plot(penalties[best], losses[best], "o", color=ORANGE, label="best")
    axes.set(xlabel="penalty P of P w²/2 beside the summed loss", ylabel=label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure


def image(change: np.ndarray, shape: tuple[int, int], varies: np.ndarray, label: str) -> Figure:
    """How penalties of pixels differ; pixels that never vary are crossed out."""
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    shown = np.where(varies, change, np.nan).reshape(shape)
    mesh = axes.imshow(shown, cmap="cividis")
    axes.set(xlabel="pixel column", ylabel="pixel row")
    figure.colorbar(mesh, ax=axes, label=label)
    rows, columns = np.nonzero(~varies.reshape(shape))
    if len(rows):
        axes.plot(columns, rows, "x", color=GREY, markersize=min(6, 90 / max(shape)))
        axes.set_title("×: pixels that never vary", fontsize=9)
    return figure


def bars(change: np.ndarray, names: list[str], what: str, label: str) -> Figure:
    """Changes of penalties in order, as bars; of many, both ends."""
    order = np.argsort(change, kind="stable")
    many = len(order) > _MOST_BARS
    if many:
        order = np.concatenate([order[: _MOST_BARS // 2], order[-_MOST_BARS // 2 :]])
    height = max(2.2, 0.5 + 0.19 * len(order))
    figure = Figure((_SIZE[0], height), layout="constrained")
    axes = figure.subplots()
    axes.barh(np.arange(len(order)), change[order], color=BLUE)
    labels = [_short(names[i]) for i in order]
    # A dollar sign in a name is not the start of a formula.
    axes.set_yticks(np.arange(len(order)), labels, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel=label, ylabel=what)
    if many:
        middle = len(change) - _MOST_BARS
        axes.axhline(_MOST_BARS / 2 - 0.5, color=GREY, linestyle=":")
        axes.set_title(f"the {middle:,} in between are left out", fontsize=9)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


def confusion(counts: np.ndarray, names: list[str]) -> Figure:
    """How many test rows of each class were given each label."""
    num = len(names)
    labels, ticks = [_short(name) for name in names], np.arange(num)
    side = min(5.2, max(3.6, 0.9 + 0.34 * num))
    figure = Figure((side + 0.9, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mesh = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if num <= 12:
        axes.set_xticks(ticks, labels, rotation=90, fontsize=8, parse_math=False)
        axes.set_yticks(ticks, labels, fontsize=8, parse_math=False)
    elif num <= 30:
        # Names once, so that there is room for the matrix.
        numbered = [f"{label}  {i}" for i, label in enumerate(labels)]
        axes.set_xticks(ticks, [str(i) for i in ticks], fontsize=8)
        axes.set_yticks(ticks, numbered, fontsize=8, parse_math=False)
    if num <= 12:
        for i, j in np.argwhere(counts):
            color = "white" if shares[i, j] > 0.5 else "black"
            axes.text(
                j, i, f"{counts[i, j]}", ha="center", va="center", fontsize=7, color=color
            )
    axes.set(xlabel="predicted class", ylabel="true class")
    figure.colorbar(mesh, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def predictions(found: np.ndarray, targets: np.ndarray) -> Figure:
    """What was predicted for test rows, against what was true."""
    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot(targets, found, ".", color=BLUE, alpha=0.5, label="test rows")
    ends = [targets.min(), targets.max()]
    axes.plot(ends, ends, "--", color=ORANGE, label="right")
    axes.set(xlabel="true value", ylabel="predicted value")
    axes.legend(fontsize=9)
    return figure
