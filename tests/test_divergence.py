"""Divergence that stays finite is told, and nothing that converges is accused of it."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx

BOWL = bx.BilevelProblem(
    lambda x, y: jnp.sum((y - 1) ** 2) / 2, lambda x, y: jnp.sum((y - x) ** 2) / 2
)


def minimize(*args, **kw):
    """A run whose warnings, which have a test of their own, are not looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return bx.minimize(*args, **kw)


@pytest.mark.parametrize("solve", ["minimum", "argmin"])
@pytest.mark.parametrize("step", [2.5, 2.2])
def test_value_functions_and_solution_maps_raise(solve, step):
    loss = lambda x, y: (y - x) ** 2 / 2
    function = getattr(bx, solve)(loss, 0.0, bx.GradientDescent(step, 60))
    with pytest.raises(Exception, match="inner solver diverged"):
        jax.block_until_ready(function(1.0))


@pytest.mark.parametrize(
    "inner",
    [
        bx.GradientDescent(2.5, 60),
        bx.AcceleratedGradientDescent(2.0, 60),
        bx.Descent(optax.sgd(0.5, momentum=1.5), 30),
    ],
)
@pytest.mark.parametrize("kind", ["implicit", "unrolled", "trajectory"])
def test_an_inner_solve_that_diverges(inner, kind):
    x, y = jnp.zeros(2), jnp.ones(2)
    if kind == "trajectory":
        result = bx.trajectory(BOWL, inner, x, y, at=[0, 60]).result
    else:
        estimator = bx.Implicit(inner, bx.CG(2)) if kind == "implicit" else bx.Unrolled(inner)
        result = bx.hypergradient(BOWL, estimator, x, y).result
    assert result == bx.Result.inner_diverged


def test_a_fixed_point_that_leaves_its_contraction_region():
    # The contraction is 1.5 tanh(x), and the outer objective wants x to grow.
    problem = bx.FixedPointProblem(lambda x, y: -y, lambda x, y: 1.5 * jnp.tanh(x) * y + 1.0)
    iteration = bx.FixedPointIteration(5)
    algorithm = bx.Algorithm(bx.Implicit(iteration, iteration), 0.01)
    s = minimize(problem, algorithm, jnp.asarray(0.1), jnp.asarray(0.0), num_steps=2000)
    assert s.result == bx.Result.inner_diverged
    assert float(jnp.abs(s.y)) < 1e4 and np.abs(s.history["value"]).max() < 1e4
    assert s.history["step"][-1] == int(s.state.loop.step)


INDEFINITE = bx.BilevelProblem(
    lambda x, y: y[0] + 0.01 * y[1] + x**2, lambda x, y: (y[0] ** 2 - y[1] ** 2) / 2
)


@pytest.mark.parametrize(
    ("linear", "code"),
    [
        (bx.Neumann(step_size=0.5, num_steps=10), "adjoint_diverged"),
        (bx.Neumann(num_steps=10), "adjoint_diverged"),
        (bx.GradientDescent(0.5, 10), "adjoint_diverged"),
        (bx.GradientDescent(num_steps=10), "adjoint_diverged"),
        (bx.CG(5), "indefinite"),
        (bx.Direct(), "indefinite"),
    ],
)
def test_an_indefinite_hessian_is_told_by_every_adjoint_solver(linear, code):
    estimator = bx.Implicit(bx.GradientDescent(0.5, 1), linear)
    h = bx.hypergradient(INDEFINITE, estimator, 1.0, jnp.zeros(2))
    assert h.result == getattr(bx.Result, code)


@pytest.mark.parametrize("step", [2.05, 3.0, 1e4])
def test_an_outer_step_that_is_too_large(step):
    algorithm = bx.Algorithm(bx.Implicit(bx.GradientDescent(0.5, 40), bx.CG(3)), step)
    s = bx.minimize(BOWL, algorithm, jnp.zeros(2), jnp.zeros(2), num_steps=400)
    assert s.result == bx.Result.outer_diverged
    # The first step is taken before anything has grown.
    np.testing.assert_allclose(s.x, np.full(2, step), rtol=1e-6)
    assert len(s.history["step"]) == int(s.state.loop.step) == 1


def rows_problem(scale=1.0):
    rng = np.random.default_rng(0)
    A = scale * rng.standard_normal((60, 3))
    data = A, A @ np.ones(3)
    inner = lambda x, y, b: jnp.mean((b[0] @ y - b[1]) ** 2) / 2 + jnp.sum((y - x) ** 2) / 20
    outer = lambda x, y: jnp.sum((y - 2) ** 2) / 2
    return bx.BilevelProblem(outer, inner, inner_data=data)


@pytest.mark.parametrize(("step", "fails"), [(0.05, False), (2.0, True)])
def test_random_rows_are_judged_by_how_far_solves_move(step, fails):
    estimator = bx.Implicit(bx.SGD(step, 2, 6), bx.CG(3))
    algorithm = bx.Algorithm(estimator, 0.01)
    start = jnp.zeros(3), jnp.zeros(3)
    s = minimize(rows_problem(), algorithm, *start, num_steps=300, key=jax.random.key(1))
    assert bool(s.result == bx.Result.inner_diverged) == fails
    assert fails or s.result == bx.Result.successful
    # Two calls are made to be sure, and none before.
    assert s.cost.inner_gradient == 2 * s.cost.cross + 2 * fails


