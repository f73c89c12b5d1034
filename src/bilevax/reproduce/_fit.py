"""Slopes and windows of error curves."""

from typing import Any

import numpy as np

# At least so many points make a slope.
_FEWEST = 4


def slope(errors: Any, against: Any, where: Any = None) -> float:
    """The slope of the logarithm of errors against that of other positive numbers.

    NaN where too few points are in the window.

    >>> round(slope([1.0, 4.0, 16.0, 64.0], [1.0, 2.0, 4.0, 8.0]), 12)
    2.0
    """
    return _fit(np.log, errors, against, where)


def rate(errors: Any, steps: Any, where: Any = None) -> float:
    """The factor by which errors shrink a step, from a fit of their logarithm.

    >>> round(rate([8.0, 4.0, 2.0, 1.0], [0, 1, 2, 3]), 12)
    0.5
    """
    return float(np.exp(_fit(lambda s: s, errors, steps, where)))


def window(first: Any, other: Any, start: float = 1e-2, floor: float = 1e-12) -> np.ndarray:
    """Where the first error has left its transient and the other is above rounding."""
    first, other = np.asarray(first), np.asarray(other)
    return (first < start * first.max()) & (other > floor)


def log_steps(num: int, last: int, first: int = 1) -> np.ndarray:
    """Distinct integers, evenly spaced in the logarithm.

    >>> log_steps(4, 1000).tolist()
    [1, 10, 100, 1000]
    """
    return np.unique(np.logspace(np.log10(first), np.log10(last), num).round().astype(int))


def _fit(scale, errors, against, where) -> float:
    errors, against = np.asarray(errors, float), np.asarray(against, float)
    keep = np.ones(len(errors), bool) if where is None else np.asarray(where)
    keep = keep & (errors > 0)
    if keep.sum() < _FEWEST:
        return float("nan")
    return float(np.polyfit(scale(against[keep]), np.log(errors[keep]), 1)[0])
