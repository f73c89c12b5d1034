"""The outer step that needs no tuning."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx


def run(transformation, gradients):
    """The updates that a transformation makes of a list of gradients."""
    state, updates = transformation.init(gradients[0]), []
    for gradient in gradients:
        update, state = transformation.update(gradient, state)
        updates.append(update)
    return updates


def test_it_is_its_formula():
    """D / sqrt(sum of the squared largest coordinates), far from convergence."""
    random = np.random.default_rng(0)
    gradients = [
        {"a": random.normal(size=3), "b": random.normal(size=(2, 2)) * 10**k} for k in range(5)
    ]
    squares = 0.0
    for gradient, update in zip(gradients, run(bx.adaptive_step(0.7), gradients), strict=True):
        squares += max(np.abs(gradient["a"]).max(), np.abs(gradient["b"]).max()) ** 2
        for name in gradient:
            expected = -0.7 / np.sqrt(squares) * gradient[name]
            np.testing.assert_allclose(update[name], expected, rtol=1e-12)


def test_the_scale_of_the_objective_does_not_matter():
    def path(scale):
        problem = bx.BilevelProblem(
            outer=lambda x, y: scale * jnp.sum(jnp.logaddexp(y, -2 * y)),
            inner=lambda x, y: jnp.sum((y - x) ** 2),
        )
        algorithm = bx.algorithms.amigo_cg(outer_step_size=bx.adaptive_step())
        return bx.minimize(problem, algorithm, jnp.ones(2) * 3, jnp.zeros(2), num_steps=7).x

    np.testing.assert_allclose(path(1.0), path(1e6), rtol=1e-6)


def test_no_gradient_no_step():
    zero, one = jnp.zeros(2), jnp.array([0.0, 2.0])
    updates = run(bx.adaptive_step(), [zero, one])
    np.testing.assert_array_equal(updates[0], 0)
    np.testing.assert_allclose(updates[1], [0, -1])


def test_it_keeps_the_dtype_and_goes_with_optax():
    gradient = jnp.ones(2, jnp.float32)
    chained = optax.chain(optax.clip(0.5), bx.adaptive_step(2.0))
    (update,) = run(chained, [gradient])
    assert update.dtype == jnp.float32
    np.testing.assert_allclose(update, -2.0)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_sizes_whose_squares_are_no_numbers(size):
    gradient = jnp.array([1.0, -2.0], jnp.float32) * jnp.float32(size)
    for k, update in enumerate(run(bx.adaptive_step(), [gradient] * 3)):
        np.testing.assert_allclose(update, np.array([-0.5, 1]) / np.sqrt(k + 1), rtol=1e-6)


@pytest.mark.parametrize("distance", [0.0, -1.0, float("nan")])
def test_a_distance_is_positive(distance):
    with pytest.raises(ValueError, match="distance must be positive"):
        bx.adaptive_step(distance)
