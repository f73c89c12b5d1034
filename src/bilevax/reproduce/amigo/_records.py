"""What runs on two sets of rows record, and the columns that this makes."""

from typing import Any

import numpy as np

from ...problems import cross_entropy
from ...problems._losses import accuracy


def measured(first, test, x, y):
    """The loss and accuracy on the rows that x is judged by, and the accuracy on test rows."""
    del x
    scores, of_test = first[0] @ y, test[0] @ y
    return {
        "loss": cross_entropy(scores, first[1]),
        "accuracy": accuracy(scores, first[1]),
        "test accuracy": accuracy(of_test, test[1]),
    }


def ended(name: str, run: Any, why: str = "") -> str:
    """Where a run ended before its steps, and why: it says so itself where it failed."""
    return f"{name} ended at step {run.history['step'][-1]}: {run.failure or why}"


def columns(
    labels: tuple[str, ...], runs: dict[tuple[Any, ...], Any], names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """A row a record: what names its run, and what was recorded."""
    lengths = [len(run.history["step"]) for run in runs.values()]
    keys = zip(labels, zip(*runs, strict=True), strict=True)
    found = {label: np.repeat(values, lengths) for label, values in keys}
    joined = lambda name: np.concatenate([run.history[name] for run in runs.values()])
    return found | {name.replace(" ", "_"): joined(name) for name in names}
