"""What a model says of the test rows, as a picture."""

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
