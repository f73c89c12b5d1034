"""Solvers of other libraries: optax with line searches, and optimistix."""

import functools
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest

import bilevax as bx
from bilevax.solvers._equation import AdjointEquation, InnerEquation
from cases import CASES, dense_hypergradient, flat, relative_error, steps
from doubles import Counted, Counter


# They run for a moment only: what they cost is to be compiled.
@functools.partial(eqx.filter_jit, compiler_options={"xla_backend_optimization_level": 0})
def solve(solver, equation, u):
    return solver.solve(equation, u, solver.init(equation, u), jax.random.key(0), 0)


LBFGS = bx.Descent(optax.lbfgs(), steps(60))


def test_lbfgs_on_both_levels():
    case = CASES["logistic"]()
    y, state, cost, result = solve(LBFGS, InnerEquation(case.problem, case.x), case.y)
    assert result == bx.Result.successful
    assert np.linalg.norm(flat(case.residual(case.x, y))) < 1e-10
    assert float(state.residual) < 1e-9 and cost.on_host().inner_gradient > 60
    offset = jax.grad(case.outer, argnums=1)(case.x, y)
    equation = AdjointEquation(case.problem, case.x, y, offset)
    z, _, cost, result = solve(LBFGS, equation, jnp.zeros_like(y))
    assert result == bx.Result.successful and cost.on_host().hvp > 60
    assert relative_error(z, dense_hypergradient(case, case.x, y)[1]) < 1e-8


def test_line_searches_are_counted():
    counter, case = Counter(), CASES["logistic"]()
    problem: Any = Counted(case.problem, counter)  # pyright: ignore[reportCallIssue]
    inner = bx.Descent(optax.lbfgs(), 4)
    _, _, cost, _ = solve(inner, InnerEquation(problem, case.x), 5 * case.y)
    jax.effects_barrier()
    assert cost.on_host().inner_gradient == counter.calls["inner_gradient"] > 8


def test_extra_arguments_that_nobody_asks_for():
    case = CASES["fixed_point"]()
    sgd = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)
    estimator = bx.Analytic(bx.Descent(sgd, 40))
    h = bx.hypergradient(case.problem, estimator, case.x, case.y)
    assert np.linalg.norm(case.residual(case.x, h.y)) < 1e-3


def test_what_line_searches_cannot_do():
    case = CASES["fixed_point"]()
    for estimator in (bx.Analytic(LBFGS), bx.Implicit(bx.FixedPointIteration(2), LBFGS)):
        with pytest.raises(TypeError, match=r"needs an (inner problem that mini|objective)"):
            bx.hypergradient(case.problem, estimator, case.x, case.y)
    with pytest.raises(TypeError, match=r"use bx\.Implicit"):
        bx.Unrolled(bx.Descent(optax.lbfgs(), 3))
    smooth = CASES["quadratic"]()
    algorithm = bx.Algorithm(bx.Implicit(bx.GradientDescent(0.5, 3), bx.CG(3)), optax.lbfgs())
    with pytest.raises(TypeError, match="asks for the value of the objective"):
        bx.minimize(smooth.problem, algorithm, smooth.x, smooth.y, num_steps=1)


# -- optimistix ---------------------------------------------------------------------------

OUTSIDE = {
    "BFGS": optimistix.BFGS(1e-11, 1e-12),
    "Newton": optimistix.Newton(1e-11, 1e-12),
}


@pytest.mark.parametrize(("name", "case"), [("BFGS", "nested"), ("Newton", "quadratic")])
def test_hypergradients_of_optimistix(name, case):
    case, inner = CASES[case](), bx.Optimistix(OUTSIDE[name], 200)
    h = bx.hypergradient(case.problem, bx.Implicit(inner, bx.CG(20)), case.x, case.y)
    assert h.result == bx.Result.successful and 2 < h.cost.inner_gradient < 100
    assert np.linalg.norm(flat(case.residual(case.x, h.y))) < 1e-7
    assert relative_error(h.gradient, dense_hypergradient(case, case.x, h.y)[0]) < 1e-8


def test_a_root_finder_on_a_map_and_warm_starts():
    case = CASES["fixed_point"]()
    inner = bx.Optimistix(OUTSIDE["Newton"], 50)
    algorithm = bx.Algorithm(bx.Implicit(inner, bx.Direct()), 0.05)
    solution = bx.minimize(case.problem, algorithm, case.x, case.y, num_steps=3)
    x, y, phi = case.x, case.y, jax.jit(case.problem.fixed_point)
    for _ in range(3):
        for _ in range(400):
            y = phi(x, y)
        x = x - 0.05 * dense_hypergradient(case, x, y)[0]
    assert solution.result == bx.Result.successful
    assert relative_error(solution.x, x) < 1e-9


def test_few_steps_of_optimistix():
    case = CASES["logistic"]()
    y0 = 5 * case.y
    for must, code in ((False, "successful"), (True, "inner_max_steps")):
        inner = bx.Optimistix(OUTSIDE["BFGS"], 2, must_converge=must)
        h = bx.hypergradient(case.problem, bx.Analytic(inner), case.x, y0)
        assert h.result == getattr(bx.Result, code) and h.cost.inner_gradient == 3
        assert float(h.inner_residual) == pytest.approx(
            np.linalg.norm(flat(case.residual(case.x, h.y)))
        )


def test_what_optimistix_cannot_do(monkeypatch):
    case = CASES["fixed_point"]()
    inner = bx.Optimistix(OUTSIDE["BFGS"], 3)
    with pytest.raises(TypeError, match="needs an inner problem that minimises"):
        bx.hypergradient(case.problem, bx.Analytic(inner), case.x, case.y)
    with pytest.raises(TypeError, match="for inner problems"):
        bx.hypergradient(
            case.problem, bx.Implicit(bx.FixedPointIteration(2), inner), case.x, case.y
        )
    with pytest.raises(TypeError, match="must be a minimiser or a root finder of optimistix"):
        bx.Optimistix(optax.lbfgs(), 3)
    monkeypatch.setitem(sys.modules, "optimistix", None)
    with pytest.raises(ImportError, match=r"pip install bilevax\[optimistix\]"):
        bx.Optimistix(OUTSIDE["BFGS"], 3)
