"""Many runs in one program: each is what it is by itself."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from cases import interpolation, quadratic

NUM = 4


def starts(case):
    """Four of each, all different."""
    factors = jnp.array([1.0, -0.5, 2.0, 0.3])
    along = lambda tree: jax.tree.map(lambda a: factors.reshape(-1, *[1] * a.ndim) * a, tree)
    return along(case.x), along(case.y)


def both(case, algorithms, keys=None, **options):
    """The runs together and one by one; warnings of those that diverge are left out."""
    x0s, y0s = starts(case)
    with warnings.catch_warnings(action="ignore"):
        many = bx.minimize_many(case.problem, algorithms, x0s, y0s, keys=keys, **options)
        singles = algorithms if isinstance(algorithms, list) else [algorithms] * NUM
        each = [None] * NUM if keys is None else keys
        alone = [
            bx.minimize(case.problem, a, x0s[i], y0s[i], key=each[i], **options)
            for i, a in enumerate(singles)
        ]
    return many, alone


def assert_same(one, other):
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    jax.tree.map(close, (one.x, one.y, one.adjoint), (other.x, other.y, other.adjoint))
    assert bx.Result[one.result] == bx.Result[other.result]
    assert one.cost == other.cost and one.state.cost == other.state.cost
    assert int(one.state.loop.step) == int(other.state.loop.step)
    assert one.history.keys() == other.history.keys()
    for name in one.history.keys() - {"seconds"}:
        np.testing.assert_allclose(
            one.history[name], other.history[name], rtol=1e-8, atol=1e-11, err_msg=name
        )


def descent(step):
    return bx.algorithms.amigo_gd(
        outer_step_size=step,
        inner_step_size=0.5,
        inner_steps=10,
        adjoint_step_size=0.5,
        adjoint_steps=10,
    )


@pytest.fixture(scope="module")
def different_ends():
    """Steps of which one is so large that its run diverges, and one too small to stop."""
    with jax.enable_x64(True):
        steps = [descent(step) for step in (0.3, 0.5, 1e6, 1e-3)]
        metrics = lambda x, y: {"first": x[0]}
        options = {"num_steps": 300, "tol": 1e-6, "metrics": metrics}
        return both(quadratic(), steps, **options)


def test_each_run_stops_by_itself_and_one_that_fails_fails_alone(different_ends):
    many, alone = different_ends
    for one, other in zip(many, alone, strict=True):
        assert_same(one, other)
    ends = [int(run.state.loop.step) for run in many]
    assert len(set(ends)) == NUM and ends[3] == 300, ends
    codes = [bx.Result[run.result] for run in many]
    assert codes[0] == codes[1] == bx.Result[bx.Result.successful]
    assert codes[2] in {bx.Result[c] for c in (bx.Result.outer_nonfinite, *DIVERGED)}
    assert codes[3] == bx.Result[bx.Result.max_steps_reached]
    assert np.isfinite(many[2].x).all()


DIVERGED = bx.Result.outer_diverged, bx.Result.inner_diverged, bx.Result.inner_nonfinite


def test_a_run_goes_on_by_itself(different_ends):
    (one, *_), (other, *_) = different_ends
    again = lambda run: bx.minimize(
        quadratic().problem, descent(0.3), state=run.state, num_steps=3
    )
    np.testing.assert_allclose(again(one).x, again(other).x, rtol=1e-10)


RANDOM = {
    # Rows of many steps are drawn ahead.
    "drawn": bx.Algorithm(bx.Implicit(bx.SGD(0.3, 3, 4), bx.GradientDescent(1.0, 3)), 0.1),
    # Prepared for 64 steps at once, with a state of its own in each run.
    "joint": bx.algorithms.saba(
        outer_step_size=0.1, inner_step_size=0.3, adjoint_step_size=0.3, inner_batch_size=4
    ),
    # Factorises, and so is taken in turn.
    "direct": bx.Algorithm(bx.Implicit(bx.SGD(0.3, 3, bx.Epochs(4)), bx.Direct()), 0.1),
}


@pytest.mark.parametrize("name", RANDOM)
def test_each_run_draws_with_its_own_key(name):
    keys = jax.random.split(jax.random.key(7), NUM)
    many, alone = both(interpolation(), RANDOM[name], keys, num_steps=80, record_every=7)
    for one, other in zip(many, alone, strict=True):
        assert_same(one, other)


OTHER = bx.algorithms.ba(outer_step_size=0.1)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"y0s": jnp.ones((3, 5))}, ValueError, r"x0s has 4, y0s has 3"),
        ({"x0s": 1.0}, ValueError, r"x0s has none"),
        ({"algorithm": [descent(0.1)]}, ValueError, "1 algorithms for 4 starts"),
        ({"algorithm": "amigo"}, TypeError, "got str"),
        (
            {"algorithm": [descent(0.1), bx.algorithms.ba(outer_step_size=0.1)] * 2},
            ValueError,
            "numbers only",
        ),
        ({"keys": jax.random.key(0)}, TypeError, r"got shape \(\)"),
        ({"keys": [0, 1, 2, 3]}, TypeError, "got a list"),
    ],
)
def test_what_is_faulty_is_named(given, error, words):
    x0s, y0s = starts(quadratic())
    arguments = {"algorithm": descent(0.1), "x0s": x0s, "y0s": y0s} | given
    with pytest.raises(error, match=words):
        bx.minimize_many(quadratic().problem, **arguments)
