"""Which family is taken: judged on rows that took no part, in pairs, or not at all."""

from typing import NamedTuple

import numpy as np

from ._search import Trace


class Gain(NamedTuple):
    """What the choice gains over one shared penalty, per row of data it was judged on.

    - `difference`: the mean over rows of (chosen - shared) losses; negative is better;
    - `interval`: 95 %, approximate, since rows share models. It is cross-fitted: what is
      judged on a fold was chosen on the others;
    - `sentence`: the same in words.
    """

    difference: float
    interval: tuple[float, float]
    sentence: str


class Judged(NamedTuple):
    """The rows that judge: how often each counts, what stands and falls together, its fold."""

    weights: np.ndarray
    clusters: np.ndarray
    folds: np.ndarray

    def mean(self, losses: np.ndarray) -> float:
        """Over rows."""
        return float(losses @ self.weights / self.weights.sum())

    def standard_error(self, differences: np.ndarray) -> float:
        """Of the mean, over clusters of rows; rows count as often as their weights say."""
        deviations = differences - self.mean(differences)
        total = self.weights.sum()
        if len(np.unique(self.clusters)) == len(self.clusters):
            spare = total - 1 if total >= 2 else total
            return float(np.sqrt(np.sum(self.weights * deviations**2) / spare / total))
        _, index = np.unique(self.clusters, return_inverse=True)
        sums = np.bincount(index, self.weights * deviations)
        num = len(sums)
        return float(np.sqrt(num / max(num - 1, 1) * np.sum(sums**2)) / total)


class Choice(NamedTuple):
    """A family, and the step at which it is taken; "shared" at step 0 where none is."""

    family: str
    step: int


def choose(traces: dict[str, Trace], judged: Judged) -> Choice:
    """The family of least judged loss among those that gain more than one standard error."""
    best, least = Choice("shared", 0), np.inf
    for family, trace in traces.items():
        losses = np.array([judged.mean(row) for row in trace.judged])
        step = int(np.nanargmin(losses))
        differences = trace.judged[step] - trace.judged[0]
        gained = judged.mean(differences) < -judged.standard_error(differences)
        if step > 0 and gained and losses[step] < least:
            best, least = Choice(family, step), losses[step]
    return best


def gain(traces: dict[str, Trace], judged: Judged, choice: Choice, why: str = "") -> Gain:
    """The paired difference of the choice, and its cross-fitted interval."""
    if not traces or why:
        return Gain(0.0, (0.0, 0.0), why or "One shared penalty was asked for.")
    differences = np.zeros(len(judged.weights))
    folds = np.unique(judged.folds)
    for fold in folds:
        others = judged.folds != fold
        rest = Judged(judged.weights[others], judged.clusters[others], judged.folds[others])
        cut = {name: t._replace(judged=t.judged[:, others]) for name, t in traces.items()}
        picked = choose(cut, rest) if len(folds) > 1 else choice
        if picked.family != "shared":
            trace = traces[picked.family]
            difference = trace.judged[picked.step] - trace.judged[0]
            differences[~others] = difference[~others]
    error = 1.96 * judged.standard_error(differences)
    middle = judged.mean(differences)
    interval = middle - error, middle + error
    if choice.family == "shared":
        return Gain(0.0, interval, "No gain: one shared penalty is as good.")
    trace = traces[choice.family]
    difference = judged.mean(trace.judged[choice.step] - trace.judged[0])
    base = judged.mean(trace.judged[0])
    return Gain(difference, interval, _SENTENCE.format(-difference / base, *interval))


_SENTENCE = (
    "Penalties of their own lower the loss by {0:.1%} on rows that took no part "
    "(difference between {1:.3g} and {2:.3g}, 95 %, approximately)."
)
