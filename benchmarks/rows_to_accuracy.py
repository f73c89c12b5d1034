"""How many rows single-loop methods read for an accuracy, on a quadratic that is known.

Rank-one rows, y and x of 20 numbers, 1,000 rows a level, batches of 20, constant steps. The
accuracy is (L(x) - L*) / (L(x0) - L*) by the closed form of the value function L.

    python benchmarks/rows_to_accuracy.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import bilevax as bx

D, ROWS, SIZE, MU, RHO = 20, 1_000, 20, 0.5, 0.5
LEVELS = (1e-2, 1e-4, 1e-8, 1e-12)
INNER_STEP = ADJOINT_STEP = OUTER_STEP = 0.03
ETA, Q = 0.3, 10
NUM_STEPS, EVERY = 40_000, 10


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
        H = a.T @ a / ROWS + MU * np.eye(D)
        # y* = M x, and a and b are correlated so that it is no noise.
        b = b + a
        M = np.linalg.solve(H, a.T @ b / ROWS)
        self.A = jnp.asarray(M.T @ (c.T @ c / ROWS) @ M + RHO * np.eye(D))
        self.solution = jnp.asarray(np.linalg.solve(self.A, M.T @ (c.T @ d) / ROWS))
        self.problem = bx.BilevelProblem(outer, inner, inner_data=(a, b), outer_data=(c, d))

    def gap(self, x):
        step = x - self.solution
        return step @ self.A @ step / 2


def algorithms():
    steps = {"inner_step_size": INNER_STEP, "outer_step_size": OUTER_STEP, "batch_size": SIZE}
    three = steps | {"adjoint_step_size": ADJOINT_STEP}
    series = steps | {"adjoint_step_size": ETA, "adjoint_steps": Q}
    period = 2 * ROWS // SIZE
    return {
        "SOBA": bx.algorithms.soba(**three),
        "MA-SOBA": bx.algorithms.ma_soba(**three, weight=0.1),
        "SABA": bx.algorithms.saba(**three),
        "SRBA": bx.algorithms.srba(**three, period=period),
        "MRBO": bx.algorithms.mrbo(**series, inner_momentum=0.1, outer_momentum=0.1),
        "VRBO": bx.algorithms.vrbo(**series, inner_steps=3, period=20),
    }


def run(sums: Sums, algorithm, num_steps: int, seed: int):
    """The rows read and the relative gap, along a run."""
    start = jnp.zeros(D), jnp.zeros(D)
    metrics = jax.tree_util.Partial(lambda gap, x, y: {"gap": gap(x)}, sums.gap)
    solution = bx.minimize(
        sums.problem,
        algorithm,
        *start,
        num_steps=num_steps,
        record_every=EVERY,
        key=jax.random.key(seed),
        metrics=metrics,
    )
    return solution.history["rows"], solution.history["gap"] / float(sums.gap(start[0]))


def table(num_steps=NUM_STEPS, seeds=(0, 1, 2)) -> Table:
    title = f"rows read to a relative gap, and the last gap after {num_steps:,} outer steps"
    shown = Table("method", *(f"{level:.0e}" for level in LEVELS), "last", title=title)
    sums = {seed: Sums(seed) for seed in seeds}
    for name, algorithm in algorithms().items():
        found = [run(sums[seed], algorithm, num_steps, seed) for seed in seeds]
        cells = [_first_below(found, level) for level in LEVELS]
        last = np.median([gap[-100:].mean() for _, gap in found])
        shown.add_row(name, *cells, f"{last:.1e}")
    return shown


def _first_below(found, level: float) -> str:
    """The median rows at the first record from which a run stays below a level."""
    rows = []
    for read, gap in found:
        above = np.flatnonzero(~(gap <= level))
        place = above[-1] + 1 if len(above) else 0
        rows.append(read[place] if place < len(read) else np.inf)
    median = np.median(rows)
    return f"{median:,.0f}" if np.isfinite(median) else "-"


if __name__ == "__main__":
    with jax.enable_x64(True):
        Console(width=110).print(table())
