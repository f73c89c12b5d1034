"""The automatic estimator: modes against each other, loops by hand, finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx
from cases import CASES, flat, relative_error, steps

T = 7
MODES = {
    "reverse": {},
    "forward": {"mode": "forward"},
    "sqrt": {"checkpoint": "sqrt"},
    "step": {"checkpoint": "step"},
    "segments": {"checkpoint": 3},
}


def gradient_of(case, estimator, x=None):
    return bx.hypergradient(case.problem, estimator, case.x if x is None else x, case.y)


def inner_solver(case, num=T):
    return bx.GradientDescent(case.inner_step, num)


@pytest.mark.parametrize("mode", list(MODES)[1:])
@pytest.mark.parametrize("name", ["logistic", "nested", "fixed_point"])
def test_modes_agree_far_from_convergence(name, mode):
    case = CASES[name]()
    reverse = gradient_of(case, bx.Unrolled(inner_solver(case)))
    other = gradient_of(case, bx.Unrolled(inner_solver(case), **MODES[mode]))
    assert np.linalg.norm(flat(case.residual(case.x, reverse.y))) > 1e-3
    assert relative_error(other.gradient, reverse.gradient) < 1e-12
    assert relative_error(other.y, reverse.y) < 1e-14


@pytest.mark.parametrize("name", CASES)
def test_equals_finite_differences(name):
    case = CASES[name]()
    estimator = bx.Unrolled(inner_solver(case))
    h = gradient_of(case, estimator)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape)), case.x)
    shifted = lambda s: jax.tree.map(lambda a, d: a + s * d, case.x, direction)
    eps = 1e-5
    values = [float(gradient_of(case, estimator, shifted(s)).value) for s in (eps, -eps)]
    slope = float(flat(h.gradient) @ flat(direction))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * eps), rel=1e-6)


@pytest.mark.parametrize(
    "name, last",
    [("nested", 0), ("fixed_point", 1), ("nested", 3), ("nested", 6), ("fixed_point", 7)],
)
@pytest.mark.parametrize("mode", ["reverse", "forward", "sqrt"])
def test_truncated_equals_a_loop_by_hand(name, mode, last):
    case = CASES[name]()
    h = gradient_of(case, bx.Unrolled(inner_solver(case), last=last, **MODES[mode]))
    assert relative_error(h.gradient, truncated_by_hand(name)(case.x, last)) < 1e-12


@functools.cache
def truncated_by_hand(name):
    """One program for every number of last steps: nothing passes where a step is fixed."""
    case = CASES[name]()

    def fix(tree, fixed):
        return jax.tree.map(lambda a: jnp.where(fixed, jax.lax.stop_gradient(a), a), tree)

    def value(x, last):
        y = case.y
        for t in range(T):
            fixed = t < T - last
            F = case.residual(fix(x, fixed), y)
            y = fix(jax.tree.map(lambda a, b: a - case.inner_step * b, y, F), fixed)
        return case.outer(x, y)

    return jax.jit(jax.grad(value))


def test_momentum_and_moments_are_differentiated():
    case = CASES["nested"]()
    for transformation in (optax.sgd(0.02, momentum=0.9), optax.adam(0.05)):
        h = gradient_of(case, bx.Unrolled(bx.Descent(transformation, 3)))

        def value(x, transformation=transformation):
            y, state = case.y, transformation.init(case.y)
            for _ in range(3):
                updates, state = transformation.update(case.residual(x, y), state, y)
                y = optax.apply_updates(y, updates)
            return case.outer(x, y)

        assert relative_error(h.gradient, jax.jit(jax.grad(value))(case.x)) < 1e-12


@functools.cache
def ridge(n=6, m=9, seed=0):
    rng = np.random.default_rng(seed)
    D, x = rng.standard_normal((n, m)), rng.standard_normal(n)
    loss = lambda x, y: jnp.sum((x - D @ y) ** 2) / 2 + 0.3 * jnp.sum(y**2) / 2
    step = 1 / (np.linalg.norm(D, 2) ** 2 + 0.3)
    return bx.MinProblem(loss), jnp.asarray(x), jnp.zeros(m), step


@pytest.mark.parametrize("t", [1, 20])
def test_super_efficiency_identities_on_a_quadratic(t):
    """g2_t = g1_2t, and truncated to the last k, g2_t = g1_(t+k) (spec section 2)."""
    problem, x, y, step = ridge()

    def g1(s):
        estimator = bx.Analytic(bx.GradientDescent(step, steps(s)))
        return bx.hypergradient(problem, estimator, x, y).gradient

    for k in sorted({0, 1, t // 2, t}):
        estimator = bx.Unrolled(bx.GradientDescent(step, t), last=k)
        g2 = bx.hypergradient(problem, estimator, x, y).gradient
        np.testing.assert_allclose(g2, g1(t + k), rtol=1e-12, atol=1e-13)


def test_analytic_is_the_outer_gradient_alone():
    case = CASES["nested"]()
    h = gradient_of(case, bx.Analytic(inner_solver(case)))
    expected = jax.grad(case.outer)(case.x, h.y)
    assert relative_error(h.gradient, expected) < 1e-14
    assert (h.cost.hvp, h.cost.cross, h.adjoint) == (0, 0, None)


@pytest.mark.parametrize("mode", MODES)
def test_costs(mode):
    case = CASES["logistic"]()
    cost = gradient_of(case, bx.Unrolled(inner_solver(case), **MODES[mode])).cost
    directions = case.x.size if mode == "forward" else 1
    recomputed = T if mode in ("sqrt", "step", "segments") else 0
    assert cost.inner_gradient == T + recomputed
    assert (cost.hvp, cost.cross) == (T * directions, T * directions)
    assert cost.rows.hvp == 30 * T * directions
    cost = gradient_of(case, bx.Unrolled(inner_solver(case), last=2, **MODES[mode])).cost
    assert cost.inner_gradient == T + (2 if recomputed else 0)
    assert cost.hvp == 2 * directions


def test_reverse_mode_really_makes_the_calls_it_counts():
    """A double whose derivative rule fires once for every transposed step."""
    from doubles import Counter

    case, counter = CASES["fixed_point"](), Counter()
    phi = case.problem.fixed_point

    @jax.custom_vjp
    def counted(x, y):
        return phi(x, y)

    def forward(x, y):
        jax.debug.callback(lambda: counter.calls.update(["forward"]))
        out, pullback = jax.vjp(phi, x, y)
        return out, pullback

    def backward(pullback, ct):
        jax.debug.callback(lambda: counter.calls.update(["products"]))
        return pullback(ct)

    counted.defvjp(forward, backward)
    problem = bx.FixedPointProblem(case.outer, counted)
    for kwargs, runs in (({}, T), ({"checkpoint": "step"}, T), ({"last": 2}, 2)):
        counter.calls.clear()
        estimator = bx.Unrolled(bx.FixedPointIteration(T), **kwargs)
        bx.hypergradient(problem, estimator, case.x, case.y)
        jax.effects_barrier()
        assert counter.calls["products"] == runs


def test_warm_start_is_a_constant():
    """ITD over two outer steps: y_0 of the second is the first's y, not differentiated."""
    case = CASES["logistic"]()
    estimator = bx.Unrolled(inner_solver(case))
    s = bx.minimize(case.problem, bx.Algorithm(estimator, 0.5), case.x, case.y, num_steps=1)
    again = bx.hypergradient(case.problem, estimator, s.x, s.y)
    both = bx.minimize(case.problem, bx.Algorithm(estimator, 0.5), case.x, case.y, num_steps=2)
    assert relative_error(both.x, s.x - 0.5 * again.gradient) < 1e-13


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_growing_number_of_steps(mode):
    case = CASES["logistic"]()
    growing = bx.GradientDescent(case.inner_step, lambda k: 2 + 3 * k)
    estimator = bx.Unrolled(growing, mode=mode, max_num_steps=10)
    s = bx.minimize(case.problem, bx.Algorithm(estimator, 0.5), case.x, case.y, num_steps=2)
    x, y = case.x, case.y
    for k in range(2):
        h = bx.hypergradient(case.problem, bx.Unrolled(inner_solver(case, 2 + 3 * k)), x, y)
        x, y = x - 0.5 * h.gradient, h.y
    assert relative_error(s.x, x) < 1e-12
    assert s.cost.inner_gradient == 2 + 5


