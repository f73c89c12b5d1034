"""Runs of all methods, each on a split of its own."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._outcome import Check, Outcome, at_most
from ._methods import EPOCHS, METHODS, VARIANTS, errors
from ._rules import Runs, renamed
from ._setting import Exact, Source, Split

_log = logging.getLogger(__name__)


def solutions(split: Split, xs: Any) -> list[Exact]:
    """One each; the largest penalty first, from where the next begins."""
    found, start = {}, None
    for i in np.argsort([-np.min(x) for x in xs], kind="stable"):
        found[i] = split.exact(xs[i], start)
        start = found[i].y
    return [found[i] for i in range(len(xs))]


def run_all(
    source: Source, seeds: range, penalties: Callable[[int, int], np.ndarray]
) -> tuple[Runs, list[Split], list[list[Exact]]]:
    """Every method on every split; `penalties(seed, features)` are those of a run."""
    found: dict[str, list] = {m: [] for m in METHODS + VARIANTS}
    splits, solved = [], []
    for i, seed in enumerate(seeds):
        _log.info("run %d of %d", i + 1, len(seeds))
        split = Split.of(source, seed)
        xs = penalties(seed, source.features.shape[1])
        exacts = solutions(split, xs)
        for method, runs in found.items():
            epochs = EPOCHS if method in METHODS else EPOCHS[-1:]
            runs.append(errors(split, exacts, xs, method, (seed,), epochs))
        splits.append(split)
        solved.append(exacts)
    stacked = {
        m: {name: np.array([run[name] for run in runs]) for name in runs[0]}
        for m, runs in found.items()
    }
    sizes = np.array([[np.sum(e.gradient**2) for e in exacts] for exacts in solved])
    return Runs(stacked, sizes), splits, solved


def one_a_feature(seed: int, features: int) -> np.ndarray:
    """Penalties of a run, exp of U[-2, 2], with an axis before them."""
    return np.exp(np.random.default_rng((seed, 2)).uniform(-2, 2, (1, features)))


def residual(solved: list[list[Exact]]) -> Check:
    """P0: that the reference is one."""
    worst = max(e.residual for exacts in solved for e in exacts)
    return at_most("P0 norm of the gradient that Newton leaves", worst, 1e-12)


def all_seeds(seed: int, fresh: int) -> list[int]:
    """The stated seed and so many fresh ones, whose runs share no split with it."""
    return [seed + 100 * i for i in range(1 + fresh)]


class OneSeed(NamedTuple):
    """The runs of a seed, each on a split of its own, and their checks."""

    seeds: range
    runs: Runs
    checks: list[Check]


def outcome(
    parts: list[OneSeed], names: list[str], figure: Any, notes: list[str | None]
) -> Outcome:
    """A figure of the first part's runs, with the checks of all parts."""
    first, *fresh = parts
    checks = first.checks + [
        check for one in fresh for check in renamed(one.checks, f"seed {one.seeds[0]}")
    ]
    return Outcome(
        columns(parts, names),
        figure,
        checks,
        table(first.runs, names),
        ("penalty", *METHODS, *VARIANTS, *_COMPARED),
        [note for note in notes if note is not None],
    )


def columns(parts: list[OneSeed], names: list[str]) -> dict[str, np.ndarray]:
    """Relative squared errors, a row a run, penalty and budget."""
    tables = [_columns(part.runs, part.seeds, names) for part in parts]
    return {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}


def _columns(runs: Runs, seeds: range, names: list[str]) -> dict[str, np.ndarray]:
    index = np.indices(runs.relative["batch"].shape).reshape(3, -1)
    found: dict[str, np.ndarray] = {
        "seed": np.asarray(seeds)[index[0]],
        "penalty": np.asarray(names)[index[2]],
        "epochs": np.asarray(EPOCHS)[index[1]],
    }
    return found | {m: e.ravel() for m, e in runs.relative.items()}


# Where more than 1, decreasing steps are better than all rows.
_COMPARED = ("batch_/_dec_at_20", "batch_/_dec_at_60", "dec_wins")


def table(runs: Runs, names: list[str]) -> dict[str, np.ndarray]:
    """P9: means over runs at 60 epochs, where all have read as many rows; how the errors of
    Batch and of decreasing steps compare; standard deviations and medians."""
    lams, num = range(len(names)), len(runs.relative["dec"])
    found = {"penalty": np.asarray(names)}
    found |= {m: _short(e.mean(axis=0)) for m, e in runs.last.items()}
    for name, epochs in zip(_COMPARED, (20, 60), strict=False):
        found[name] = _short([runs.ratio("batch", "dec", lam, epochs) for lam in lams], 0)
    found[_COMPARED[-1]] = np.array([f"{num * runs.wins(lam):.0f}/{num}" for lam in lams])
    for method, e in runs.last.items():
        found |= {f"{method}_mean": e.mean(axis=0), f"{method}_std": e.std(axis=0)}
        found[f"{method}_median"] = np.median(e, axis=0)
    return found


def _short(values: Any, digits: int = 1) -> np.ndarray:
    """What is printed: numbers of many sizes.

    >>> _short([0.00123, 45678.0]).tolist()
    ['1.2e-3', '4.6e4']
    """
    parts = [f"{value:.{digits}e}".split("e") for value in values]
    return np.array([f"{number}e{int(power)}" for number, power in parts])
