"""Rows that a run draws for many outer steps at once are those that each step would draw."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from bilevax._run.ahead import Supply

D, ROWS, SIZE, STEP = 3, 40, 5, 0.05
KEY = jax.random.key(3)


def loss(x, y, rows):
    a, b = rows
    return jnp.mean((a @ y - b @ x) ** 2) / 2 + (x @ x + y @ y) / 8


def problem():
    rng = np.random.default_rng(0)
    data = [tuple(jnp.asarray(rng.standard_normal((2, ROWS, D)))) for _ in range(2)]
    return bx.BilevelProblem(loss, loss, inner_data=data[0], outer_data=data[1])


def descent(num_steps=2, batch_size=SIZE):
    return bx.GradientDescent(STEP, num_steps, batch_size=batch_size)


def implicit(inner=None, linear=None, **sizes):
    sizes = {"outer_batch_size": 4, "cross_batch_size": 3} | sizes
    return bx.Implicit(inner or descent(), linear or descent(3), **sizes)


# Estimators, and how many of their samplers draw ahead.
ESTIMATORS = {
    "implicit": (implicit, 4),
    "unrolled": (lambda: bx.Unrolled(descent(), outer_batch_size=SIZE), 2),
    "one batch a solve": (lambda: implicit(linear=bx.CG(2, batch_size=8)), 4),
    # The outer rows and as many as a random term may take: how many steps y takes is decided
    # within the solve, and the cross rows by a state.
    "mixed": (
        lambda: implicit(
            descent(lambda k: 1 + k % 2),
            bx.Neumann(step_size=STEP, num_steps=3, batch_size=2, randomized=True),
            order="x first",
            cross_batch_size=bx.Epochs(7),
        ),
        2,
    ),
}
# Some that are not run, for how many of their samplers draw ahead.
COUNTED = {
    "analytic": (lambda: bx.Analytic(descent(), outer_batch_size=SIZE), 2),
    "x first": (lambda: implicit(order="x first"), 4),
    "blocks": (lambda: implicit(outer_batch_size=bx.Blocks(8)), 3),
    "given": (lambda: implicit(cross_batch_size=bx.Batches([[0, 1], [2, 3], [4, 5]])), 3),
}


def start(estimator, key=KEY):
    algorithm = bx.Algorithm(estimator, STEP)
    return algorithm, bx.initial_state(problem(), algorithm, jnp.ones(D), jnp.zeros(D), key=key)


@eqx.filter_jit
def by_hand(estimator, loop, num_steps: int):
    """x after so many steps, each of which draws its own rows."""

    def step(carry, k):
        x, state = carry
        gradient, state, *_ = estimator(problem(), x, state, loop.key_of(k))
        return (x - STEP * gradient, state), None

    return jax.lax.scan(step, (loop.x, loop.hypergradient), jnp.arange(num_steps))[0][0]


def num_ahead(estimator, state):
    drawn = estimator.drawn_for(problem(), state.loop.hypergradient, KEY[None])
    return sum(part is not None for part in drawn)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_they_are_those_of_each_step(name):
    """Over more steps than are drawn for at once, cut where that is not."""
    make, expected = ESTIMATORS[name]
    estimator = make()
    algorithm, state = start(estimator)
    assert num_ahead(estimator, state) == expected
    assert 1 < Supply(problem(), estimator, state.loop).num <= 64
    whole = bx.minimize(problem(), algorithm, num_steps=71, state=state)
    np.testing.assert_allclose(whole.x, by_hand(estimator, state.loop, 71), rtol=1e-12)
    for num_steps in (1, 13, 57):
        state = bx.minimize(problem(), algorithm, num_steps=num_steps, state=state).state
    assert eqx.tree_equal(state, whole.state)


def test_a_failure_is_told_at_its_step():
    """Wherever it is in what is drawn, and wherever the run was looked at."""
    too_long = bx.GradientDescent(3.0, 2, batch_size=SIZE)
    algorithm, state = start(implicit(too_long))
    with pytest.warns(UserWarning, match="2 / smoothness"):
        often, once = (
            bx.minimize(problem(), algorithm, num_steps=500, state=state, record_every=every)
            for every in (1, 500)
        )
    assert "inner" in bx.Result[often.result] and often.result == once.result
    assert often.state.loop.step < 500 and often.cost.rows.hvp > 0
    assert eqx.tree_equal(often.state.loop, once.state.loop)


@pytest.mark.parametrize("name", COUNTED)
def test_who_draws_ahead(name):
    make, expected = COUNTED[name]
    assert num_ahead(make(), start(make())[1]) == expected


def test_who_does_not():
    """Without random rows, for long draws, with a generator other than the usual one."""
    full = {"outer_batch_size": None, "cross_batch_size": None}
    num = lambda estimator, key: Supply(problem(), estimator, start(estimator, key)[1].loop).num
    assert num(implicit(bx.GradientDescent(STEP, 2), bx.CG(2), **full), KEY) == 0
    assert num(implicit(descent(20_000), bx.CG(2), **full), KEY) == 0
    assert num(implicit(), KEY) > 1
    assert num(implicit(), jax.random.key(0, impl="rbg")) == 0
