"""Linear solvers on the inner level: exact for a quadratic, and no silence for others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from cases import CASES, interpolation, relative_error
from doubles import ORACLES, Counted, Counter

SOLVERS = {"direct": bx.Direct(), "cg": bx.CG(40, tol=1e-14)}


@pytest.mark.parametrize("name", SOLVERS)
def test_outer_steps_are_those_of_the_closed_form(name):
    q = bx.problems.quadratic(4, 12, inner_condition=50.0, coupling=0.3, seed=2)
    x0, y0 = jnp.linspace(-1, 1, 4), jnp.linspace(-9, 5, 12)
    warm = name == "cg"
    estimator = bx.Implicit(SOLVERS[name], bx.CG(20), warm_start_inner=warm)
    algorithm = bx.Algorithm(estimator, 0.05)
    solution = bx.minimize(q.problem, algorithm, x0, y0, num_steps=6)
    assert solution.result == bx.Result.successful
    x = x0
    for _ in range(6):
        y = q.inner_solution(x)
        x = x - 0.05 * q.gradient(x)
    assert relative_error(solution.x, x) < 1e-11
    assert relative_error(solution.y, y) < 1e-11


@pytest.mark.parametrize(("name", "dtype"), [("direct", np.float32), ("cg", np.float64)])
def test_rounding_is_no_curvature(name, dtype):
    """Solved again where nothing is left to solve, at any scale."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((20, 6))

    def inner(x, y, rows):
        return jnp.mean((rows[0] @ y - x * rows[1]) ** 2)

    rows = jnp.asarray(A, dtype), jnp.asarray(rng.standard_normal(20), dtype)
    problem = bx.BilevelProblem(lambda x, y: jnp.sum(y), inner, inner_data=rows)
    estimator = bx.Analytic(SOLVERS[name])
    run = jax.jit(lambda x, state: estimator(problem, x, state, jax.random.key(0)))
    for scale in (1e-6, 1.0, 1e6):
        x = jnp.asarray(scale, dtype)
        state = estimator.init(problem, x, jnp.asarray(scale * np.ones(6), dtype))
        for _ in range(3):
            _, state, _, result = run(x, state)
            assert result == bx.Result.successful
        exact = scale * np.linalg.lstsq(A, np.asarray(rows[1], float))[0]
        assert relative_error(state.y, exact) < 300 * np.finfo(dtype).eps


@pytest.mark.parametrize("name", SOLVERS)
def test_what_is_not_quadratic(name):
    case = CASES["logistic"]()
    h = bx.hypergradient(case.problem, bx.Analytic(SOLVERS[name]), case.x, case.y)
    assert h.result == bx.Result.not_quadratic and "bx.Newton" in bx.Result[h.result]
    saddle = bx.BilevelProblem(lambda x, y: jnp.sum(y), lambda x, y: x * y[0] + y[0] * y[1])
    if name == "cg":
        h = bx.hypergradient(saddle, bx.Analytic(SOLVERS[name]), 1.0, jnp.ones(2))
        assert h.result == bx.Result.indefinite


@pytest.mark.parametrize("name", SOLVERS)
def test_all_calls_are_counted(name):
    counter, case = Counter(), interpolation()
    problem: Any = Counted(case.problem, counter)  # pyright: ignore[reportCallIssue]
    estimator = bx.Analytic(SOLVERS[name])
    state = estimator.init(problem, case.x, case.y)
    cost = jax.jit(lambda: estimator(problem, case.x, state, jax.random.key(0))[2])()
    jax.effects_barrier()
    cost = cost.on_host()
    calls, rows = counter.calls, counter.rows
    if name == "direct":  # three columns are one vectorised call
        calls["hvp"], rows["hvp"] = calls["hvp"] + 2, rows["hvp"] + 24
    for oracle in ORACLES:
        told = getattr(cost, oracle), getattr(cost.rows, oracle)
        assert told == (calls[oracle], rows[oracle]), oracle


def test_on_drawn_rows():
    """Any rows determine the same y here, and one batch serves the whole solve."""
    case = interpolation()
    inner = bx.CG(3, batch_size=bx.Batches(np.arange(12).reshape(3, 4)))
    h = bx.hypergradient(case.problem, bx.Analytic(inner), case.x, case.y)
    assert h.result == bx.Result.successful and h.cost.rows.inner_gradient == 8
    # The residual is zero on all rows.
    assert np.linalg.norm(case.residual(case.x, h.y)) < 1e-10


def test_maps_that_are_no_gradients():
    case = CASES["fixed_point"]()
    for linear in SOLVERS.values():
        with pytest.raises(TypeError, match="for linear equations, and the inner problem"):
            bx.hypergradient(case.problem, bx.Analytic(linear), case.x, case.y)
