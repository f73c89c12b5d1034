"""The grid of F.2: T, N and beta, of which each method takes what it has."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._learning import OPTIONS, Job, Learned

_VALUES = {
    "inner_steps": (10, 20),
    "adjoint_steps": (5, 10),
    "adjoint_step_size": (0.5, 10.0),
}
# By the method, and the number of its setting.
Found = Mapping[tuple[str, int], Learned]


def choices(method: str) -> list[dict[str, Any]]:
    """All settings of a method.

    >>> choices("itd")
    [{'inner_steps': 10}, {'inner_steps': 20}]
    """
    names = [name for name in _VALUES if name in OPTIONS[method]]
    values = itertools.product(*(_VALUES[name] for name in names))
    return [dict(zip(names, chosen, strict=True)) for chosen in values]


def jobs(
    job: Callable[..., Job], methods: tuple[str, ...], complete: bool, budget: float
) -> dict[tuple[str, int], Job]:
    """A run of every method: within a budget of seconds, or complete, at every setting."""
    seconds = np.inf if complete else budget
    return {
        (method, number): job(method=method, budget=seconds, options=options)
        for method in methods
        for number, options in enumerate(choices(method) if complete else [{}])
    }


def best(found: Found) -> dict[str, Learned]:
    """Each method's run of the least validation loss at its end."""
    runs: dict[str, Learned] = {}
    for (method, _), run in found.items():
        if method not in runs or _end(run) < _end(runs[method]):
            runs[method] = run
    return runs


def table(tried: Mapping[tuple[str, int], Job], found: Found) -> dict[str, np.ndarray]:
    """A row a setting, with what it ended with."""
    columns = {"method": np.array([method for method, _ in found])}
    for name in _VALUES:
        of = [str(tried[key].options.get(name, "-")) for key in found]
        columns[name] = np.array(of)
    for name in ("step", "loss", "accuracy", "test accuracy"):
        last = [run.history[name][-1] for run in found.values()]
        columns[name.replace(" ", "_")] = np.array(last)
    return columns


def _end(run: Learned) -> float:
    loss = float(run.history["loss"][-1])
    # What has diverged is the worst.
    return loss if np.isfinite(loss) and not run.failure else np.inf
