"""Appendix C.1: the same with a class a digit, and with the groups of 20 Newsgroups.

Multinomial logistic regression without intercepts. On MNIST all weights share a penalty; on 20
Newsgroups each of the 1,000 most frequent words has its own, exp of U[-2, 2] on a scale of
1e-3, which suits rows of norm 1. Three runs on splits of their own, of 2,000 rows to learn
from and as many to validate, in batches of 20: fewer than MNIST's 60,000 and 20 Newsgroups'
11,314 posts and 130,000 words, so that the reference, Newton's method by conjugate gradients,
takes seconds. We have this appendix from a summary only, so that all is REPORTED.

Quick: scikit-learn's digits at lambda .1, two runs, 800 and 800 rows, batches of 8.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .._outcome import Check, Outcome, reported
from . import _sources
from ._picture import panels
from ._rules import Runs, renamed
from ._runs import OneSeed, all_seeds, one_a_feature, outcome, residual, run_all
from ._setting import Source

_LAMBDAS = np.array([0.01, 0.1, 1.0])
_RUNS = 3


class _Study(NamedTuple):
    """A data set, the penalties of a run on it, and their names."""

    title: str
    source: Source
    penalties: Callable[[int, int], np.ndarray]
    names: list[str]


def make(
    quick: bool = False, seed: int = 0, data: pathlib.Path | None = None, seeds: int = 1
) -> Outcome:
    """Errors against passes, and how the methods compare."""
    studies, num = _studies(data, quick), 2 if quick else _RUNS
    names = [name for study in studies for name in study.names]
    first, *fresh = (
        _one_seed(studies, range(s, s + num), names) for s in all_seeds(seed, seeds - 1)
    )
    notes = [study.source.note for study in studies]
    if not quick and len(studies) == 1:
        notes.append(_sources.no_newsgroups(data))
    figure = panels(first.runs.relative, names, min(2, len(names)))
    return outcome([first, *fresh], names, figure, notes)


def _studies(data: pathlib.Path | None, quick: bool) -> list[_Study]:
    """MNIST, and 20 Newsgroups where they are."""
    images, lambdas = _sources.ten_digits(data, quick), _LAMBDAS[1:2] if quick else _LAMBDAS
    title = "digits" if images.small else "MNIST"
    names = [f"{title} λ = {lam:g}" for lam in lambdas]
    found = [_Study(title, images, lambda seed, features: lambdas, names)]
    posts = None if quick else _sources.newsgroups(data)
    words = lambda seed, features: 1e-3 * one_a_feature(seed, features)
    title = "20 Newsgroups"
    return found if posts is None else [*found, _Study(title, posts, words, [title])]


def _one_seed(studies: list[_Study], seeds: range, names: list[str]) -> OneSeed:
    found = [run_all(study.source, seeds, study.penalties) for study in studies]
    runs = functools.reduce(Runs.beside, (of for of, _, _ in found))
    checks: list[Check] = []
    for study, (_, _, solved) in zip(studies, found, strict=True):
        checks += renamed([residual(solved)], study.title)
    for i, name in enumerate(names):
        checks += _compared(runs, i, name)
    return OneSeed(seeds, runs, checks)


def _compared(runs: Runs, lam: int, name: str) -> list[Check]:
    ratio = lambda above, below, epochs: reported(
        f"{above} / {below} at {epochs} epochs, {name}", runs.ratio(above, below, lam, epochs)
    )
    return [
        ratio("batch", "const", 20),
        ratio("batch", "dec", 20),
        ratio("batch", "dec", 60),
        ratio("const", "dec", 60),
        reported(f"runs with dec < batch, {name}", runs.wins(lam)),
    ]
