"""Everything a run leaves in its folder."""

import csv
import io
import pathlib
from typing import Any

import numpy as np

from .._core.files import write
from . import _archive as archive
from . import _figures as figures
from ._baseline import Baseline
from ._checkpoint import Checkpoint
from ._folder import RESULT, write_json
from ._model import WEIGHTS, Model
from ._report import Picture, report
from ._settings import Settings
from ._tables import Table
from ._task import Task

REPORT, HYPERPARAMETERS, HISTORY = "report.html", "hyperparameters.npz", "history.csv"
INTERCEPT = "(intercept)"


def write_results(
    folder: pathlib.Path,
    settings: Settings,
    table: Table,
    task: Task,
    checkpoint: Checkpoint,
    found: Baseline | None,
    result: dict[str, Any],
) -> None:
    """Model, hyperparameters, history, pictures and report; `result.json` comes last."""
    model = fitted(settings, table, task, checkpoint)
    model.save(folder / WEIGHTS)
    names, x = penalty_names(settings, table), np.asarray(checkpoint.state.loop.x)
    penalty = task.unit * np.exp(x.astype(float))
    arrays = {"x": x, "penalty": penalty, "names": np.array(names)}
    archive.save(folder / HYPERPARAMETERS, arrays)
    write(folder / HISTORY, _table_of(checkpoint.history))
    shown = pictures(settings, table, checkpoint, found, model, (names, np.atleast_1d(x)))
    for picture in shown:
        write(folder / picture.file, picture.content)
    write(folder / REPORT, report(result, shown, _words(settings, table, x)).encode())
    write_json(folder / RESULT, result)


def fitted(settings: Settings, table: Table, task: Task, checkpoint: Checkpoint) -> Model:
    """The model on features as they came."""
    weights = np.asarray(checkpoint.state.loop.hypergradient.y)
    coefficients, intercept = task.scaling.unscaled(weights)
    names = list(table.feature_names)
    logits = settings.model == "logistic"
    failure = checkpoint.ended if checkpoint.failed else ""
    return Model(coefficients, intercept, names, list(table.class_names), logits, failure)


def penalty_names(settings: Settings, table: Table) -> list[str]:
    """What each penalty belongs to."""
    return {
        "per-feature": [*table.feature_names, INTERCEPT],
        "per-class": list(table.class_names),
        "shared": ["all features"],
    }[settings.penalty]


def pictures(
    settings: Settings,
    table: Table,
    checkpoint: Checkpoint,
    found: Baseline | None,
    model: Model,
    learned: tuple[list[str], np.ndarray],
) -> list[Picture]:
    """All pictures, in the order of the report."""
    history, theirs = checkpoint.history, found.scores if found and found.fits else None
    score = "accuracy (share of rows)" if table.class_names else "R²"
    unit = " (nats)" if settings.model == "logistic" else ""
    both = lambda name: {f"validation_{name}": "validation", f"test_{name}": "test"}
    seconds, calls = ("seconds", "seconds of training"), ("calls", "oracle calls")
    loss = f"validation loss{unit}"
    one, norm = {"validation_loss": "validation"}, {"gradient_norm": "hypergradient"}
    make = figures.curve
    loss_seconds = make(history, one, seconds, loss, theirs)
    loss_calls = make(history, one, calls, loss, theirs)
    scores = make(history, both("score"), calls, score, theirs)
    norms = make(history, norm, calls, "Euclidean norm", log=True)
    shown = [
        ("loss_seconds", "Validation loss against time", loss_seconds),
        ("loss_calls", "Validation loss against work", loss_calls),
        ("score", score.split(" (")[0].capitalize(), scores),
        ("gradient_norm", "Norm of the hypergradient", norms),
    ]
    if settings.penalty != "shared":
        shown.append(
            ("penalties", "Learned penalties", _penalty_figure(settings, table, *learned))
        )
    shown.append(_answers(table, model))
    return [Picture(f"{name}.png", title, figures.png(f)) for name, title, f in shown]


def _penalty_figure(settings: Settings, table: Table, names: list[str], x: np.ndarray):
    values = x.astype(float) / np.log(10)
    if settings.penalty == "per-class":
        return figures.bars(values, names, "class")
    values, names = values[:-1], names[:-1]
    if table.image_shape:
        varies = np.ptp(np.asarray(table.train[0]), axis=0) > 0
        return figures.image(values, table.image_shape, varies)
    return figures.bars(values, names, "word" if table.kind == "words" else "feature")


def _answers(table: Table, model: Model):
    features, targets = table.test
    scores = model.scores(features)
    if not table.class_names:
        figure = figures.predictions(scores[:, 0], targets)
        return "predictions", "Predictions for the test rows", figure
    counts = figures.confusion_counts(scores.argmax(axis=1), targets, len(table.class_names))
    figure = figures.confusion(counts, list(table.class_names))
    return "confusion", "Confusion matrix of the test rows", figure


def _words(settings: Settings, table: Table, x: np.ndarray, num: int = 40):
    """The most kept and the most penalised words, where features are words."""
    if table.kind != "words" or settings.penalty != "per-feature":
        return None
    names = table.feature_names
    seen = np.asarray((table.train[0] != 0).sum(axis=0)).ravel() > 0
    order = [i for i in np.argsort(x[:-1], kind="stable") if seen[i]]
    return [names[i] for i in order[:num]], [names[i] for i in order[::-1][:num]]


def _table_of(history: dict[str, np.ndarray]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(history)
    writer.writerows(zip(*(column.tolist() for column in history.values()), strict=True))
    return file.getvalue().encode()
