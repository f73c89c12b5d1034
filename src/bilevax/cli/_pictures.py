"""Which pictures a run has, and its lists of words."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from . import _figures as figures
from ._tuned import Tuned


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file with its title."""

    file: str
    title: str
    content: bytes


def pictures(tuned: Tuned) -> list[Picture]:
    """All pictures, in the order of the report."""
    shown = [*_curves(tuned)]
    if tuned.tuning.settings.penalty != "shared":
        shown.append(("penalties", "Learned penalties", _penalties(tuned)))
    shown.append(_answers(tuned))
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
    table, names = tuned.tuning.table, tuned.penalty_names
    values = tuned.log_penalties.astype(float) / np.log(10)
    if tuned.tuning.settings.penalty == "per-class":
        return figures.bars(values, names, "class")
    # The last is the intercept's.
    values, names = values[:-1], names[:-1]
    if table.image_shape:
        varies = np.ptp(np.asarray(table.train[0]), axis=0) > 0
        return figures.image(values, table.image_shape, varies)
    return figures.bars(values, names, "word" if table.kind == "words" else "feature")


def _answers(tuned: Tuned) -> tuple[str, str, Figure]:
    """What the model says of the test rows."""
    (features, targets), names = tuned.tuning.table.test, tuned.tuning.table.class_names
    scores = tuned.model.scores(features)
    if not names:
        figure = figures.predictions(scores[:, 0], targets)
        return "predictions", "Predictions for the test rows", figure
    labels = np.arange(len(names))
    counts = confusion_matrix(targets, scores.argmax(axis=1), labels=labels)
    figure = figures.confusion(counts, list(names))
    return "confusion", "Confusion matrix of the test rows", figure


def words(tuned: Tuned, num: int = 40) -> tuple[list[str], list[str]] | None:
    """The most kept and the most penalised words, where features are words."""
    table = tuned.tuning.table
    if table.kind != "words" or tuned.tuning.settings.penalty != "per-feature":
        return None
    names, x = table.feature_names, tuned.log_penalties
    seen = np.asarray((table.train[0] != 0).sum(axis=0)).ravel() > 0
    order = [i for i in np.argsort(x[:-1], kind="stable") if seen[i]]
    return [names[i] for i in order[:num]], [names[i] for i in order[::-1][:num]]
