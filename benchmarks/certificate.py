"""The certificate of `bx.error_bound` against true errors, at every iteration.

    python benchmarks/certificate.py [--out FILE]

The ridge and logistic problems of Ablin et al. (2020), Figs. 2a and 2b, and a bilevel
quadratic whose adjoint takes one step an iteration too. Prints the true error, the bound
and their ratio at some t; "held" counts the iterations whose bound was above the error, and
the last ratios are those from t = 20 on, while errors are above 1e-12. All in float64.
"""

import argparse
import json
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import bilevax as bx

SHOWN = (1, 5, 20, 50, 100, 200, 400, 700)
SMALLEST = 1e-12


def value_function(make, seed: int):
    """(t, gradient's name, true error, bound) at t = 1, 2, ..."""
    random = np.random.RandomState(seed)
    loss, x = make(random.randn(50, 100), 0.02), jnp.asarray(random.randn(1, 50)[0])
    descent = bx.GradientDescent(float(1 / loss.constants(x).smoothness), 1)
    implicit, y = bx.Implicit(descent, bx.Direct()), loss.y0
    steps = np.arange(1, SHOWN[-1] + 1)
    path, exact = bx.trajectory(loss.problem, descent, x, y, at=steps), loss.gradient(x)
    for t, analytic, automatic in zip(steps, path.analytic, path.automatic, strict=True):
        h = bx.hypergradient(loss.problem, implicit, x, y)
        y = h.y
        for name, estimator, gradient in (
            ("g1", bx.Analytic(descent), analytic),
            ("g2", bx.Unrolled(descent), automatic),
            ("g3", implicit, h.gradient),
        ):
            estimate = eqx.tree_at(lambda h: h.gradient, h, gradient)
            bound = bx.error_bound(loss.problem, estimator, x, estimate)
            yield int(t), name, float(jnp.linalg.norm(gradient - exact)), bound.value


def bilevel():
    """The same for the implicit gradient, one step on y and one on z an iteration."""
    quadratic = bx.problems.quadratic(12, 8, inner_condition=20.0, coupling=1.0, seed=1)
    x = jnp.asarray(np.random.default_rng(0).normal(size=12))
    estimator = bx.Implicit(bx.GradientDescent(1.0, 1), bx.GradientDescent(1.0, 1))
    y = z = jnp.zeros(8)
    for t in range(1, SHOWN[-1] + 1):
        h = bx.hypergradient(quadratic.problem, estimator, x, y, adjoint0=z)
        y, z = h.y, h.adjoint
        bound = bx.error_bound(quadratic.problem, estimator, x, h)
        yield (
            t,
            "implicit",
            float(jnp.linalg.norm(h.gradient - quadratic.gradient(x))),
            bound.value,
        )


PROBLEMS = {
    "ridge": lambda: value_function(bx.problems.RidgeRegression, 29),
    "logistic": lambda: value_function(bx.problems.LogisticRegression, 9),
    "bilevel quadratic": bilevel,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path)
    out = parser.parse_args().out
    jax.config.update("jax_enable_x64", True)
    rows, summary = [], []
    print(
        f"{'problem':18} {'gradient':9} {'t':>4} {'true error':>11} {'bound':>11} {'ratio':>8}"
    )
    for problem, make in PROBLEMS.items():
        found = list(make())
        rows += [(problem, *row) for row in found]
        for name in dict.fromkeys(name for _, name, _, _ in found):
            t, error, bound = np.array([(t, *r) for t, n, *r in found if n == name]).T
            head, ratios = f"{problem:18} {name:9}", bound / error
            for i in np.flatnonzero(np.isin(t, SHOWN)):
                last = f"{ratios[i]:8.3g}" if error[i] > SMALLEST else "rounding"
                print(f"{head} {t[i]:4.0f} {error[i]:11.3e} {bound[i]:11.3e} {last}")
            late = ratios[(t >= 20) & (error > SMALLEST)]
            spread = (
                f"up to {late.max():.3g}, median {np.median(late):.3g}" if late.size else "-"
            )
            summary.append(f"{head} held {np.sum(error <= bound)} of {len(t)}; ratio {spread}")
    print(*summary, sep="\n")
    if out:
        columns = ("problem", "gradient", "t", "error", "bound")
        entries = [dict(zip(columns, row, strict=True)) for row in rows]
        out.write_text(json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    main()
