"""A state goes on with the problem and the algorithm that made it, and with no other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx

INNER = bx.GradientDescent(0.3, 2)


def problem(**kwargs):
    """Of the same functions each time, so that their programs are found again."""
    return bx.BilevelProblem(outer, inner, **kwargs)


def outer(x, y):
    return jnp.sum((y - 1) ** 2)


def inner(x, y):
    return jnp.sum((y - x) ** 2)


def algorithm(inner=INNER, linear=None, outer=0.1, **kwargs):
    linear = bx.CG(2) if linear is None else linear
    return bx.Algorithm(bx.Implicit(inner, linear, **kwargs), outer)


def start(algorithm, size=3, **kwargs):
    return bx.initial_state(problem(), algorithm, jnp.ones(size), jnp.zeros(size), **kwargs)


OTHERS = {
    "another estimator": bx.Algorithm(bx.Analytic(INNER), 0.1),
    "another adjoint solver": algorithm(linear=INNER),
    "another inner solver": algorithm(inner=bx.AcceleratedGradientDescent(0.3, 2)),
    "another outer step": algorithm(outer=optax.adam(0.1)),
    "cold": algorithm(warm_start_inner=False),
    "a step that nobody measured": algorithm(inner=bx.GradientDescent(num_steps=2)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_another_algorithm(name):
    with pytest.raises(ValueError, match="state belongs to another algorithm or problem"):
        bx.minimize(problem(), OTHERS[name], num_steps=1, state=start(algorithm()))


def test_a_state_of_another_problem():
    matrix = jnp.ones((5, 5))
    other = bx.BilevelProblem(lambda x, y: y @ matrix @ y, lambda x, y: jnp.sum((y - x) ** 2))
    with pytest.raises(TypeError) as caught:
        bx.minimize(other, algorithm(), num_steps=1, state=start(algorithm()))
    assert "state belongs to another" in "".join(caught.value.__notes__)

    rows = bx.BilevelProblem(
        lambda x, y: jnp.sum(y**2),
        lambda x, y, batch: jnp.mean((batch * (y - x[0])[0]) ** 2),
        inner_data=jnp.ones(4),
    )
    epochs = algorithm(inner=bx.GradientDescent(0.1, 2, batch_size=bx.Epochs(2)))
    state = bx.initial_state(rows, epochs, jnp.ones(3), jnp.ones(3), key=jax.random.key(0))
    bx.minimize(rows, epochs, num_steps=1, state=state)
    more = bx.BilevelProblem(rows.outer, rows.inner, inner_data=jnp.ones(6))
    with pytest.raises(ValueError, match="state belongs to another"):
        bx.minimize(more, epochs, num_steps=1, state=state)


def test_a_state_out_of_the_domain():
    def check(x):
        raise ValueError("x is out of the domain.")

    with pytest.raises(ValueError, match="out of the domain"):
        bx.minimize(problem(check=check), algorithm(), num_steps=1, state=start(algorithm()))


@pytest.mark.parametrize(
    "changed",
    [
        algorithm(outer=0.2),
        algorithm(inner=bx.GradientDescent(0.1, 3)),
        algorithm(linear=bx.CG(1)),
    ],
)
def test_other_numbers_are_no_other_algorithm(changed):
    s = bx.minimize(problem(), changed, num_steps=1, state=start(algorithm()))
    assert int(s.state.loop.step) == 1


@pytest.mark.parametrize(
    ("linear", "outer"),
    [
        (bx.CG(2), optax.adam(0.1)),
        (bx.Direct(), 0.1),
        (bx.GradientDescent(0.1, 2), bx.adaptive_step()),
    ],
)
def test_later_states_are_like_the_first(linear, outer):
    own = algorithm(linear=linear, outer=outer, warm_start_adjoint=False)
    state = bx.minimize(problem(), own, jnp.ones(3), jnp.zeros(3), num_steps=1).state
    loaded = jax.tree.map(np.asarray, state)
    one, other = (bx.minimize(problem(), own, num_steps=1, state=s) for s in (state, loaded))
    assert one.state.loop.step == other.state.loop.step == 2
    np.testing.assert_array_equal(one.x, other.x)


WRONG = {
    "measure_every": [(0, ValueError), (-1, ValueError), (True, TypeError), (2.5, TypeError)],
    "record_every": [(0, ValueError), (True, TypeError), (2.5, TypeError)],
    "num_steps": [(0, ValueError), (True, TypeError), (1e3, TypeError)],
    "tol": [(np.nan, ValueError), (-1, ValueError), (np.inf, ValueError), (True, TypeError)],
}


@pytest.mark.parametrize("name", WRONG)
def test_the_numbers_of_a_run(name):
    own = algorithm(inner=bx.GradientDescent(num_steps=2))
    for value, error in WRONG[name]:
        with pytest.raises(error, match=f"^{name} must be"):
            bx.minimize(problem(), own, jnp.ones(3), jnp.zeros(3), **{name: value})


def test_a_loop_of_ones_own_traces_nothing_anew():
    """Neither to check the state that it passes back, nor to compute."""
    traces = []

    def inner(x, y):
        traces.append(1)
        return jnp.sum((y - x) ** 2)

    counted, own = bx.BilevelProblem(lambda x, y: jnp.sum((y - 1) ** 2), inner), algorithm()
    ones = jnp.ones(3)
    state = bx.minimize(counted, own, ones, ones, num_steps=1).state
    state = bx.minimize(counted, own, num_steps=1, state=state).state
    bx.hypergradient(counted, own.hypergradient, ones, ones)
    first = len(traces)
    assert first > 0
    bx.minimize(counted, own, num_steps=1, state=state)
    bx.hypergradient(counted, own.hypergradient, 2 * ones, ones)
    assert len(traces) == first