def logistic_loss(n=50, m=100, seed=9):
    rng = np.random.RandomState(seed)
    D, x = rng.randn(n, m), rng.randn(n)
    loss = lambda x, y: jnp.mean(jnp.logaddexp(0, -x * (D @ y))) + 0.02 * jnp.sum(y**2) / 2
    step = 1 / (np.linalg.norm(x[:, None] * D, 2) ** 2 / (4 * n) + 0.02)
    return bx.MinProblem(loss), jnp.asarray(x), jnp.zeros(m), step


def temporary_bytes(**kwargs):
    def measure(t):
        problem, x, y, step = logistic_loss()
        estimator = bx.Unrolled(bx.GradientDescent(step, t), **kwargs)
        program = jax.jit(lambda x: bx.hypergradient(problem, estimator, x, y).gradient)
        return program.lower(x).compile().memory_analysis().temp_size_in_bytes

    few, many = 64, 4096
    return np.log(measure(many) / measure(few)) / np.log(many / few)


@pytest.mark.optimised
def test_memory_grows_as_it_should():
    assert 0.9 <= temporary_bytes() <= 1.1
    assert temporary_bytes(checkpoint="sqrt") <= 0.6
    assert abs(temporary_bytes(mode="forward")) < 0.02


BAD = {
    "mode": ({"mode": "backward"}, ValueError, "mode must be"),
    "last": ({"last": 8}, ValueError, "last=8 is longer than the run of num_steps=7"),
    "negative": ({"last": -1}, ValueError, "last must be at least 0"),
    "checkpoint": ({"checkpoint": 0}, ValueError, "checkpoint must be at least 1"),
    "truth": ({"checkpoint": True}, TypeError, "last and checkpoint are counts"),
    "both": ({"mode": "forward", "checkpoint": 2}, ValueError, "for reverse mode"),
    "checkpoint name": ({"checkpoint": "all"}, ValueError, "checkpoint must be None"),
    "maximum": ({"max_num_steps": 0}, ValueError, "max_num_steps must be at least 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    kwargs, error, message = BAD[name]
    with pytest.raises(error, match=message):
        bx.Unrolled(bx.GradientDescent(0.1, T), **kwargs)


def test_forward_mode_warns_of_a_large_x():
    problem = bx.MinProblem(lambda x, y: jnp.sum((y - x.mean()) ** 2))
    estimator = bx.Unrolled(bx.GradientDescent(0.1, 3), mode="forward")
    with pytest.warns(UserWarning, match=r"takes 101 products .* copies of y \(0.00771 MB\)"):
        h = bx.hypergradient(problem, estimator, jnp.ones(101), jnp.zeros(10))
    assert h.cost.hvp == 3 * 101
    bx.hypergradient(problem, estimator, jnp.ones(100), jnp.zeros(10))


def test_growing_steps_in_reverse_need_a_maximum():
    case = CASES["logistic"]()
    estimator = bx.Unrolled(bx.GradientDescent(0.1, lambda k: 2 + k))
    with pytest.raises(ValueError, match="max_num_steps"):
        gradient_of(case, estimator)


def test_last_steps_of_a_growing_number():
    case = CASES["logistic"]()
    step = case.inner_step
    growing = bx.GradientDescent(step, lambda k: 1 + 2 * k)
    for mode in ("reverse", "forward"):
        estimator = bx.Unrolled(growing, last=2, mode=mode)
        s = bx.minimize(case.problem, bx.Algorithm(estimator, 0.5), case.x, case.y, num_steps=2)
        x, y = case.x, case.y
        for k in range(2):
            plain = bx.Unrolled(inner_solver(case, 1 + 2 * k), last=min(2, 1 + 2 * k))
            h = bx.hypergradient(case.problem, plain, x, y)
            x, y = x - 0.5 * h.gradient, h.y
        assert relative_error(s.x, x) < 1e-12
        directions = case.x.size if mode == "forward" else 1
        assert s.cost.inner_gradient == 1 + 3
        assert s.cost.hvp == (1 + 2) * directions


def test_too_small_a_maximum_is_told():
    case = CASES["logistic"]()
    growing = bx.GradientDescent(case.inner_step, lambda k: 6 + k)
    h = gradient_of(case, bx.Unrolled(growing, max_num_steps=2))
    assert h.result == bx.Result.unrolled_max_steps
    with pytest.raises(ValueError, match="checkpoint needs an inner number of steps"):
        bx.Unrolled(growing, checkpoint="sqrt", max_num_steps=9)
