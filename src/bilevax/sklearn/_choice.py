"""Which family is taken: judged on rows that took no part, in pairs, or not at all."""

from typing import NamedTuple

import numpy as np

from ._search import Trace


class Gain(NamedTuple):
    """What the choice gains over one shared penalty, per row of data it was judged on.

    - `difference`: the mean over rows of (chosen - shared) losses; negative is better;
    - `interval`: 95 %, approximate, since rows share models. It is cross-fitted: the step at
      which a fold is judged was chosen on the others;
    - `sentence`: the same in words.
    """

    difference: float
    interval: tuple[float, float]
    sentence: str


class Judged(NamedTuple):
    """The rows that judge: the weight of each, what stands and falls together, its fold.

    `counts`: how many rows each stands for, where weights say more than that.
    """

    weights: np.ndarray
    clusters: np.ndarray
    folds: np.ndarray
    counts: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> "Judged":
        """Of some of the rows."""
        parts = self.weights[rows], self.clusters[rows], self.folds[rows]
        return Judged(*parts, None if self.counts is None else self.counts[rows])

    def mean(self, losses: np.ndarray) -> float:
        """Over rows."""
        return float(losses @ self.weights / self.weights.sum())

    def standard_error(self, differences: np.ndarray) -> float:
        """Of the mean, over clusters of rows; a row of count c is c independent ones."""
        deviations = differences - self.mean(differences)
        total = self.weights.sum()
        if len(np.unique(self.clusters)) == len(self.clusters):
            counts = self.weights if self.counts is None else self.counts
            num, each = counts.sum(), self.weights / counts
            spare = num / (num - 1) if num >= 2 else 1
            squares = np.sum(self.weights * each * deviations**2)
            return float(np.sqrt(spare * squares) / total)
        _, index = np.unique(self.clusters, return_inverse=True)
        sums = np.bincount(index, self.weights * deviations)
        num = len(sums)
        return float(np.sqrt(num / max(num - 1, 1) * np.sum(sums**2)) / total)


class Choice(NamedTuple):
    """A family, and the step at which it is taken; "shared" at step 0 where none is."""

    family: str
    step: int


# By how many standard errors a family must gain where it gains most, and where each fold is
# judged at a step that the others chose. Fixed on the developing sets of docs/reproduce.md:
# one standard error of the best of many steps accepts what chance has carried.
_BEST, _HONEST = 2.0, 1.0
# So many steps in a row that are worse than an earlier one end a family.
_WORSE = 4
# So many steps without a better one end it where time is dear.
_MANY = 8


def choose(traces: dict[str, Trace], judged: Judged) -> Choice:
    """The first family that gains, and a later one where it gains more, beyond one standard
    error; simpler families come first."""
    found, family = np.zeros(len(judged.weights)), "shared"
    for name, trace in traces.items():
        honest = crossfitted({name: trace}, judged)
        if _gains(trace, honest, judged) and _lower(honest - found, judged, _HONEST):
            found, family = honest, name
    return Choice(family, 0 if family == "shared" else _step(traces[family], judged))


def overfits(losses: np.ndarray, judged: Judged) -> bool:
    """Whether each of the last steps is worse than the best one by more than one standard
    error: on rows that took no part, (steps, rows), in pairs."""
    best = losses[_best(losses, judged)]
    return all(_lower(best - row, judged, 1.0) for row in losses[-_WORSE:])


def stale(losses: np.ndarray, judged: Judged) -> bool:
    """Whether the best step lies many steps back: of (steps, rows) as in `overfits`."""
    return len(losses) - 1 - _best(losses, judged) >= _MANY


def _gains(trace: Trace, honest: np.ndarray, judged: Judged) -> bool:
    best = trace.judged[_best(trace.judged, judged)] - trace.judged[0]
    return _lower(best, judged, _BEST) and _lower(honest, judged, _HONEST)


def _lower(differences: np.ndarray, judged: Judged, errors: float) -> bool:
    """Whether their mean is below zero by more than so many standard errors."""
    return judged.mean(differences) < -errors * judged.standard_error(differences)


def _best(losses: np.ndarray, judged: Judged) -> int:
    """The step of the least mean loss."""
    return int(np.nanargmin([*map(judged.mean, losses)]))


def _step(trace: Trace, judged: Judged) -> int:
    """The first step but the start that is as good as the best, within a standard error of
    their difference: the shortest way from the shared penalty."""
    best = _best(trace.judged, judged)
    worse = (_lower(trace.judged[best] - losses, judged, 1.0) for losses in trace.judged)
    return max(1, next(i for i, it_is in enumerate(worse) if not it_is))


def crossfitted(traces: dict[str, Trace], judged: Judged) -> np.ndarray:
    """Each row's gain, negative, where the best family and step of the other folds are taken
    on its own fold."""
    differences = np.zeros(len(judged.weights))
    for fold in np.unique(judged.folds):
        others = judged.folds != fold
        rest = judged.at(others)
        least = np.inf
        for trace in traces.values():
            losses = trace.judged[:, others]
            step = _best(losses, rest)
            if rest.mean(losses[step]) < least:
                least = rest.mean(losses[step])
                differences[~others] = (trace.judged[step] - trace.judged[0])[~others]
    return differences


def gain(traces: dict[str, Trace], judged: Judged, choice: Choice, why: str = "") -> Gain:
    """The paired difference of the choice, and its cross-fitted interval."""
    if not traces or why:
        return Gain(0.0, (0.0, 0.0), why or "One shared penalty was asked for.")
    shared = choice.family == "shared"
    honest = crossfitted(traces if shared else {choice.family: traces[choice.family]}, judged)
    middle, error = judged.mean(honest), 1.96 * judged.standard_error(honest)
    interval = middle - error, middle + error
    if shared:
        return Gain(0.0, interval, "No gain: one shared penalty is as good.")
    losses = traces[choice.family].judged
    difference, base = judged.mean(losses[choice.step] - losses[0]), judged.mean(losses[0])
    shares = (-value / base for value in (difference, *reversed(interval)))
    return Gain(difference, interval, _SENTENCE.format(*shares))


_SENTENCE = (
    "Penalties that differ lower the loss by {0:.1%} on rows that took no part "
    "(by {1:.1%} to {2:.1%}, 95 %, approximately)."
)
