"""The figures of the papers, recomputed, with checks of what they claim.

`bilevax reproduce superefficiency` runs them all; `figures(paper)` lists them. A figure is
a module with a docstring and a function `make(quick, seed) -> Outcome`: its data, its
picture and its checks. `tuning` is no paper: it compares the estimators with scikit-learn's.

Needs `pip install "bilevax[cli]"`.
"""

from ._outcome import Check, Outcome, at_most, reported, within
from ._papers import APART, PANELS, PAPERS, figures, run

__all__ = [
    "APART",
    "PANELS",
    "PAPERS",
    "Check",
    "Outcome",
    "at_most",
    "figures",
    "reported",
    "run",
    "within",
]
