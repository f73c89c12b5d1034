"""What pictures and lists show of a model, however its penalties were learned."""

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from . import _figures as figures
from ._model import Model
from ._tables import Table


def answers(model: Model, table: Table) -> tuple[str, str, Figure]:
    """File, title and picture: confusions of classes, or predictions against true values."""
    (features, targets), names = table.test, table.class_names
    scores = model.scores(features)
    if not names:
        figure = figures.predictions(scores[:, 0], targets)
        return "predictions", "Predictions for the test rows", figure
    labels = np.arange(len(names))
    counts = confusion_matrix(targets, scores.argmax(axis=1), labels=labels)
    figure = figures.confusion(counts, list(names))
    return "confusion", "Confusion matrix of the test rows", figure


def penalties(values: np.ndarray, table: Table, label: str) -> Figure:
    """One of each feature, as an image where features are pixels."""
    if table.image_shape:
        varies = np.ptp(np.asarray(table.train[0]), axis=0) > 0
        return figures.image(values, table.image_shape, varies, label)
    what = "word" if table.kind == "words" else "feature"
    return figures.bars(values, list(table.feature_names), what, label)


def extremes(values: np.ndarray, table: Table, num: int = 40) -> tuple[list[str], list[str]]:
    """The words of the smallest and of the largest penalties, of those that occur."""
    names = table.feature_names
    seen = np.asarray((table.train[0] != 0).sum(axis=0)).ravel() > 0
    order = [i for i in np.argsort(values, kind="stable") if seen[i]]
    return [names[i] for i in order[:num]], [names[i] for i in order[::-1][:num]]
