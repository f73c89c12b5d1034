"""Which pictures a run has, and its lists of words."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from .. import _figures as figures
from .._outcome import Picture
from .._shown import answers, extremes, penalties
from .tuned import Tuned


def pictures(tuned: Tuned) -> list[Picture]:
    """All pictures, in the order of the report."""
    shown = [*_curves(tuned)]
    if tuned.tuning.settings.penalty != "shared":
        shown.append(("penalties", "Learned penalties", _penalties(tuned)))
    shown.append(answers(tuned.model, tuned.tuning.table))
    return [Picture(f"{name}.png", title, figures.png(f)) for name, title, f in shown]


def _curves(tuned: Tuned) -> Iterator[tuple[str, str, Figure]]:
    """The history, beside the baseline's losses and scores."""
    settings, table, found = tuned.tuning.settings, tuned.tuning.table, tuned.baseline
    history, theirs = tuned.checkpoint.history, None if found is None else found.scores
    unit = " (nats)" if settings.model == "logistic" else ""
    seconds, calls = ("seconds", "seconds of training"), ("calls", "oracle calls")
    losses, loss = {"validation_loss": "validation"}, f"validation loss{unit}"
    for name, title, against in (
        ("loss_seconds", "Validation loss against time", seconds),
        ("loss_calls", "Validation loss against work", calls),
    ):
        yield name, title, figures.curve(history, losses, against, loss, theirs)
    scores = {"validation_score": "validation", "test_score": "test"}
    title, label = (
        ("Accuracy", "accuracy (share of rows)") if table.class_names else ("R²", "R²")
    )
    yield "score", title, figures.curve(history, scores, calls, label, theirs)
    norm, label = {"gradient_norm": "hypergradient"}, "Euclidean norm"
    figure = figures.curve(history, norm, calls, label, log=True)
    yield "gradient_norm", "Norm of the hypergradient", figure


def _penalties(tuned: Tuned) -> Figure:
    table = tuned.tuning.table
    values = tuned.log_penalties.astype(float) / np.log(10)
    if tuned.tuning.settings.penalty == "per-class":
        return figures.bars(values, tuned.penalty_names, "class", _CHANGE)
    # The last is the intercept's.
    return penalties(values[:-1], table, _CHANGE)


def words(tuned: Tuned) -> tuple[list[str], list[str]] | None:
    """The most kept and the most penalised words, where features are words."""
    table = tuned.tuning.table
    if table.kind != "words" or tuned.tuning.settings.penalty != "per-feature":
        return None
    return extremes(tuned.log_penalties[:-1], table)


_CHANGE = "log10 of penalty / first penalty"
