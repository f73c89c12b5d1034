"""Fig. 1a-c: costs and errors of nine methods on the quadratic problem of F.1.

d_x = 2000, d_y = 1000, kappa_L = 10, kappa_g from 1 to 1e7, x_0 = y_0 = z_0 = 0, all steps
1 / smoothness = 1, N in {1, 10, 100, 1000} and, for those that start the adjoint from nothing,
N_k = floor(1000 ln k); ITD and Reverse have T = N. Of each method the best N is shown. Since
d_y f does not depend on y, no hypergradient depends on T, which is 1 for all others.

Costs are the paper's, T + N + 2 an outer step (3 T + 1 where steps are differentiated); a warm
conjugate gradient really calls one product more. Runs are made in the joint eigenbasis of A_f
and A_g, all condition numbers side by side, and compared with dense runs of `bx.minimize`.

The paper draws panel b after 10^3 seconds of its machine; here it is after 1e5 calls, and no
panel has seconds, which of runs side by side nobody can tell apart.

Quick: d_x = 200, d_y = 100, kappa_g in {1, 10, 1e3}, N in {1, 10, 50}, 300 outer steps, five
methods.
"""

import numpy as np
from matplotlib.figure import Figure

from .._outcome import Check, Outcome, at_most
from . import _rules
from ._curves import best_cost, best_errors, named
from ._dense import difference
from ._picture import below, line, shown
from ._sweep import Runs, Size, sweep

_ERROR, _BUDGET = 1e-6, 1e5
# Panel c, and where its errors are read.
_CONDITION = 1e3


def make(quick: bool = False, seed: int = 0) -> Outcome:
    """The three panels, P1 to P6, and the identities."""
    basis, size, runs = sweep(quick, seed)
    checks = _rules.identities(basis, runs, size) + _rules.costs(runs, size)
    if not quick:
        checks += _rules.floors(runs, size.conditions.index(_CONDITION))
        checks += _rules.slopes(runs, size) + _rules.budgets(runs, size, _BUDGET)
        checks += _rules.levels(runs, size, seed) + _dense(size, seed)
    columns = _columns(runs, size)
    return Outcome(
        columns, _picture(runs, size), checks, _table(runs, size), ("method", *_kappas(size))
    )


def _dense(size: Size, seed: int) -> list[Check]:
    """Each method, T = N = 10, on the matrices themselves."""
    return [
        at_most(
            f"{method}: eigenbasis beside dense run", difference(size.dims, seed, method), 1e-7
        )
        for method in size.methods
    ]


def _kappas(size: Size) -> list[str]:
    return [f"kappa_{kappa:.0e}" for kappa in size.conditions]


def _table(runs: Runs, size: Size) -> dict[str, np.ndarray]:
    """The cost to reach 1e-6 and the count that reaches it first."""
    found = {"method": np.array(size.methods)}
    for i, name in enumerate(_kappas(size)):
        best = [best_cost(runs, method, i, _ERROR) for method in size.methods]
        words = [f"{c:.3g} [{named(n)[:4]}]" if np.isfinite(c) else "-" for c, n in best]
        found[name] = np.array(words)
    return found


def _grid(runs: Runs) -> np.ndarray:
    """Costs at which errors are written and drawn."""
    return np.geomspace(3, max(run.cost[-1] for run in runs.values()), 300).round()


def _columns(runs: Runs, size: Size) -> dict[str, np.ndarray]:
    """The best error over counts, a row a condition number and cost."""
    costs = _grid(runs)
    found = {
        "kappa": np.repeat(size.conditions, len(costs)),
        "cost": np.tile(costs, len(size.conditions)),
    }
    for method in size.methods:
        each = [best_errors(runs, method, i, costs) for i in range(len(size.conditions))]
        found[method] = np.concatenate(each)
    return found


def _picture(runs: Runs, size: Size) -> Figure:
    figure = Figure((11.5, 4.3), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    costs, kappas = _grid(runs), np.array(size.conditions)
    at, one = np.array([_BUDGET]), size.conditions.index(_CONDITION)
    for method in size.methods:
        to = [best_cost(runs, method, i, _ERROR)[0] for i in range(len(kappas))]
        line(first, method, kappas, np.where(np.isfinite(to), to, np.nan), marker=".")
        left = [best_errors(runs, method, i, at)[0] for i in range(len(kappas))]
        line(second, method, kappas, shown(np.array(left)), marker=".")
        # Beyond its last step a run has no error.
        last = max(run.cost[-1] for (m, _), run in runs.items() if m == method)
        kept = costs[costs <= last]
        line(third, method, kept, shown(best_errors(runs, method, one, kept)))
    first.set(title="Fig. 1a: cost to a relative error of 1e-6", xlabel="κ of g")
    first.set_ylabel("oracle calls (a gap: not reached)")
    second.set(title=f"Fig. 1b: error after {_BUDGET:.0e} calls", xlabel="κ of g")
    third.set(title="Fig. 1c: error at κ = 1e3", xlabel="oracle calls")
    for axes in (first, second, third):
        axes.set(xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    for axes in (second, third):
        axes.set_ylabel("(ℓ(x) - ℓ*) / (ℓ(0) - ℓ*)")
    below(figure, first, 9)
    return figure
