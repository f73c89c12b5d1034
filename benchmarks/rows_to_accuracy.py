"""How many rows every preset reads for an accuracy, on a quadratic whose solution is known.

Rank-one rows, y and x of 20 numbers, 1,000 rows a level, batches of 20. The accuracy is
(L(x) - L*) / (L(x0) - L*) by the closed form of the value function L. Each preset is tuned over
one grid of constant steps, with as many rows for each of its runs; F2SA has its published
powers of k times them. Beside those with a truncated series stands the bias that it gives.

    python benchmarks/rows_to_accuracy.py [picture.png]
"""

import inspect
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

import bilevax as bx
from bilevax.algorithms._facts import FACTS

D, ROWS, SIZE, MU, RHO = 20, 1_000, 20, 0.5, 0.5
LEVELS = (1e-1, 1e-2, 1e-3, 1e-8)
# The grid: steps of y and z, and steps of x.
INNER_STEPS, OUTER_STEPS = (0.03, 0.1), (0.01, 0.03, 0.1)
T, N, ETA = 5, 10, 0.1
BUDGET, RECORDS = 1_000_000, 200


def inner(x, y, rows):
    a, b = rows
    return jnp.mean((a @ y - b @ x) ** 2) / 2 + MU * (y @ y) / 2


def outer(x, y, rows):
    c, d = rows
    return jnp.mean((c @ y - d) ** 2) / 2 + RHO * (x @ x) / 2


class Sums:
    """The problem, and its value function in closed form."""

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        a, b, c = (rng.standard_normal((ROWS, D)) for _ in range(3))
        d = c @ rng.standard_normal(D) + rng.standard_normal(ROWS)
        # y* = M x, and a and b are correlated so that it is no noise.
        b = b + a
        self.H, self.C = a.T @ a / ROWS + MU * np.eye(D), a.T @ b / ROWS
        self.F, self.r = c.T @ c / ROWS, c.T @ d / ROWS
        M = np.linalg.solve(self.H, self.C)
        self.A = jnp.asarray(M.T @ self.F @ M + RHO * np.eye(D))
        self.solution = jnp.asarray(np.linalg.solve(self.A, M.T @ self.r))
        self.problem = bx.BilevelProblem(outer, inner, inner_data=(a, b), outer_data=(c, d))
        self.constants = (
            float(np.linalg.eigvalsh(self.A)[0]),
            float(np.linalg.eigvalsh(self.H)[0]),
        )

    def gap(self, x):
        step = x - self.solution
        return step @ self.A @ step / 2

    def bias(self, num_terms: int) -> float:
        """The relative gap where the mean of z is a series of so many terms, at y*."""
        term, total = np.eye(D), np.zeros((D, D))
        for _ in range(num_terms):
            total, term = total + ETA * term, term - ETA * self.H @ term
        M = np.linalg.solve(self.H, self.C)
        x = np.linalg.solve(
            RHO * np.eye(D) + self.C.T @ total @ self.F @ M, self.C.T @ total @ self.r
        )
        return float(self.gap(x) / self.gap(np.zeros(D)))


# Presets whose z is a series that the step ETA and N decide, and the number of its terms.
TERMS = {"aid_n": N + 1, "stocbio": N + 1, "bsa": N, "ttsa": N} | {
    "mrbo": N + 1,
    "vrbo": N + 1,
    "sustain": N,
}


def make(name: str, sums: Sums, inner_step: float, outer_step: float):
    """A preset with steps of the grid and what else it needs."""
    preset = getattr(bx.algorithms, name)
    accepted = inspect.signature(preset).parameters
    value, inner_constant = sums.constants
    power = lambda scale, p: bx.schedules.polynomial(scale, p)
    options = {
        "inner_step_size": inner_step,
        "adjoint_step_size": ETA if name in TERMS else inner_step,
        "inner_steps": T,
        "adjoint_steps": N,
        "outer_strong_convexity": value,
        "inner_strong_convexity": inner_constant,
        "penalised_step_size": inner_step,
        "period": 2 * ROWS // SIZE if name == "srba" else 20,
        "inner_momentum": 0.1,
        "outer_momentum": 0.1,
        "inner_batch_size": SIZE,
    }
    options = {option: given for option, given in options.items() if option in accepted}
    if name == "bsa":
        del options["inner_steps"]
    if name == "f2sa":
        options |= {
            "penalised_step_size": power(inner_step, 5 / 7).outer(),
            "inner_step_size": power(inner_step, 4 / 7).outer(),
        }
        return preset(outer_step_size=power(outer_step, 5 / 7), **options, batch_size=SIZE)
    if "batch_sizes" in accepted:
        options["batch_size"] = SIZE
    return preset(outer_step_size=outer_step, **options)


