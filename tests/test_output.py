"""What a run shows where it is not the last x, and what metrics are given."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.projections import projection_box

import bilevax as bx
from finite_sums import states_equal

PROBLEM = bx.BilevelProblem(
    lambda x, y: jnp.sum((y - 3.0) ** 2) / 2, lambda x, y: jnp.sum((y - x) ** 2) / 2
)
ESTIMATOR = bx.Implicit(bx.GradientDescent(1.0, 1), bx.CG(1))
START = np.zeros(2), np.zeros(2)


def algorithm(weight=0.25, gamma=0.5, highest=2.0):
    bounded = bx.projected(projection_box, 0.0, highest)
    return bx.Algorithm(ESTIMATOR, gamma, apply=bounded, output=bx.averaged(weight))


def shown(x, y):
    return {"shown": x}


def variables(x, y, z):
    return {"z": z, "x": x}


def test_the_average_of_projected_iterates():
    solution = bx.minimize(PROBLEM, algorithm(), *START, num_steps=12, metrics=shown)
    x, average = np.zeros(2), np.zeros(2)
    for k in range(12):
        x = np.clip(x - 0.5 * (x - 3), 0, 2)
        average = 0.75 * average + 0.25 * x
        np.testing.assert_allclose(solution.history["shown"][k], average, rtol=1e-12)
    np.testing.assert_allclose(solution.x, average, rtol=1e-12)
    np.testing.assert_allclose(solution.state.loop.x, x, rtol=1e-12)
    assert np.all(solution.x < solution.state.loop.x)

    first = bx.minimize(PROBLEM, algorithm(), *START, num_steps=5, metrics=shown)
    rest = bx.minimize(PROBLEM, algorithm(), num_steps=7, state=first.state, metrics=shown)
    assert states_equal(rest.state, solution.state)
    with pytest.raises(ValueError, match="state belongs to another algorithm"):
        bx.minimize(PROBLEM, bx.Algorithm(ESTIMATOR, 0.5), num_steps=1, state=first.state)


def test_a_schedule_of_weights_is_the_mean_of_all_iterates():
    own = bx.Algorithm(ESTIMATOR, 0.5, output=bx.averaged())
    solution = bx.minimize(PROBLEM, own, *START, num_steps=9)
    iterates = 3 * (1 - 0.5 ** np.arange(10))
    np.testing.assert_allclose(solution.x, iterates.mean(), rtol=1e-6)


def test_the_tolerance_is_met_by_what_is_shown():
    """The iterates are there after 20 steps; their average takes longer."""
    own, limits = algorithm(weight=0.1, highest=4.0), {"num_steps": 500, "tol": 1e-4}
    solution = bx.minimize(PROBLEM, own, *START, metrics=shown, **limits)
    plain = bx.Algorithm(ESTIMATOR, 0.5)
    alone = bx.minimize(PROBLEM, plain, *START, metrics=variables, **limits)
    assert solution.result == bx.Result.successful
    assert np.linalg.norm(solution.x - 3) <= 1e-4
    steps = int(solution.state.loop.step), int(alone.state.loop.step)
    assert steps[1] < 25 and 80 < steps[0] < 130
    # Each look at what is shown is an estimate that counts.
    looks = steps[0] - (steps[1] - 1)
    assert solution.cost.outer_gradient == steps[0] + looks


def test_an_output_of_the_outer_state():
    """Such as the other sequence of a method with momentum."""
    own = bx.Algorithm(
        ESTIMATOR, optax.trace(0.5), output=lambda shown, x, outer, k: outer.trace
    )
    solution = bx.minimize(PROBLEM, own, *START, num_steps=1)
    np.testing.assert_allclose(solution.x, [-3.0, -3.0])


def test_metrics_are_given_as_many_variables_as_they_take():
    own = bx.Algorithm(ESTIMATOR, 0.5)
    run = lambda metrics: bx.minimize(PROBLEM, own, *START, num_steps=2, metrics=metrics)
    three = run(variables)
    np.testing.assert_allclose(three.history["z"][-1], three.adjoint)
    two = run(lambda x, y, scale=2.0: {"x": scale * x})
    np.testing.assert_allclose(two.history["x"], 2 * three.history["x"])


def test_an_output_that_is_none():
    with pytest.raises(Exception, match="output"):
        bx.Algorithm(ESTIMATOR, 0.5, output=0.5)
    for weight in (0.0, 1.5):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            bx.averaged(weight)
