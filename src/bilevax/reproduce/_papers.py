"""Which papers and figures there are, and how one is run."""

import importlib
import inspect
import time
from types import ModuleType
from typing import Any, NamedTuple

import jax

from ._outcome import Outcome

# Paper, or what else is measured -> figure -> module.
PAPERS = {
    "superefficiency": {
        "1": "toy",
        "2a": "ridge",
        "2b": "logistic",
        "2c": "p_norm",
        "2d": "sinkhorn",
        "3a": "sgd",
        "3b": "sgd_decreasing",
        "4": "barycentre",
        "A3": "timing",
    },
    "sid": {"1": "single", "2": "multiple", "C1": "multinomial"},
    "amigo": {
        "1": "quadratic",
        "1d": "newsgroups",
        "2": "grid",
        "3": "unrolled",
        "coupled": "coupled",
        "4": "batches",
        "5": "distillation",
        "modern": "modern",
    },
    "tuning": {"change": "change"},
}

# Panels that are made together.
PANELS = {
    "superefficiency": {"4a": "4", "4b": "4"},
    "sid": {},
    "amigo": {"1a": "1", "1b": "1", "1c": "1", "1e": "1d", "1f": "1d"},
    "tuning": {},
}

# What takes too long to be made with the others: only where it is named.
APART = {"amigo": ("modern",)}


class Entry(NamedTuple):
    """A figure of a paper."""

    name: str
    title: str
    module: ModuleType

    def takes(self, option: str) -> bool:
        """Whether its `make` has a keyword of this name."""
        return option in inspect.signature(self.module.make).parameters


def figures(paper: str) -> list[Entry]:
    """The figures of a paper, in its order.

    >>> [entry.name for entry in figures("superefficiency")][:2]
    ['1', '2a']
    """
    found = []
    for name, module_name in PAPERS[paper].items():
        module = importlib.import_module(f"{__package__}.{paper}.{module_name}")
        found.append(Entry(name, (module.__doc__ or "").split("\n")[0], module))
    return found


def title(paper: str) -> str:
    """The first sentence of a paper's package.

    >>> title("sid")
    'Convergence properties of stochastic hypergradients (Grazzi, Pontil and Salzo 2021).'
    """
    found = importlib.import_module(f"{__package__}.{paper}").__doc__
    return " ".join((found or paper).split("\n\n")[0].split())


def run(
    entry: Entry, quick: bool = False, seed: int | None = None, **options: Any
) -> tuple[Outcome, float]:
    """The outcome of a figure and the seconds it took.

    In float64, which squares of errors need; JAX's precision is put back afterwards.
    `seed` replaces the paper's own; further options are those of the figure's `make`.
    """
    started = time.perf_counter()
    with jax.enable_x64(True):
        options |= {} if seed is None else {"seed": seed}
        outcome = entry.module.make(quick=quick, **options)
    return outcome, time.perf_counter() - started
