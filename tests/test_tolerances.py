"""Tolerances over many outer steps, and what is said where one is not met."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx

# y*(x) = x, and so x = 1; the adjoint is 1 - y.
PROBLEM = bx.BilevelProblem(lambda x, y: (y - 1) ** 2 / 2, lambda x, y: (y - x) ** 2 / 2)
MAP = bx.FixedPointProblem(lambda x, y: (y - 1) ** 2 / 2, lambda x, y: (x + y) / 2)
SWEEP = bx.BilevelProblem(PROBLEM.outer, PROBLEM.inner, update=lambda x, y: (x + y) / 2)

SOLVERS = {
    "gradient descent": (PROBLEM, bx.GradientDescent(0.5, 100, tol=1e-6)),
    "left-out step": (PROBLEM, bx.GradientDescent(num_steps=100, tol=1e-6)),
    "accelerated": (PROBLEM, bx.AcceleratedGradientDescent(0.5, 200, tol=1e-6)),
    "momentum": (PROBLEM, bx.Descent(optax.sgd(0.3, momentum=0.5), 200, tol=1e-6)),
    "fixed point": (MAP, bx.FixedPointIteration(100, tol=1e-6)),
    "sweep": (SWEEP, bx.Sinkhorn(100, tol=1e-6)),
}


# Cold starts of one solver of each kind of state: none, a momentum, a method of optax.
COLD = ("gradient descent", "accelerated", "momentum")


@pytest.mark.parametrize(
    ("name", "warm"), [(name, True) for name in SOLVERS] + [(name, False) for name in COLD]
)
def test_an_inner_tolerance_does_not_outlive_its_solve(name, warm):
    problem, solver = SOLVERS[name]
    estimator = bx.Implicit(solver, bx.Direct(), warm_start_inner=warm)
    s = bx.minimize(problem, bx.Algorithm(estimator, 0.3), 0.0, 3.0, num_steps=60)
    assert s.result == bx.Result.successful
    assert float(s.x) == pytest.approx(1, abs=1e-4) and float(s.y) == pytest.approx(1, abs=1e-4)
    assert s.history["inner_residual"].max() <= 1e-6
    # Each solve evaluates the residual, and stops before its steps are used up.
    calls = np.diff(s.history["inner_gradient"], prepend=0)
    assert calls.min() >= 1 and calls.max() < 100


ADJOINT = ("gradient descent", "accelerated", "momentum", "fixed point", "CG")


@pytest.mark.parametrize(
    ("name", "warm"), [(name, True) for name in ADJOINT] + [(name, False) for name in COLD]
)
def test_an_adjoint_tolerance_does_not_outlive_its_solve(name, warm):
    problem, solver = SOLVERS.get(name, (PROBLEM, bx.CG(5, tol=1e-8)))
    inner = bx.GradientDescent(0.5, 60)
    estimator = bx.Implicit(inner, solver, warm_start_adjoint=warm)
    s = bx.minimize(problem, bx.Algorithm(estimator, 0.3), 0.0, 3.0, num_steps=60)
    assert s.result == bx.Result.successful
    assert float(s.x) == pytest.approx(1, abs=1e-4)
    scale = 2 if problem is MAP else 1  # the residual of the map is half the gradient
    assert float(s.adjoint) == pytest.approx(scale * (1 - float(s.y)), abs=1e-5)


def beale(x, y):
    a, b = y
    return sum((x[i] - a + a * b ** (i + 1)) ** 2 for i in range(3))


@pytest.mark.parametrize("start", [(2.0, 0.0), (1.0, 0.0)])
def test_a_left_out_step_finds_beales_minimum(start):
    """The smoothness is 7.6 where it starts and 49 at the optimum."""
    solver = bx.GradientDescent(num_steps=5000, tol=1e-8)
    solution = bx.argmin(beale, jnp.array(start), solver)
    x = jnp.array([1.5, 2.25, 2.625])
    np.testing.assert_allclose(solution(x), [3.0, 0.5], atol=1e-6)
    derivatives = jax.jit(jax.jacfwd(jax.grad(beale, argnums=1), argnums=(0, 1)))
    cross, hessian = derivatives(x, jnp.array([3.0, 0.5]))
    expected = -np.linalg.solve(hessian, cross)
    np.testing.assert_allclose(jax.jacobian(solution)(x), expected, atol=1e-5)


def test_where_a_tolerance_was_given_it_must_be_met():
    short = lambda **kw: bx.GradientDescent(0.5, 3, tol=1e-6, **kw)
    for function in (
        bx.argmin(PROBLEM, 3.0, short()),
        bx.minimum(PROBLEM.inner, 3.0, short()),
        bx.minimum(PROBLEM.inner, 3.0, short(), gradient="implicit"),
    ):
        with pytest.raises(Exception, match="without ever reaching its tolerance"):
            jax.block_until_ready(function(0.0))
    accepted = bx.argmin(PROBLEM, 3.0, short(must_converge=False))(0.0)
    assert float(accepted) == pytest.approx(3 / 8)
    slow = bx.argmin(lambda x, y: jnp.sum((y - x) ** 2) / 8, jnp.full(3, 2.0), short())
    with pytest.raises(Exception, match="must_converge=False"):
        jax.block_until_ready(jax.jit(slow)(0.0))


def test_a_linear_tolerance_must_be_met_in_argmin():
    scales = jnp.linspace(1.0, 100.0, 12)
    g = lambda x, y: jnp.sum(scales * (y - x) ** 2) / 2
    inner = bx.GradientDescent(0.01, 1)
    few = bx.argmin(g, jnp.zeros(12), inner, linear=bx.CG(2, tol=1e-9))
    with pytest.raises(Exception, match="linear solver used all its steps"):
        jax.block_until_ready(jax.jacfwd(few)(0.5))
    enough = bx.argmin(g, jnp.zeros(12), inner, linear=bx.CG(12, tol=1e-9))
    np.testing.assert_allclose(jax.jacfwd(enough)(0.5), np.ones(12), rtol=1e-6)


@pytest.mark.parametrize("required", [None, True])
def test_a_run_says_that_its_tolerance_was_never_met(required):
    solver = bx.GradientDescent(0.1, 2, tol=1e-12, must_converge=required)
    algorithm = bx.Algorithm(bx.Implicit(solver, bx.CG(1)), 0.1)
    s = bx.minimize(PROBLEM, algorithm, 0.0, 3.0, num_steps=5)
    assert s.result == bx.Result.inner_max_steps
    # With `must_converge` the first solve fails; otherwise the run goes on to its end.
    assert int(s.state.loop.step) == (0 if required else 5)
    h = bx.hypergradient(PROBLEM, algorithm.hypergradient, 0.0, 3.0)
    assert h.result == bx.Result.inner_max_steps
    # Met once is not never.
    often = bx.GradientDescent(0.5, 8, tol=1e-2)
    s = bx.minimize(PROBLEM, bx.Algorithm(bx.Analytic(often), 0.1), 0.0, 3.0, num_steps=5)
    assert s.result == bx.Result.successful


def test_the_last_residuals_stand_in_the_results():
    inner, linear = bx.GradientDescent(0.25, 4), bx.GradientDescent(0.5, 3)
    estimator = bx.Implicit(inner, linear, warm_start_adjoint=False)
    h = bx.hypergradient(PROBLEM, estimator, 0.0, 2.0)
    # The last that was computed: before the last step.
    assert float(h.inner_residual) == pytest.approx(2 * 0.75**3)
    assert float(h.adjoint_residual) == pytest.approx(abs(float(h.y) - 1) * 0.5**2)
    s = bx.minimize(PROBLEM, bx.Algorithm(estimator, 0.1), 0.0, 2.0, num_steps=3)
    assert s.history["inner_residual"][0] == float(h.inner_residual)
    assert s.history["adjoint_residual"][-1] == s.adjoint_residual
    exact = bx.hypergradient(PROBLEM, bx.Implicit(inner, bx.Direct()), 0.0, 2.0)
    assert float(exact.adjoint_residual) == 0
    assert bx.hypergradient(PROBLEM, bx.Analytic(inner), 0.0, 2.0).adjoint_residual is None


@pytest.mark.parametrize("part", ["inner", "linear"])
@pytest.mark.parametrize("bad", [optax.sgd(0.1), "CG", None])
def test_argmin_and_minimum_refuse_what_is_no_solver(part, bad):
    if bad is None and part == "linear":
        return  # the default
    solvers = {"inner": bx.GradientDescent(0.5, 3), "linear": bx.CG(1)} | {part: bad}
    inner, linear = solvers["inner"], solvers["linear"]
    with pytest.raises(TypeError, match=f"{part} must be a solver|needs an inner solver"):
        bx.argmin(PROBLEM.inner, 0.0, inner, linear=linear)
    with pytest.raises(TypeError, match=f"{part} must be a solver|needs an inner solver"):
        bx.minimum(PROBLEM.inner, 0.0, inner, gradient="implicit", linear=linear)
