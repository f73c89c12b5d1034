"""Numbers of steps that depend on the outer step: what they draw, charge and skip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx

RNG = np.random.default_rng(5)
ROWS = RNG.standard_normal((8, 3))
LIST = [[0, 1], [2, 3], [4, 5], [6, 7], [1, 2], [3, 4], [5, 6], [7, 0], [0, 2], [1, 3]]
X, Y = np.asarray(0.5), np.array([1.0, -1.0, 2.0])


def problem():
    return bx.BilevelProblem(
        outer=lambda x, y: jnp.sum((y - 1) ** 2) / 2 + x * y[0],
        inner=lambda x, y, a: jnp.mean((a @ y) ** 2) / 2 + jnp.sum((y - x) ** 2) / 2,
        inner_data=ROWS,
    )


def hessian(rows):
    A = ROWS[rows]
    return A.T @ A / len(rows) + np.eye(3)


def calls(estimator, num):
    """So many estimates at one x: z, y and costs of each."""
    x, p, found = jnp.asarray(X), problem(), []
    state = estimator.init(p, x, jnp.asarray(Y))
    step = jax.jit(lambda state: estimator(p, x, state, jax.random.key(0)))
    for _ in range(num):
        _, state, cost, result = step(state)
        found.append((np.asarray(state.adjoint), np.asarray(state.y), cost, result))
    return found


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("num_steps", [7, lambda k: 7], ids=["int", "function"])
def test_an_int_and_a_function_consume_the_same_batches(num_steps, warm):
    linear = bx.SGD(0.2, num_steps, bx.Batches(LIST))
    inner = bx.GradientDescent(0.1, 1)
    found = calls(bx.Implicit(inner, linear, warm_start_adjoint=warm), 3)
    y, z, entry = np.asarray(Y), np.zeros(3), 0
    for got_z, got_y, cost, _ in found:
        y = y - 0.1 * (hessian(range(8)) @ y - 0.5)
        f_y = y - 1 + np.array([0.5, 0, 0])
        z = z if warm else np.zeros(3)
        for n in range(7):
            # A first step from zero takes its entry of the list, and reads no row.
            product = hessian(LIST[entry % 10]) @ z if warm or n else 0.0
            z, entry = z - 0.2 * (product + f_y), entry + 1
        np.testing.assert_allclose(got_y, y, rtol=1e-12)
        np.testing.assert_allclose(got_z, z, rtol=1e-12)
        assert cost.on_host().hvp == (7 if warm else 6)


def skipping(k):
    return jnp.where(k % 2 == 1, 0, 2)


@pytest.mark.parametrize("warm", [True, False])
def test_no_steps_skip_a_solve(warm):
    """Nothing is drawn, nothing charged, u kept; a cold start has nothing to keep but that."""
    inner = bx.SGD(0.1, skipping, bx.Batches(LIST))
    linear = bx.SGD(0.2, skipping, bx.Batches(LIST))
    kw = {"warm_start_inner": warm, "warm_start_adjoint": warm}
    found = calls(bx.Implicit(inner, linear, **kw), 3)
    y, z, entry = np.asarray(Y), np.zeros(3), 0
    for k, (got_z, got_y, cost, result) in enumerate(found):
        if k != 1:
            y, z = (y, z) if warm else (np.asarray(Y), np.zeros(3))
            for n in range(2):
                y = y - 0.1 * (hessian(LIST[entry + n]) @ y - 0.5)
            f_y = y - 1 + np.array([0.5, 0, 0])
            for n in range(2):
                product = hessian(LIST[entry + n]) @ z if warm or n else 0.0
                z = z - 0.2 * (product + f_y)
            entry += 2
        cost = cost.on_host()
        np.testing.assert_allclose(got_y, y, rtol=1e-12)
        np.testing.assert_allclose(got_z, z, rtol=1e-12)
        assert (cost.inner_gradient, cost.hvp) == ((0, 0) if k == 1 else (2, 2 if warm else 1))
        assert result == bx.Result.successful


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("warm", [True, False])
def test_no_steps_of_an_unrolled_solve(warm, mode):
    inner = bx.GradientDescent(0.1, skipping)
    room = 2 if mode == "reverse" else None
    estimator = bx.Unrolled(inner, mode=mode, warm_start_inner=warm, max_num_steps=room)
    (_, first, _, _), (_, second, cost, result), _ = calls(estimator, 3)
    np.testing.assert_array_equal(first, second)
    assert cost.on_host().inner_gradient == cost.on_host().hvp == 0
    assert result == bx.Result.successful


@pytest.mark.parametrize("kind", ["inner", "linear", "unrolled", "CG"])
def test_a_negative_number_of_steps_is_told(kind):
    bad = bx.GradientDescent(0.1, lambda k: k - 2)
    good = bx.GradientDescent(0.1, 1)
    estimator = {
        "inner": bx.Implicit(bad, good),
        "linear": bx.Implicit(good, bad),
        "CG": bx.Implicit(good, bx.CG(lambda k: -1)),
        "unrolled": bx.Unrolled(bad, max_num_steps=3),
    }[kind]
    h = bx.hypergradient(problem(), estimator, X, Y)
    assert h.result == bx.Result.negative_num_steps
    with pytest.raises(ValueError, match="at least 1, got 0"):
        bx.GradientDescent(0.1, 0)


@pytest.mark.parametrize("num_steps", [2, lambda k: 1 + k % 3], ids=["int", "function"])
def test_where_x_moves_first_y_follows_it(num_steps):
    """The estimate is at the y of the step before, whose schedules it has; cut and resumed."""
    rate = bx.schedules.polynomial(0.2, 0.5).outer()
    inner, linear = bx.SGD(rate, num_steps, bx.Batches(LIST)), bx.GradientDescent(0.3, 2)
    estimator = bx.Implicit(inner, linear, order="x first")
    seen_y = lambda x, y: {"seen": y}
    run = lambda **of: bx.minimize(
        problem(), bx.Algorithm(estimator, 0.1), num_steps=10, metrics=seen_y, **of
    )
    first = run(x0=jnp.asarray(X), y0=jnp.asarray(Y))
    second = run(state=first.state)
    x, y, z, entry, calls = float(X), np.asarray(Y), np.zeros(3), 0, 0
    H, seen = hessian(range(8)), []
    for k in range(20):
        count = 0 if k == 0 else num_steps if isinstance(num_steps, int) else num_steps(k - 1)
        for _ in range(count):
            step = hessian(LIST[entry % 10]) @ y - x
            y, entry = y - 0.2 * k**-0.5 * step, entry + 1
        calls += count
        seen.append(y)
        f_y = y - 1 + np.array([x, 0, 0])
        for _ in range(2):
            z = z - 0.3 * (H @ z + f_y)
        x = x - 0.1 * (y[0] - z.sum())
    history = np.concatenate([first.history["seen"], second.history["seen"]])
    np.testing.assert_allclose(history, seen, rtol=1e-12)
    np.testing.assert_allclose(second.x, x, rtol=1e-12)
    assert second.cost.inner_gradient == calls


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="'y first' or 'x first'"):
        bx.Implicit(bx.GradientDescent(0.1, 1), bx.CG(1), order="z first")
