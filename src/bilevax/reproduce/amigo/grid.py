"""Fig. 2: the quadratic problem, a panel a method and condition number, a curve an N.

Settings are those of Fig. 1a-c. AmIGO goes on at every N; what starts its adjoint from nothing
ends at the error that its N leaves. P7.
"""

from .._outcome import Outcome
from . import _rules
from ._panels import grid
from ._sweep import UNROLLED, sweep

ROWS = ("amigo_cg", "amigo_gd", "aid_cg", "aid_cg_ws", "aid_gd", "aid_fp", "aid_n")
KAPPAS = (1.0, 10.0, 1e3, 1e4, 1e5, 1e7)


def make(quick: bool = False, seed: int = 0) -> Outcome:
    """All curves, and where they end."""
    basis, size, runs = sweep(quick, seed)
    kept = {key: run for key, run in runs.items() if key[0] not in UNROLLED}
    rows = tuple(method for method in ROWS if method in size.methods)
    columns, figure = grid(kept, size, rows, KAPPAS, "Fig. 2")
    return Outcome(columns, figure, _rules.ends(basis, runs, size))
