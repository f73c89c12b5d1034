"""Fig. 2: the same with one penalty a pixel, drawn as exp of U[-2, 2] in each of ten runs."""

import pathlib

import numpy as np

from .._outcome import Check, Outcome, at_most
from ._methods import errors
from ._picture import panels
from ._rules import Runs, advantages, constants, plateau
from ._runs import OneSeed, all_seeds, one_a_feature, outcome, residual, run_all
from ._setting import Exact, Source, Split
from ._sources import odd_or_even

_NAMES = ["multi"]


def make(
    quick: bool = False, seed: int = 0, data: pathlib.Path | None = None, seeds: int = 1
) -> Outcome:
    """Errors against passes, and what the paper claims of them."""
    of, num = odd_or_even(data, quick), 2 if quick else 10
    first, *fresh = (_one_seed(of, range(s, s + num)) for s in all_seeds(seed, seeds - 1))
    figure = panels(first.runs.relative, [f"λᵢ = exp(U[-2, 2]), {num} runs"], 1)
    return outcome([first, *fresh], _NAMES, figure, [of.note])


def _one_seed(of: Source, seeds: range) -> OneSeed:
    """Runs on the splits of these seeds, judged."""
    runs, splits, solved = run_all(of, seeds, one_a_feature)
    checks = [residual(solved)]
    checks += _on_digits(runs) if of.small else _on_mnist(runs, splits, solved, seeds[0])
    return OneSeed(seeds, runs, checks)


def _on_mnist(
    runs: Runs, splits: list[Split], solved: list[list[Exact]], seed: int
) -> list[Check]:
    x = one_a_feature(seed, splits[0].train[0].shape[1])
    # t = k = 2000, the paper's own reference.
    far = errors(splits[0], solved[0], x, "batch", epochs=(4000,))["gradient"][0, 0]
    beside = float(far / np.sum(solved[0][0].gradient ** 2))
    return [
        at_most("P0 batch with t = k = 2000 / Newton, relative and squared", beside, 1e-20),
        *advantages(runs, 0, "multi", 100, 0.9),
        *constants(runs, 0, "multi", 5),
        *plateau(runs, 0, "multi", splits[0], x),
    ]


def _on_digits(runs: Runs) -> list[Check]:
    """What holds of a small set too."""
    return [*advantages(runs, 0, "multi", 3, 1.0), *constants(runs, 0, "multi", 2)]
