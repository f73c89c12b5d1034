"""The grid of F.2: T, N and beta, of which each method takes what it has."""

import itertools
import logging
from typing import Any

import numpy as np

from ._learning import OPTIONS, Learned, learn
from ._posts import Posts

_log = logging.getLogger(__name__)
_VALUES = {
    "inner_steps": (10, 20),
    "adjoint_steps": (5, 10),
    "adjoint_step_size": (0.5, 10.0),
}
Found = dict[tuple[str, int], tuple[dict[str, Any], Learned]]


def choices(method: str) -> list[dict[str, Any]]:
    """All settings of a method.

    >>> choices("itd")
    [{'inner_steps': 10}, {'inner_steps': 20}]
    """
    names = [name for name in _VALUES if name in OPTIONS[method]]
    values = itertools.product(*(_VALUES[name] for name in names))
    return [dict(zip(names, chosen, strict=True)) for chosen in values]


def tried(
    rows: Posts,
    methods: tuple[str, ...],
    batch_size: int,
    steps: int,
    seed: int,
    budget: float,
    complete: bool,
) -> Found:
    """A run of every method: within a budget of seconds, or complete, at every setting."""
    found = {}
    for method in methods:
        for number, options in enumerate(choices(method) if complete else [{}]):
            _log.info("%s, batches of %d%s", method, batch_size, f", {options}" * complete)
            seconds = np.inf if complete else budget
            run = learn(rows, method, batch_size, steps, seed, seconds, options)
            found[method, number] = options, run
    return found


def best(found: Found) -> dict[str, Learned]:
    """Each method's run of the least validation loss at its end."""
    runs: dict[str, Learned] = {}
    for (method, _), (_, run) in found.items():
        if method not in runs or _end(run) < _end(runs[method]):
            runs[method] = run
    return runs


def table(found: Found) -> dict[str, np.ndarray]:
    """A row a setting, with what it ended with."""
    columns = {"method": np.array([method for method, _ in found])}
    for name in _VALUES:
        of = [str(options.get(name, "-")) for options, _ in found.values()]
        columns[name] = np.array(of)
    for name in ("step", "loss", "accuracy", "test accuracy"):
        last = [run.history[name][-1] for _, run in found.values()]
        columns[name.replace(" ", "_")] = np.array(last)
    return columns


def _end(run: Learned) -> float:
    loss = float(run.history["loss"][-1])
    # What has diverged is the worst.
    return loss if np.isfinite(loss) and not run.failure else np.inf
