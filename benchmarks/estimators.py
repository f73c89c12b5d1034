"""Every estimator on every test problem: relative error against an independent reference.

    python benchmarks/estimators.py

Far from convergence: 7 inner steps. The reference of the implicit estimators is dense
linear algebra at the y they used; that of the automatic and the analytic ones central
finite differences in float64 (of x -> f(x, y_7(x)), and of x -> f(x, y) with y fixed),
whose own error is about 1e-9.
"""

import pathlib
import sys

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

import bilevax as bx

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from cases import CASES, dense_hypergradient, flat, relative_error

T = 7


def finite_differences(function, x, eps: float = 1e-5) -> np.ndarray:
    vector, unravel = ravel_pytree(x)
    slopes = []
    for direction in np.eye(vector.size):
        ends = [float(function(unravel(vector + s * eps * direction))) for s in (1, -1)]
        slopes.append((ends[0] - ends[1]) / (2 * eps))
    return np.array(slopes)


def estimators(case):
    inner = bx.GradientDescent(case.inner_step, T)
    linear = {
        "direct": bx.Direct(),
        "neumann": bx.Neumann(step_size=case.inner_step, num_steps=4000),
        "descent": bx.GradientDescent(case.inner_step, 4000),
    }
    linear["cg" if case.problem.symmetric else "fixed point"] = (
        bx.CG(60) if case.problem.symmetric else bx.FixedPointIteration(400)
    )
    unrolled = {
        "reverse": {},
        "forward": {"mode": "forward"},
        "checkpoint sqrt": {"checkpoint": "sqrt"},
        "checkpoint step": {"checkpoint": "step"},
    }
    yield "analytic", bx.Analytic(inner)
    for name, options in unrolled.items():
        yield f"automatic, {name}", bx.Unrolled(inner, **options)
    for name, solver in linear.items():
        yield f"implicit, {name}", bx.Implicit(inner, solver)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    print(f"{'problem':12} {'estimator':28} {'relative error':>14}  against")
    for problem, make in CASES.items():
        case = make()
        inner = bx.GradientDescent(case.inner_step, T)
        y_7 = jax.jit(
            lambda x, case=case, inner=inner: (
                bx.hypergradient(case.problem, bx.Analytic(inner), x, case.y).value
            )
        )
        automatic = finite_differences(y_7, case.x)
        for name, estimator in estimators(case):
            h = bx.hypergradient(case.problem, estimator, case.x, case.y)
            if name.startswith("implicit"):
                reference, against = dense_hypergradient(case, case.x, h.y)[0], "dense"
            elif name == "analytic":
                fixed = lambda x, case=case, y=h.y: case.outer(x, y)
                reference, against = finite_differences(fixed, case.x), "differences"
            else:
                reference, against = automatic, "differences"
            if not np.any(reference):
                error = float(np.abs(flat(h.gradient)).max())
            else:
                error = relative_error(h.gradient, reference)
            print(f"{problem:12} {name:28} {error:14.1e}  {against}")


if __name__ == "__main__":
    main()
