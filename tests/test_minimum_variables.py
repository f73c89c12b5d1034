"""What x, y and the values that are closed over may be: leaves, modules, integers, minima."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx

INNER = bx.GradientDescent(0.3, 100)


def ridge(x, y):
    return jnp.sum((y - x) ** 2) / 2 + jnp.sum(y**2) / 2


def test_python_floats_in_y0_and_x_are_variables():
    loss = lambda x, y: (y["a"] - x["c"]) ** 2 + (y["b"] - x["c"]) ** 2
    x, y0 = {"c": 3.0}, {"a": jnp.zeros(()), "b": 0.0}
    y = bx.argmin(loss, y0, INNER)(x)
    assert float(y["a"]) == pytest.approx(3) and float(y["b"]) == pytest.approx(3)
    J = jax.jacrev(bx.argmin(loss, y0, INNER))(x)
    assert float(J["b"]["c"]) == pytest.approx(1)
    value = bx.minimum(loss, {"a": 0.0, "b": np.zeros(())}, INNER)
    assert float(value(x)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_x_that_enters_some_leaves_of_y_only(wrap):
    loss = lambda x, y: (y["a"] - x) ** 2 / 2 + (y["b"] - 1 + y["a"] / 2) ** 2 / 2
    solution = bx.argmin(loss, {"a": jnp.zeros(()), "b": jnp.zeros(())}, INNER)
    for mode in (jax.grad, jax.jacfwd):
        for leaf, expected in (("a", 1.0), ("b", -0.5)):
            got = wrap(mode(lambda x, leaf=leaf: solution(x)[leaf]))(2.0)
            assert float(got) == pytest.approx(expected)


def indexed(x, n, mask, key):
    weights = jax.random.uniform(key, (4,)) + 1

    def loss(x, y):
        return jnp.sum(jnp.where(mask, weights, 1) * (y - x * jnp.arange(4.0)[n]) ** 2) / 4

    solution = bx.argmin(loss, jnp.zeros(4), INNER)
    value = bx.minimum(lambda x, y: loss(x, y) + jnp.sum(y**2) / 2, jnp.zeros(4), INNER)
    return solution(x).sum() + value(x)


TRANSFORMS = {
    "grad": lambda f: jax.grad(f),
    "grad of jit": lambda f: jax.grad(jax.jit(f)),
    "jit of grad": lambda f: jax.jit(jax.grad(f)),
    "grad of checkpoint": lambda f: jax.grad(jax.checkpoint(f)),
    "grad of cond": lambda f: jax.grad(
        lambda x, *rest: jax.lax.cond(x > 0, f, lambda x, *rest: 0.0, x, *rest)
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_closed_over_integers_masks_and_keys(name):
    mask, key = jnp.array([True, False, True, True]), jax.random.key(0)
    got = TRANSFORMS[name](indexed)(2.0, 3, mask, key)
    assert float(got) == pytest.approx(slope_of_indexed(), rel=1e-6)


@functools.cache
def slope_of_indexed():
    """By a central difference."""
    mask, key, eps = jnp.array([True, False, True, True]), jax.random.key(0), 1e-5
    ahead, behind = (indexed(2 + s * eps, 3, mask, key) for s in (1, -1))
    return float(ahead - behind) / (2 * eps)


def test_inside_a_scan():
    def total(x):
        step = lambda c, n: (c + bx.minimum(lambda x, y: ridge(x * n, y), 0.0, INNER)(x), None)
        return jax.lax.scan(step, 0.0, jnp.arange(4))[0]

    # min_y is (x n)^2 / 4: the sum's derivative is x (0 + 1 + 4 + 9) / 2.
    assert float(jax.grad(total)(2.0)) == pytest.approx(14.0)


def test_a_minimum_inside_an_argmin_and_the_other_way_round():
    inner_value = bx.argmin(ridge, 0.0, INNER)  # x / 2
    outer = bx.argmin(lambda x, y: (y - inner_value(x)) ** 2, 0.0, INNER)
    assert float(jax.grad(outer)(3.0)) == pytest.approx(0.5)
    value = bx.minimum(lambda x, y: (y - 1) ** 2 + inner_value(x) ** 2, 0.0, INNER)
    assert float(jax.grad(value)(3.0)) == pytest.approx(1.5)


class Indexed(eqx.Module):
    weights: jax.Array
    index: jax.Array
    activation: object = jnp.tanh


def test_modules_with_integer_arrays():
    loss = lambda x, y: ridge(x.activation(x.weights[x.index]), y)
    x = Indexed(jnp.array([0.3, -0.2, 0.5]), jnp.array([0, 2]))
    gradient = eqx.filter_grad(bx.minimum(loss, jnp.zeros(2), INNER))(x)
    t = np.tanh([0.3, 0.5])
    np.testing.assert_allclose(gradient.weights[x.index], t * (1 - t**2) / 2, rtol=1e-9)
    assert float(gradient.weights[1]) == 0


def test_a_sweep_and_a_gauge_are_lifted_too():
    def through(theta, x):
        problem = bx.MinProblem(
            lambda x, y: (y - theta * x) ** 2 / 2,
            update=lambda x, y: y - 0.5 * (y - theta * x),
        )
        sweeps = bx.FixedPointIteration(60)
        return bx.argmin(problem, 0.0, sweeps)(x) + bx.minimum(problem, 0.0, sweeps)(x)

    got = jax.jit(jax.grad(through, argnums=(0, 1)))(2.0, 3.0)
    np.testing.assert_allclose(got, [3.0, 2.0], rtol=1e-9)

    center = lambda y: y - jnp.mean(y)
    quotient = bx.MinProblem(lambda x, y: jnp.sum((center(y) - x) ** 2), gauge=center)
    x = jnp.array([1.0, -3.0, 2.0])
    J = jax.jacrev(lambda x: center(bx.argmin(quotient, jnp.zeros(3), INNER)(x)))(x)
    np.testing.assert_allclose(J, np.eye(3) - 1 / 3, atol=1e-9)


def test_eager_calls_do_not_trace_again():
    traces = []

    def loss(x, y):
        traces.append(1)
        return ridge(x, y)

    y0 = jnp.zeros(3)
    for make in (bx.minimum, bx.argmin):
        function = make(loss, y0, INNER)
        gradient = jax.grad(lambda x, f=function: jnp.sum(f(x)))
        gradient(jnp.ones(3))
        before = len(traces)
        gradient(2 * jnp.ones(3))
        # What is closed over has to be looked for at every call: one trace, no program.
        assert len(traces) <= before + 1
