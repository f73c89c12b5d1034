"""What may be given by position, and which steps, counts and tolerances are refused."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx

POSITIONAL = {
    bx.minimize: "problem algorithm x0 y0",
    bx.initial_state: "problem algorithm x0 y0",
    bx.hypergradient: "problem estimator x y0",
    bx.trajectory: "problem inner x y0",
    bx.error_bound: "problem estimator x h",
    bx.recommend: "problem inner x y0",
    bx.minimum: "objective y0 inner",
    bx.argmin: "objective y0 inner",
    bx.curvature: "problem x y",
    bx.Analytic: "inner",
    bx.Unrolled: "inner",
    bx.Implicit: "inner linear",
    bx.Joint: "adjoint reducer inner_step_size adjoint_step_size num_inner_steps order",
    bx.SAG: "step_size num_steps batch_size",
    bx.SVRG: "step_size num_steps batch_size epoch",
    bx.ReducedDescent: "transformation reducer num_steps batch_size",
    bx.GradientDescent: "step_size num_steps",
    bx.AcceleratedGradientDescent: "step_size num_steps",
    bx.SGD: "step_size num_steps batch_size",
    bx.Descent: "transformation num_steps",
    bx.FixedPointIteration: "num_steps",
    bx.Sinkhorn: "num_steps",
    bx.CG: "num_steps",
    bx.Direct: "",
    bx.Neumann: "",
    bx.BilevelProblem: "outer inner",
    bx.FixedPointProblem: "outer fixed_point",
    bx.MinProblem: "objective data",
    bx.problems.EntropicTransport: "cost histogram regularization",
    bx.schedules.two_phase: "step_size num_steps",
    **{getattr(bx.algorithms, name): "" for name in bx.algorithms.__all__},
}


@pytest.mark.parametrize("function", POSITIONAL, ids=lambda function: function.__name__)
def test_what_is_given_by_position(function):
    parameters = inspect.signature(function).parameters.values()
    named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert named == POSITIONAL[function].split()


@pytest.mark.parametrize("positional", [(10,), (0.1,), (0.1, 10)])
def test_neumann_takes_its_numbers_by_name(positional):
    with pytest.raises(TypeError, match=r"bx.Neumann.step_size=0.5, num_steps=10"):
        bx.Neumann(*positional)


STEPS = {
    "GradientDescent": (lambda s: bx.GradientDescent(s, 3), "step_size"),
    "Descent": (lambda s: bx.Descent(s, 3), "step_size"),
    "SGD": (lambda s: bx.SGD(s, 3, 1), "step_size"),
    "Accelerated": (lambda s: bx.AcceleratedGradientDescent(s, 3), "step_size"),
    "Neumann": (lambda s: bx.Neumann(step_size=s), "step_size"),
    "strong convexity": (
        lambda s: bx.AcceleratedGradientDescent(0.1, 3, strong_convexity=s),
        "strong_convexity",
    ),
    "Algorithm": (lambda s: bx.Algorithm(bx.Analytic(bx.GradientDescent(0.1)), s), "outer"),
    "mirror descent": (bx.mirror_descent, "step_size"),
    "adaptive step": (bx.adaptive_step, "distance"),
    "fixed point": (bx.MinProblem(lambda x, y: x * y).as_fixed_point, "step_size"),
    "decreasing": (lambda s: bx.schedules.decreasing(s, 1.0), "beta"),
    "polynomial": (lambda s: bx.schedules.polynomial(s, 0.5), "scale"),
    "two phases": (lambda s: bx.schedules.two_phase(s, 9, beta=1.0, gamma=1.0), "step_size"),
    "outer": (lambda s: bx.algorithms.itd(outer_step_size=s), "outer_step_size"),
    "inner": (
        lambda s: bx.algorithms.amigo_cg(outer_step_size=1.0, inner_step_size=s),
        "inner_step_size",
    ),
    "map": (
        lambda s: bx.algorithms.aid_fp(outer_step_size=1.0, inner_step_size=s),
        "inner_step_size",
    ),
    "adjoint": (
        lambda s: bx.algorithms.aid_n(outer_step_size=1.0, adjoint_step_size=s),
        "adjoint_step_size",
    ),
}
NO_NUMBER = True, np.True_, jnp.array(True), "0.1", 1j, [0.1]
NOT_POSITIVE = np.nan, np.inf, -0.1, 0, 0.0, -np.inf, jnp.array(jnp.nan), np.float32(-1)


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_positive_numbers(name):
    make, parameter = STEPS[name]
    for value in NO_NUMBER:
        with pytest.raises(TypeError, match=f"^{parameter} must be a"):
            make(value)
    for value in NOT_POSITIVE:
        with pytest.raises(ValueError, match=f"^{parameter} must be positive and finite"):
            make(value)
    for value in (0.5, 1, np.float32(0.5), np.int64(1), jnp.array(0.5), jnp.array(1)):
        make(value)


def test_steps_that_are_not_known_yet():
    gradient = lambda s: (
        bx.hypergradient(
            bx.MinProblem(lambda x, y: (y - x) ** 2 / 2),
            bx.Analytic(bx.GradientDescent(s, 1)),
            1.0,
            0.0,
        ).gradient
    )
    assert jax.jit(gradient)(0.25) == 0.75


def test_the_outer_step_is_not_measured():
    with pytest.raises(TypeError, match=r"outer_step_size must be given.*adaptive_step"):
        bx.algorithms.amigo_gd(outer_step_size=None)
    bx.algorithms.amigo_gd(outer_step_size=optax.adam(0.1))


COUNTS = {
    "GradientDescent": (lambda n: bx.GradientDescent(0.1, n), "num_steps"),
    "Accelerated": (lambda n: bx.AcceleratedGradientDescent(0.1, n), "num_steps"),
    "SGD": (lambda n: bx.SGD(0.1, n, 1), "num_steps"),
    "SGD's batch": (lambda n: bx.SGD(0.1, 1, n), "batch_size"),
    "FixedPointIteration": (bx.FixedPointIteration, "num_steps"),
    "Sinkhorn": (bx.Sinkhorn, "num_steps"),
    "CG": (bx.CG, "num_steps"),
    "Neumann": (lambda n: bx.Neumann(num_steps=n), "num_steps"),
    "two phases": (
        lambda n: bx.schedules.two_phase(0.1, n, beta=1.0, gamma=1.0),
        "num_steps",
    ),
    "max_num_steps": (
        lambda n: bx.Unrolled(bx.GradientDescent(0.1, 3), max_num_steps=n),
        "max_num_steps",
    ),
    "inner": (
        lambda n: bx.algorithms.reverse(outer_step_size=1.0, inner_steps=n),
        "inner_steps",
    ),
    "adjoint": (
        lambda n: bx.algorithms.amigo_cg(outer_step_size=1.0, adjoint_steps=n),
        "adjoint_steps",
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_ints_from_1_on(name):
    make, parameter = COUNTS[name]
    for value in (True, np.True_, 2.5, 10.0, np.nan, "3", np.float64(3)):
        with pytest.raises(TypeError, match=f"^{parameter} must be"):
            make(value)
    for value in (0, -1, np.int64(-2)):
        with pytest.raises(ValueError, match=f"^{parameter} must be at least 1"):
            make(value)
    for value in (1, np.int64(4)):
        make(value)
    with pytest.raises(TypeError, match=r"got 10.0: round it, as in int\(10.0\)"):
        make(10.0)


TOLERANCES = {
    "GradientDescent": lambda t: bx.GradientDescent(0.1, 3, tol=t),
    "Accelerated": lambda t: bx.AcceleratedGradientDescent(0.1, 3, tol=t),
    "FixedPointIteration": lambda t: bx.FixedPointIteration(3, tol=t),
    "Sinkhorn": lambda t: bx.Sinkhorn(3, tol=t),
    "CG": lambda t: bx.CG(3, tol=t),
}


@pytest.mark.parametrize("name", TOLERANCES)
def test_tolerances_are_numbers_from_0_on(name):
    for value in NO_NUMBER:
        with pytest.raises(TypeError, match=r"^tol must be a number of at least 0"):
            TOLERANCES[name](value)
    for value in (np.nan, np.inf, -1, -1e-9):
        with pytest.raises(ValueError, match=r"^tol must be finite and at least 0"):
            TOLERANCES[name](value)
    for value in (0, 1e-3, np.float32(0.5), jnp.array(0.5)):
        TOLERANCES[name](value)
