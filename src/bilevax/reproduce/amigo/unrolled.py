"""Fig. 3: the quadratic problem by unrolled methods, a panel a condition number, a curve a T.

ITD and Reverse, T in {1, 10, 100, 1000}, and ITD with T_k = floor(1000 ln k), of which each
outer step stores all iterates: up to 5,010 of d_y numbers, `max_inner_steps`, or 40 MB a
condition number at full size. Reverse has no growing counts. P8.
"""

from .._outcome import Outcome
from . import _rules
from ._panels import grid
from ._sweep import UNROLLED, sweep
from .grid import KAPPAS


def make(quick: bool = False, seed: int = 0) -> Outcome:
    """All curves, and that they are those of AID-GD."""
    basis, size, runs = sweep(quick, seed)
    kept = {key: run for key, run in runs.items() if key[0] in UNROLLED}
    rows = tuple(method for method in UNROLLED if method in size.methods)
    columns, figure = grid(kept, size, rows, KAPPAS, "Fig. 3")
    return Outcome(columns, figure, _rules.unrolled(basis, runs, size))