# One function for all runs, so that no run compiles anything anew.
def _observed(A, solution, x, y):
    step = x - solution
    return {"gap": step @ A @ step / 2}


def run(sums: Sums, name: str, steps: tuple[float, float], num: int, seed: int):
    """The rows read and the relative gap, along a run."""
    start = jnp.zeros(D), jnp.zeros(D)
    solution = bx.minimize(
        sums.problem,
        make(name, sums, *steps),
        *start,
        num_steps=num,
        record_every=max(num // RECORDS, 1),
        key=jax.random.key(seed),
        metrics=jax.tree_util.Partial(_observed, sums.A, sums.solution),
    )
    return solution.history["rows"], solution.history["gap"] / float(sums.gap(start[0]))


def runs(sums: Sums, name: str, budget: int = BUDGET, seed: int = 0):
    """One run for each point of the grid, of as many rows."""
    grid = [(a, c) for a in INNER_STEPS for c in OUTER_STEPS]
    probe = run(sums, name, grid[0], 20, seed)[0]
    per_step = (probe[-1] - probe[9]) / 10
    return {
        steps: run(sums, name, steps, max(int(budget / per_step), 1), seed) for steps in grid
    }


def table(names=tuple(FACTS), budget: int = BUDGET, seed: int = 0):
    """The table, and of each preset its best run to the third level."""
    title = f"rows read to a relative gap, best of a grid of steps, {budget:,} rows a run"
    heads = (*(f"{level:.0e}" for level in LEVELS), "last", "bias of the series")
    shown, best, sums = Table("preset", *heads, title=title), {}, Sums(seed)
    for name in names:
        found = runs(sums, name, budget, seed)
        cells = [f"{n:,.0f}" if np.isfinite(n) else "-" for n in _first_below(found)]
        last = lambda r: np.nan_to_num(np.mean(r[1][-RECORDS // 10 :]), nan=np.inf)
        best[name] = min(found.values(), key=last)
        bias = f"{sums.bias(TERMS[name]):.1e}" if name in TERMS else ""
        shown.add_row(name, *cells, f"{last(best[name]):.1e}", bias)
        print(name, *cells, f"{last(best[name]):.1e}", bias, flush=True, file=sys.stderr)
    return shown, best


def _first_below(found) -> list[float]:
    """Of each level the least rows from which on a run of the grid stays below it."""
    least = []
    for level in LEVELS:
        rows = []
        for read, gap in found.values():
            above = np.flatnonzero(~(gap <= level))
            place = above[-1] + 1 if len(above) else 0
            rows.append(read[place] if place < len(read) else np.inf)
        least.append(min(rows))
    return least


# A panel each: so many curves in one are no picture.
FAMILIES = {
    "implicit, y or z from its start": (
        "accbio aid_cg aid_cg_ws aid_fp aid_gd aid_n sid stocbio"
    ),
    "implicit, y and z from the last": (
        "aid_bio amigo_accelerated amigo_cg amigo_gd amigo_sag ba"
    ),
    "one random term; unrolled; first-order": "bsa ttsa itd reverse f2sa bome pzobo",
    "single loop": "soba ma_soba saba srba mrbo vrbo fsla sustain",
}
# Okabe and Ito's palette.
COLOURS = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73"),
    *("#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
)


def picture(best, path: str) -> None:
    """Relative gap against rows read, the best run of each preset, a panel a family."""
    figure, panels = plt.subplots(2, 2, figsize=(11, 7.5), sharex=True, layout="constrained")
    for axes, (title, names) in zip(panels.flat, FAMILIES.items(), strict=True):
        for colour, name in zip(COLOURS, names.split(), strict=False):
            rows, gap = best[name]
            axes.loglog(rows, np.maximum(gap, 1e-16), color=colour, label=name)
        lowest = min(np.nanmin(best[name][1]) for name in names.split())
        axes.set(title=title, ylim=(max(lowest / 3, 1e-12), 3))
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.supxlabel("rows read")
    figure.supylabel("relative gap of the value function")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    with jax.enable_x64(True):
        made, curves = table()
    Console(width=120).print(made)
    if len(sys.argv) > 1:
        picture(curves, sys.argv[1])
