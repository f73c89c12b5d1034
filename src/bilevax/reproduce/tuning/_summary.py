"""What the seeds of a set come to."""

import collections
import dataclasses

import numpy as np
import scipy.stats

from ._comparison import Comparison

_NAN = float("nan")


@dataclasses.dataclass(frozen=True)
class Summary:
    """Means over the seeds of a set that ran.

    - `change`: of log(loss / loss of (c)), with its standard error and 95 % interval, by
      Student's t; NaN where there are too few seeds;
    - `default_change`: the same mean beside (c) with the default solver's settings;
    - `score_change`: of the accuracy, or of R^2;
    - `families`: how often each was chosen;
    - `difference`: the largest of predictions, over seeds where one shared penalty was kept;
    - `seconds`, `baseline_seconds`: medians of CPU seconds.
    """

    name: str
    seeds: int
    failures: int
    baseline_loss: float = _NAN
    change: float = _NAN
    standard_error: float = _NAN
    low: float = _NAN
    high: float = _NAN
    default_change: float = _NAN
    baseline_score: float = _NAN
    score_change: float = _NAN
    families: str = ""
    difference: float = _NAN
    baseline_seconds: float = _NAN
    seconds: float = _NAN


def summary(name: str, runs: list[Comparison]) -> Summary:
    """Of all runs of a set; those that failed are only counted.

    >>> found = summary("a", [Comparison("a", i, change=c) for i, c in enumerate((-0.2, 0.0))])
    >>> round(found.change, 6), round(found.standard_error, 6), round(found.low, 3)
    (-0.1, 0.1, -1.371)
    """
    ran = [run for run in runs if not run.failure]
    failures = len(runs) - len(ran)
    if not ran:
        return Summary(name, 0, failures)
    column = lambda field: np.array([getattr(run, field) for run in ran], float)
    changes = column("change")
    error = _standard_error(changes)
    # Student's t of no degrees of freedom is NaN.
    reach = error * float(scipy.stats.t.ppf(0.975, len(ran) - 1))
    same = [run.difference for run in ran if run.family == "shared"]
    counts = collections.Counter(run.family for run in ran)
    return Summary(
        name,
        len(ran),
        failures,
        baseline_loss=float(column("baseline_loss").mean()),
        change=float(changes.mean()),
        standard_error=error,
        low=float(changes.mean() - reach),
        high=float(changes.mean() + reach),
        default_change=float(column("default_change").mean()),
        baseline_score=float(column("baseline_score").mean()),
        score_change=float((column("score") - column("baseline_score")).mean()),
        families=", ".join(f"{family} {num}" for family, num in counts.most_common()),
        difference=float(np.max(same)) if same else _NAN,
        baseline_seconds=float(np.median(column("baseline_seconds"))),
        seconds=float(np.median(column("seconds"))),
    )


def _standard_error(values: np.ndarray) -> float:
    """Of the mean; NaN for one value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else _NAN
