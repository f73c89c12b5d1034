"""AmIGO on quadratics: the oracle calls that theory predicts, and those it took.

    python examples/amigo_costs.py [--seed 0] [--output results]

Prints the predicted costs of the algorithms of Arbel and Mairal (2022), Table 1, and writes
amigo_costs.png and amigo_costs.csv: calls to a gap of 1e-6 of the first one on their quadratic
(dx = 200, dy = 100, kappa_L = 10), for kappa_g from 1 to 1e5. Some two minutes on one core.
"""

import argparse
import csv
import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from _palette import BLUE, GREEN, GREY, ORANGE

import bilevax as bx
from bilevax.theory import amigo

SIZES, OUTER_CONDITION, ACCURACY = (200, 100), 10.0, 1e-6
CONDITIONS = tuple(10.0**power for power in range(6))
# As many outer steps as may be needed; conjugate gradient with N = dy is a direct solve.
GRIDS = {
    "amigo_gd": {1: 1000, 10: 1000, 100: 600, 1000: 250},
    "amigo_cg": {1: 1000, 10: 1000, 50: 600},
}
# Those with the steps of Prop. 10, whose counts grow with kappa_g.
GUARANTEED = (1.0, 10.0, 100.0)


def relative_gap(hessian, x_star, x, y):
    """(l(x) - l*) / (l(0) - l*), as a quadratic form."""
    del y
    away = x - x_star
    return {"gap": away @ hessian @ away / (x_star @ hessian @ x_star)}


def calls(q, algorithm, counts, num_steps):
    """By Eq. 8, to the accuracy; infinite if it was not reached."""
    metrics = jax.tree_util.Partial(relative_gap, q.hessian(), q.minimiser())
    start = jnp.zeros(SIZES[0]), jnp.zeros(SIZES[1])
    run = bx.minimize(q.problem, algorithm, *start, num_steps=num_steps, metrics=metrics)
    reached = np.flatnonzero(run.history["gap"] <= ACCURACY)
    if not reached.size:
        return np.inf
    taken = int(run.history["step"][reached[0]])
    T, N = counts
    return float(amigo.paper_cost(outer_steps=taken, inner_steps=T, adjoint_steps=N))


def best(q, name):
    """The cheapest number of adjoint steps; no x depends on T here, so that T = 1."""
    steps = {"adjoint_step_size": 1.0} if name == "amigo_gd" else {}
    costs = {}
    for N, num_steps in GRIDS[name].items():
        algorithm = getattr(bx.algorithms, name)(
            outer_step_size=1.0, inner_step_size=1.0, inner_steps=1, adjoint_steps=N, **steps
        )
        costs[N] = calls(q, algorithm, (1, N), num_steps)
    return min((cost, N) for N, cost in costs.items())


def guarantee(q, constants):
    """Calls after which Theorem 1 promises the accuracy."""
    zeros = jnp.zeros(SIZES[0]), jnp.zeros(SIZES[1]), jnp.zeros(SIZES[1])
    energy = float(bx.problems.total_energy(q, constants)(*zeros)["total_energy"])
    share = ACCURACY * float(q.gap(zeros[0])) / energy
    steps = amigo.steps(constants=constants)
    k = amigo.outer_steps(constants=constants, reduction=share)
    counts = {"inner_steps": steps.inner_steps, "adjoint_steps": steps.adjoint_steps}
    return amigo.paper_cost(outer_steps=k, **counts)


def measured(condition, seed):
    """A row of the table."""
    q = bx.problems.quadratic(
        *SIZES, inner_condition=condition, outer_condition=OUTER_CONDITION, seed=seed
    )
    true = bx.problems.amigo_constants(q, bilevel_smoothness=1.0)
    formula = bx.problems.amigo_constants(q)
    order = {row.method: row.cost for row in predicted(condition)}
    row = {"kappa_g": condition, "AmIGO": order["AmIGO"]}
    row["accelerated"] = order["AmIGO, accelerated"]
    for name in GRIDS:
        row[name], row[f"N of {name}"] = best(q, name)
    row["guarantee"], row["guarantee, formula"] = guarantee(q, true), guarantee(q, formula)
    row["prescribed"] = np.nan
    if condition in GUARANTEED:
        steps = amigo.steps(constants=true)
        counts = steps.inner_steps, steps.adjoint_steps
        row["prescribed"] = calls(q, bx.algorithms.amigo_gd(constants=true), counts, 100)
    return row


def predicted(condition):
    return amigo.table(
        accuracy=ACCURACY, inner_condition=condition, outer_condition=OUTER_CONDITION
    )


def picture(rows, path):
    of = lambda name: np.array([row[name] for row in rows])
    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    lines = {
        "guarantee": ("Theorem 1: guaranteed", GREY, ":", ""),
        "prescribed": ("AmIGO-GD, steps of Prop. 10", GREEN, "-", "^"),
        "AmIGO": (r"order of AmIGO: $\kappa_L\kappa_g\ln(1/\epsilon)$", ORANGE, "--", ""),
        "amigo_gd": ("AmIGO-GD, best N", ORANGE, "-", "s"),
        "accelerated": (r"order: $\kappa_L\kappa_g^{1/2}\ln(1/\epsilon)$", BLUE, "--", ""),
        "amigo_cg": ("AmIGO-CG, best N", BLUE, "-", "o"),
    }
    for name, (label, color, style, marker) in lines.items():
        values = np.where(np.isfinite(of(name)), of(name), np.nan)
        axes.plot(of("kappa_g"), values, style, color=color, marker=marker, label=label)
    missed = of("kappa_g")[np.isinf(of("amigo_gd"))]
    if missed.size:
        most = max(k * (N + 3) for N, k in GRIDS["amigo_gd"].items())
        label = "AmIGO-GD, not reached by then"
        axes.plot(missed, np.full(missed.shape, most), "^", color=ORANGE, mfc="w", label=label)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel(r"condition number of the inner problem, $\kappa_g$")
    axes.set_ylabel("oracle calls to a millionth of the first gap")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("results"))
    arguments = parser.parse_args()
    output = arguments.output
    jax.config.update("jax_enable_x64", True)
    for condition in (1e1, 1e3, 1e5):
        print(f"kappa_g = {condition:g}, kappa_L = {OUTER_CONDITION:g}, epsilon = {ACCURACY:g}")
        for row in predicted(condition):
            print(f"  {row.method:20} {row.cost:8.2e}  {row.order:28} {row.reference}")
    started, rows = time.perf_counter(), []
    for condition in CONDITIONS:
        rows.append(measured(condition, arguments.seed))
        print("  ".join(f"{name} {value:.3g}" for name, value in rows[-1].items()), flush=True)
    output.mkdir(parents=True, exist_ok=True)
    with open(output / "amigo_costs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    picture(rows, output / "amigo_costs.png")
    print(f"{time.perf_counter() - started:.0f} s. Written: {output / 'amigo_costs.png'}")


if __name__ == "__main__":
    main()
