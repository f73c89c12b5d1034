"""Fig. 5: MNIST distilled to one image a class, by plain gradient descent.

The outer variables are ten images and the logarithm of a penalty a pixel, from N(0, 1) and 0
(`bx.problems.distillation`, c_r = 1/2); the inner problem fits a linear model to the ten, with
T = N = 10 and alpha = beta = 0.1. Pixels are (v - 0.5) / 0.5. An outer step sees 1,024 random
images; the loss and accuracy that are drawn are those of all 60,000, beside the accuracy on
the test images, against oracle calls, and the loss against CPU seconds too. gamma = 0.01 for
10,000 steps, with every method, and gamma = 1 for 2,500 with four, where the curves part
further. With Adam, which the public code uses, hypergradients that are far too small move x
all the same: reported.

In float32. Quick, or where MNIST is missing: scikit-learn's digits, gamma = 1, three methods.
"""

import logging
import pathlib
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from .._outcome import Check, Outcome
from . import _distilled as distilled
from ._picture import STYLES, below, line
from ._records import columns, ended

_log = logging.getLogger(__name__)
_METHODS = (
    "amigo_cg",
    "amigo_gd",
    "aid_cg",
    "aid_gd",
    "aid_fp",
    "aid_n",
    "stocbio",
    "bsa",
    "ttsa",
)
_FEW = ("amigo_cg", "amigo_gd", "aid_cg", "aid_gd")
Runs = dict[tuple[str, str], distilled.Learned]


def make(quick: bool = False, seed: int = 0, data: pathlib.Path | None = None) -> Outcome:
    """Curves of all methods, D1 to D3, and what was learned."""
    # Whose condition number of 7e4 float32 bears, in half the time.
    with jax.enable_x64(False):
        images = distilled.images(data, quick)
        runs = _runs(images, quick, seed)
        checks = [distilled.condition(images, seed, judged=not images.small)]
    checks += _on_digits(runs) if images.small else distilled.rules(runs)
    notes = [] if images.note is None else [images.note]
    notes += [
        ended(f"{_TITLES[setting]}: {method}", one)
        for (setting, method), one in runs.items()
        if one.failure
    ]
    return Outcome(_columns(runs), _picture(runs, images), checks, notes=notes)


def _runs(images: distilled.Images, quick: bool, seed: int) -> Runs:
    """By the setting and the method: "plain" at 0.01, "long steps" at 1, and "Adam"."""
    settings = {"plain": _METHODS, "long steps": _FEW, "adam": _FEW}
    if quick:
        settings = {"long steps": ("amigo_cg", "amigo_gd", "aid_gd")}
    steps = {"plain": 10_000, "long steps": 200 if quick else 2500, "adam": 2000}
    found = {}
    for setting, methods in settings.items():
        for method in methods:
            _log.info("%s, %s", method, setting)
            found[setting, method] = distilled.run(
                images, method, setting, steps[setting], seed
            )
    return found


def _on_digits(runs: dict) -> list[Check]:
    return distilled.learned(runs, "long steps", 0.5)


def _columns(runs: dict) -> dict[str, np.ndarray]:
    names = ("step", "calls", "seconds", "loss", "accuracy", "test accuracy")
    return columns(("setting", "method"), runs, names)


_TITLES = {"plain": "γ = 0.01", "long steps": "γ = 1", "adam": "Adam, 0.01"}
_ROWS = (
    ("calls", "loss", "training loss"),
    ("seconds", "loss", "training loss"),
    ("calls", "accuracy", "training accuracy"),
    ("calls", "test accuracy", "test accuracy"),
)
_AGAINST = {"calls": "oracle calls", "seconds": "CPU seconds"}


def _picture(runs: dict, images: distilled.Images) -> Figure:
    settings = list(dict.fromkeys(setting for setting, _ in runs))
    figure = Figure((3.3 * len(settings) + 4.2, 10.6), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(3.3 * len(settings), 4.2))
    curves, pictures = parts
    grid = curves.subplots(len(_ROWS), len(settings), sharey="row", squeeze=False)
    for column, setting in enumerate(settings):
        for axes, (against, name, label) in zip(grid[:, column], _ROWS, strict=True):
            for (of, method), one in runs.items():
                if of == setting:
                    line(axes, method, one.history[against], one.history[name])
            axes.grid(alpha=0.3)
            axes.locator_params(axis="x", nbins=4)
            axes.set(xlabel=_AGAINST[against], ylabel=label if column == 0 else "")
        grid[0, column].set_title(f"Fig. 5, {_TITLES[setting]}")
    below(figure, grid[0, 0], 5)
    _learned(pictures, runs, images)
    return figure


def _learned(figure: Any, runs: dict, images: distilled.Images) -> None:
    """The images of each class, a column a method."""
    shown = {m: one for (setting, m), one in runs.items() if setting == "long steps"}
    grid = figure.subplots(10, len(shown))
    for column, (method, one) in zip(grid.T, shown.items(), strict=True):
        limit = np.quantile(np.abs(one.rows), 0.99)
        for axes, row in zip(column, one.rows, strict=True):
            axes.imshow(row.reshape(images.shape), cmap="gray", vmin=-limit, vmax=limit)
            axes.set(xticks=[], yticks=[])
        column[0].set_title(STYLES[method][2], fontsize=9)
    figure.suptitle("learned images, γ = 1", fontsize=11)
