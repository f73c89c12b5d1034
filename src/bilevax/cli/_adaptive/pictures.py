"""Which pictures a run on folds has."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from .. import _figures as figures
from .._model import Model
from .._outcome import Picture
from .._shown import answers, extremes, penalties
from .._tables import Table
from .fitted import FAMILIES, TUNED, Fitted


def pictures(fitted: Fitted, table: Table, model: Model) -> list[Picture]:
    """All pictures, in the order of the report."""
    shown = [*_searches(fitted, table)]
    if fitted.estimator.family_ != "shared":
        shown.append(
            ("penalties", "Learned penalties", penalties(fitted.log_ratios, table, _RATIO))
        )
    shown.append(answers(model, table))
    return [Picture(f"{name}.png", title, figures.png(f)) for name, title, f in shown]


def _searches(fitted: Fitted, table: Table) -> Iterator[tuple[str, str, Figure]]:
    # On a line of its own where one would be longer than the axis.
    unit = " (nats)" if table.class_names else "\n(half the squared error)"
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
    figure = figures.grid(grid, losses, f"mean {TUNED[fitted.pool.is_split]}{unit}")
    yield "shared_penalty", "One penalty for all features", figure


def words(fitted: Fitted, table: Table) -> tuple[list[str], list[str]] | None:
    """The most kept and the most penalised words, where features are words."""
    if table.kind != "words" or fitted.estimator.family_ == "shared":
        return None
    return extremes(fitted.log_ratios, table)


_JUDGED = ("judged_loss", "judged_error")
_RATIO = "log10 of penalty / best shared penalty"
