"""What must hold of each set."""

import numpy as np

from .._outcome import Check, at_most
from ._summary import Summary

# Changes of the log test loss. A loss of less than _SMALL is a tie whatever its error.
_LARGE, _SMALL, _ERRORS = 0.01, 0.002, 2
GAINS = {"newsgroups": -0.05, "copies": -0.03, "products": -0.004}
# Of probabilities, or of numbers in units of their standard deviation.
_SAME = 1e-5


def bound(found: Summary) -> float:
    """The largest mean change that passes.

    A set that gains must gain. On no other may the mean be above 1 %, nor above both 0.2 %
    and two standard errors; with one seed there is no error, and the first alone is judged.

    >>> bound(Summary("wine", 5, 0, standard_error=0.0015))
    0.003
    """
    if found.name in GAINS:
        return GAINS[found.name]
    if np.isnan(found.standard_error):
        return _LARGE
    return min(_LARGE, max(_SMALL, _ERRORS * found.standard_error))


def checks(found: Summary) -> list[Check]:
    """Of one set: its mean change, its predictions where nothing was changed, and failures."""
    made = [
        at_most(f"{found.name}: mean change of the log test loss", found.change, bound(found))
    ]
    if not np.isnan(found.difference):
        name = f"{found.name}: predictions beside (c)'s where shared is kept"
        made.append(at_most(name, found.difference, _SAME))
    if found.failures:
        made.append(at_most(f"{found.name}: runs that failed", found.failures, 0))
    return made