def non_normal():
    """A contraction in the long run whose residual first grows thirtyfold."""
    M = np.diag(np.full(6, 0.5)) + np.diag(np.full(5, 2.0), 1)
    phi = lambda x, y: jnp.asarray(M) @ y + x
    return bx.FixedPointProblem(lambda x, y: jnp.sum((y - 1) ** 2) / 2, phi)


def healthy():
    """Runs that converge: problem, algorithm, x0, y0, steps."""
    cg, two = bx.CG(3), (jnp.zeros(2), jnp.full(2, 5.0))
    stiff = jnp.array([1.0, 100.0, 1e4])
    ill = bx.BilevelProblem(
        lambda x, y: jnp.sum((y - 1) ** 2) / 2, lambda x, y: jnp.sum(stiff * (y - x) ** 2) / 2
    )
    three = jnp.zeros(3), jnp.ones(3)
    step = lambda inner, linear=cg, outer=0.3, **kw: bx.Algorithm(
        bx.Implicit(inner, linear, **kw), outer
    )
    adam = optax.adam(0.05)
    return {
        # Long after rounding is reached.
        "rounding": (BOWL, step(bx.GradientDescent(0.5, 5), bx.GradientDescent(0.5, 5)), *two),
        "rounding, one step": (
            BOWL,
            step(bx.GradientDescent(0.9, 1), bx.GradientDescent(0.9, 1)),
            *two,
        ),
        "ill-conditioned": (
            ill,
            step(bx.GradientDescent(1.9e-4, 30), bx.GradientDescent(1.9e-4, 30), 0.02),
            *three,
        ),
        "Neumann": (
            ill,
            step(bx.GradientDescent(1e-4, 30), bx.Neumann(step_size=1e-4), 0.02),
            *three,
        ),
        "momentum": (BOWL, step(bx.Descent(optax.sgd(0.1, momentum=0.9), 20)), *two),
        "Adam": (BOWL, step(bx.Descent(adam, 20)), *two),
        "Adam outside": (BOWL, step(bx.GradientDescent(0.5, 20), outer=adam), *two),
        "accelerated": (
            ill,
            step(bx.AcceleratedGradientDescent(1e-4, 60), outer=0.005),
            *three,
        ),
        "cold": (
            BOWL,
            step(bx.GradientDescent(0.5, 20), warm_start_inner=False, warm_start_adjoint=False),
            *two,
        ),
        "non-normal": (
            non_normal(),
            step(bx.FixedPointIteration(60), bx.FixedPointIteration(60), 1e-9),
            jnp.zeros(6),
            jnp.ones(6),
        ),
        "non-normal, few steps": (
            non_normal(),
            step(bx.FixedPointIteration(3), bx.Direct(), 1e-9),
            jnp.zeros(6),
            jnp.ones(6),
        ),
        "from a plateau": (
            bx.BilevelProblem(
                lambda x, y: jnp.sum(jnp.cos(y)), lambda x, y: jnp.sum((y - x) ** 2) / 2
            ),
            step(bx.GradientDescent(0.5, 1), bx.CG(2)),
            jnp.full(2, 1e-9),
            jnp.zeros(2),
        ),
    }


@pytest.mark.parametrize("name", list(healthy()))
def test_no_false_alarm(name):
    problem, algorithm, x0, y0 = healthy()[name]
    s = bx.minimize(problem, algorithm, x0, y0, num_steps=400)
    assert s.result == bx.Result.successful
    assert s.history["value"][-1] <= s.history["value"][0]


@pytest.mark.usefixtures("x32")
@pytest.mark.parametrize("name", ["rounding", "rounding, one step", "ill-conditioned"])
def test_no_false_alarm_in_single_precision(name):
    test_no_false_alarm(name)


def stiffening():
    """The Hessian exp(x) grows as x moves; the given step suits it until x = 1.4."""
    outer = lambda x, y: jnp.sum(jnp.tanh(y)) - x
    inner = lambda x, y: jnp.exp(x) * jnp.sum(y**2) / 2 - jnp.sum(y)
    return bx.BilevelProblem(outer, inner)


def test_the_iterate_before_the_divergence_is_returned_and_the_cause_named():
    algorithm = bx.Algorithm(bx.Implicit(bx.GradientDescent(0.5, 3), bx.CG(2)), 0.01)
    start = jnp.asarray(0.0), jnp.zeros(2)
    with pytest.warns(UserWarning, match=r"A step of 0.5 .* 2 / smoothness = 0.33"):
        s = bx.minimize(stiffening(), algorithm, *start, num_steps=4000)
    assert s.result == bx.Result.inner_diverged
    step = int(s.state.loop.step)
    assert s.history["step"].tolist() == list(range(1, step + 1))
    assert float(jnp.max(jnp.abs(s.y))) < 2 and s.history["inner_residual"].max() < 3
    # It is the very iterate of an undisturbed run, and the whole cost was counted.
    same = bx.minimize(stiffening(), algorithm, *start, num_steps=step)
    assert float(same.x) == float(s.x) and s.cost.total > same.cost.total
    assert s.history["calls"][-1] == same.cost.total


def test_an_early_failure_leaves_a_record():
    algorithm = bx.Algorithm(bx.Implicit(bx.GradientDescent(9.0, 100), bx.CG(2)), 0.01)
    s = minimize(BOWL, algorithm, jnp.zeros(2), jnp.ones(2), num_steps=50, record_every=10)
    assert s.result == bx.Result.inner_diverged and int(s.state.loop.step) == 0
    assert s.history["step"].tolist() == [1]
    np.testing.assert_array_equal(s.y, np.ones(2))
