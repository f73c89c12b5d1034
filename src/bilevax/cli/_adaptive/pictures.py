"""Which pictures a run on folds has."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from .. import _figures as figures
from .._answers import answers
from .._model import Model
from .._outcome import Picture
from .._tables import Table
from .fitted import FAMILIES, Fitted


def pictures(fitted: Fitted, table: Table, model: Model) -> list[Picture]:
    """All pictures, in the order of the report."""
    shown = [*_searches(fitted, table)]
    if fitted.estimator.family_ != "shared":
        shown.append(("penalties", "Learned penalties", _penalties(fitted, table)))
    shown.append(answers(model, table))
    return [Picture(f"{name}.png", title, figures.png(f)) for name, title, f in shown]


def _searches(fitted: Fitted, table: Table) -> Iterator[tuple[str, str, Figure]]:
    unit = " (nats)" if table.class_names else " (half the squared error)"
    family = fitted.estimator.family_
    if fitted.families:
        curves = {
            FAMILIES[name]: tuple(fitted.curve(name, kind) for kind in _JUDGED)
            for name in fitted.families
        }
        title, label = "Loss of rows that took no part", f"loss of rows that took no part{unit}"
        taken = None if family == "shared" else FAMILIES[family]
        yield "judged_loss", title, figures.judged(curves, label, taken, fitted.step)
    grid, losses = fitted.grid
    figure = figures.grid(grid, losses, f"mean loss over the folds{unit}")
    yield "shared_penalty", "One penalty for all features", figure


def _penalties(fitted: Fitted, table: Table) -> Figure:
    values = fitted.log_ratios
    label = "log10 of penalty / best shared penalty"
    if table.image_shape:
        varies = np.ptp(np.asarray(table.train[0]), axis=0) > 0
        return figures.image(values, table.image_shape, varies, label)
    what = "word" if table.kind == "words" else "feature"
    return figures.bars(values, list(table.feature_names), what, label)


def words(fitted: Fitted, table: Table, num: int = 40) -> tuple[list[str], list[str]] | None:
    """The most kept and the most penalised words, where features are words."""
    if table.kind != "words" or fitted.estimator.family_ == "shared":
        return None
    names, values = table.feature_names, fitted.log_ratios
    seen = np.asarray((table.train[0] != 0).sum(axis=0)).ravel() > 0
    order = [i for i in np.argsort(values, kind="stable") if seen[i]]
    return [names[i] for i in order[:num]], [names[i] for i in order[::-1][:num]]


_JUDGED = ("judged_loss", "judged_error")
