"""Newton's method against dense algebra: near and far, convex or not."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from bilevax.solvers._equation import AdjointEquation, InnerEquation
from cases import CASES, dense_hypergradient, flat, relative_error, steps
from doubles import ORACLES, Counted, Counter


# They run for a moment only: what they cost is to be compiled.
@functools.partial(eqx.filter_jit, compiler_options={"xla_backend_optimization_level": 0})
def solve(solver, problem, x, y):
    equation = InnerEquation(problem, x)
    return solver.solve(equation, y, solver.init(equation, y), jax.random.key(0), 0)


def total(x, y):
    return jnp.sum(y)


def minimise(inner, y, num=60, dtype=float, **kwargs):
    problem = bx.BilevelProblem(total, inner)
    y = jnp.asarray(y, dtype)
    return solve(bx.Newton(steps(num), **kwargs), problem, jnp.zeros((), dtype), y)


def test_a_quadratic_takes_one_step():
    q = bx.problems.quadratic(7, 30, inner_condition=10.0, coupling=0.3)
    x, y = jnp.linspace(-1, 1, 7), jnp.linspace(0, 10, 30)
    for linear in (None, bx.CG(200, tol=1e-15)):
        found, state, cost, result = solve(bx.Newton(1, linear=linear), q.problem, x, y)
        assert result == bx.Result.successful
        assert relative_error(found, q.inner_solution(x)) < 1e-12
        assert cost.on_host().inner_gradient == 2 and int(state.clock.i) == 1


FAR = {"logistic": bx.CG(steps(30)), "nested": bx.Direct()}


@pytest.mark.parametrize("name", FAR)
def test_far_starts(name):
    case, linear = CASES[name](), FAR[name]
    y = jax.tree.map(lambda leaf: 20 * leaf + 5, case.y)
    y, state, cost, result = solve(bx.Newton(30, linear=linear), case.problem, case.x, y)
    assert result == bx.Result.successful and int(state.clock.i) < 20
    assert np.linalg.norm(flat(case.residual(case.x, y))) < 1e-14
    assert cost.on_host().inner_gradient < 30


def rosenbrock(x, y):
    return 100 * (y[1] - y[0] ** 2) ** 2 + (1 - y[0]) ** 2


def beale(x, y):
    a, b = y
    return sum((c - a + a * b ** (i + 1)) ** 2 for i, c in enumerate((1.5, 2.25, 2.625)))


def log_sum_exp(x, y):
    """A full step from far leads further away."""
    return jnp.logaddexp(y[0] + y[1] - 1, -y[0] - y[1]) + jnp.logaddexp(
        y[0] - y[1], y[1] - y[0]
    )


def pseudo_huber(x, y):
    return jnp.sum(jnp.sqrt(1 + (y - jnp.array([1.0, 2.0], y.dtype)) ** 2))


HARD = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0], [1.0, 1.0], 40),
    "beale": (beale, [1.0, 1.0], [3.0, 0.5], 25),
    "log-sum-exp": (log_sum_exp, [4.0, -7.0], [0.25, 0.25], 15),
    "pseudo-huber": (pseudo_huber, [1e3, -50.0], [1.0, 2.0], 15),
}


IN_SINGLE = [(name, np.float32) for name in ("rosenbrock", "pseudo-huber")]


@pytest.mark.parametrize(("name", "dtype"), [*((n, np.float64) for n in HARD), *IN_SINGLE])
def test_from_where_plain_newton_fails(name, dtype):
    inner, start, solution, most = HARD[name]
    y, state, cost, result = minimise(inner, start, dtype=dtype)
    assert result == bx.Result.successful and int(state.clock.i) < most
    np.testing.assert_allclose(y, solution, rtol=1e-12 if dtype == np.float64 else 2e-3)
    assert y.dtype == dtype and cost.on_host().inner_gradient < 5 * most


def test_truncated_newton_passes_negative_curvature():
    inner, start, solution, most = HARD["beale"]
    y, state, _, result = minimise(inner, start, linear=bx.CG(steps(5)))
    assert result == bx.Result.successful and int(state.clock.i) < most
    np.testing.assert_allclose(y, solution, rtol=1e-12)


def test_separable_classes_with_a_tiny_penalty():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((40, 5))
    signs = np.sign(A @ np.ones(5))

    def inner(x, y):
        return jnp.mean(jnp.logaddexp(0, -signs * (A @ y))) + 1e-8 * y @ y / 2

    y, state, _, result = minimise(inner, np.zeros(5))
    gradient = -(signs / (1 + np.exp(signs * (A @ y)))) @ A / 40 + 1e-8 * y
    assert result == bx.Result.successful and int(state.clock.i) < 40
    assert np.linalg.norm(gradient) < 1e-17 < np.linalg.norm(1e-10 * y)


def test_a_large_constant_hides_no_digit_of_the_gradient():
    """Values are equal to rounding long before the gradient is."""
    inner = lambda x, y: x + jnp.sum((y + 1) ** 2 + jnp.exp(y))
    problem = bx.BilevelProblem(lambda x, y: x, inner)
    for shift in (0.0, 1e6, -0.5786):  # the last hides terms of 1 in a minimum of 1e-5
        start = jnp.array([2.0, -3.0])
        y, _, _, result = solve(bx.Newton(steps(60)), problem, jnp.asarray(shift), start)
        assert result == bx.Result.successful
        assert np.abs(2 * (y + 1) + np.exp(y)).max() < 1e-14


def test_it_rests_at_the_minimum():
    _, state, cost, _ = minimise(pseudo_huber, [1.0, 2.0])
    cost = cost.on_host()
    assert (cost.inner_gradient, cost.hvp, int(state.clock.i)) == (1, 0, 0)
    inner, start, _, _ = HARD["log-sum-exp"]
    y, state, _, _ = minimise(inner, start, tol=1e-3)
    assert float(state.residual) == np.linalg.norm(jax.grad(inner, argnums=1)(0.0, y)) <= 1e-3
    again, state, cost, _ = minimise(inner, y, tol=1e-3)
    assert cost.on_host().total == 1 and np.array_equal(again, y)


ENDS = {
    "unbounded": (lambda x, y: -jnp.sum(y**2), "indefinite"),
    "kink": (lambda x, y: jnp.sum(jnp.abs(y)), "inner_stalled"),
    "nan": (lambda x, y: jnp.sum(jnp.log(-jnp.abs(y))), "inner_nonfinite"),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends_are_told(name):
    inner, code = ENDS[name]
    y, _, _, result = minimise(inner, [-1.2, 1.0], num=9)
    assert result == getattr(bx.Result, code) and np.all(np.isfinite(y))
    if code == "indefinite":
        accepted = minimise(inner, [-1.2, 1.0], num=9, must_converge=False)
        assert accepted[-1] == bx.Result.successful
        missed = minimise(pseudo_huber, [1e3, -50.0], num=2, tol=1e-9, must_converge=True)
        assert missed[-1] == bx.Result.inner_max_steps


# -- hypergradients -----------------------------------------------------------------------


def test_hypergradients_are_dense_ones_at_every_accuracy():
    case = CASES["nested"]()
    y = jax.tree.map(lambda leaf: 3 * leaf, case.y)
    for num in (1, 3, 25):
        estimator = bx.Implicit(bx.Newton(steps(num), linear=bx.CG(30)), bx.CG(20))
        h = bx.hypergradient(case.problem, estimator, case.x, y)
        dense, _ = dense_hypergradient(case, case.x, h.y)
        assert h.result == bx.Result.successful
        assert relative_error(h.gradient, dense) < 1e-8


def test_warm_started_outer_steps():
    """x is moved by dense hypergradients at the exact y, too."""
    case = CASES["logistic"]()
    inner = bx.Newton(20, linear=bx.CG(30), tol=1e-12)
    algorithm = bx.Algorithm(bx.Implicit(inner, bx.CG(30)), 0.3)
    solution = bx.minimize(case.problem, algorithm, case.x, case.y, num_steps=4)
    x, residual = case.x, jax.jit(case.residual)
    jacobian = jax.jit(jax.jacobian(case.residual, argnums=1))
    for _ in range(4):
        y = jnp.zeros_like(case.y)
        for _ in range(9):
            step = np.linalg.solve(jacobian(x, y).reshape(12, 12), flat(residual(x, y)))
            y = y - step.reshape(4, 3)
        assert np.linalg.norm(residual(x, y)) < 1e-14
        x = x - 0.3 * dense_hypergradient(case, x, y)[0]
    np.testing.assert_allclose(solution.x, x, rtol=1e-9)
    assert solution.result == bx.Result.successful
    # A start at the last solution is three steps from the next.
    gradients = np.diff(solution.history["inner_gradient"])
    assert np.all(gradients < 6), gradients


def test_value_functions_and_solution_maps():
    ell = bx.minimum(lambda x, y: jnp.sum(jnp.exp(y) - x * y), jnp.zeros(3), bx.Newton(20))
    solution = bx.argmin(lambda x, y: jnp.sum(jnp.exp(y) - x * y), jnp.zeros(3), bx.Newton(20))
    x = jnp.array([0.5, 1.0, 3.0])
    np.testing.assert_allclose(ell(x), np.sum(x - x * np.log(x)), rtol=1e-13)
    np.testing.assert_allclose(jax.grad(ell)(x), -np.log(x), rtol=1e-12, atol=1e-14)
    xs = jnp.stack([x, 2 * x])
    np.testing.assert_allclose(jax.vmap(solution)(xs), np.log(xs), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(jax.jacobian(solution)(x), np.diag(1 / x), rtol=1e-12)


def test_large_y_by_conjugate_gradient():
    """Of more numbers than are factorised."""
    target = np.linspace(-2, 3, 300)
    inner = lambda x, y: jnp.sum(jnp.log(jnp.cosh(y - target))) + jnp.sum(y[1:] * y[:-1]) / 10
    y, state, cost, result = minimise(inner, np.zeros(300), num=30)
    assert result == bx.Result.successful
    assert np.linalg.norm(jax.grad(inner, argnums=1)(0.0, y)) < 1e-13
    assert cost.on_host().hvp < 30 * int(state.clock.i)


def test_all_calls_are_counted():
    counter, case = Counter(), CASES["logistic"]()
    problem = Counted(case.problem, counter)
    estimator = bx.Implicit(bx.Newton(4, linear=bx.CG(lambda k: 3 + k)), bx.CG(2))
    state = estimator.init(problem, case.x, 5 * case.y)
    run = eqx.filter_jit(lambda *args: estimator(*args, jax.random.key(0))[2])
    cost = run(problem, case.x, state).on_host()
    jax.effects_barrier()
    assert cost.inner_gradient > 5  # steps were shortened
    for oracle in ORACLES:
        assert getattr(cost, oracle) == counter.calls[oracle], oracle
        assert getattr(cost.rows, oracle) == counter.rows[oracle], oracle


def test_a_known_kernel():
    """Steps leave the gauge's directions alone, and the rest is solved."""
    project = lambda y: y - jnp.mean(y)
    inner = lambda x, y: jnp.sum(jnp.exp(y - jnp.mean(y)) - x * (y - jnp.mean(y)))
    problem = bx.BilevelProblem(lambda x, y: jnp.sum(project(y) ** 2), inner, gauge=project)
    x, start = jnp.array([1.0, 2.0, 4.0]), jnp.array([5.0, 6.0, 4.0])
    y, _, _, result = solve(bx.Newton(20), problem, x, start)
    assert result == bx.Result.successful
    np.testing.assert_allclose(np.mean(y), 5.0, rtol=1e-13)
    assert np.abs(jax.grad(inner, argnums=1)(x, y)).max() < 1e-14


# -- what it refuses ----------------------------------------------------------------------


def test_refusals():
    case = CASES["fixed_point"]()
    estimator = bx.Implicit(bx.Newton(3), bx.Direct())
    with pytest.raises(TypeError, match=r"minimises.*FixedPointIteration"):
        bx.hypergradient(case.problem, estimator, case.x, case.y)
    with pytest.raises(ValueError, match="leave its `batch_size` out"):
        bx.Newton(3, linear=bx.CG(3, batch_size=4))
    with pytest.raises(TypeError, match="linear must be a solver"):
        bx.Newton(3, linear=3)
    with pytest.raises(TypeError, match=r"use bx\.Implicit"):
        bx.Unrolled(bx.Newton(3))
    smooth = CASES["quadratic"]()
    adjoint = AdjointEquation(smooth.problem, smooth.x, smooth.y, smooth.y)
    with pytest.raises(TypeError, match="Newton is for inner problems"):
        bx.Newton(3).init(adjoint, smooth.y)
