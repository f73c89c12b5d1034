"""`bx.theory.sid` against the specification's numbers, its closed forms, and runs in NumPy."""

import warnings

import numpy as np
import pytest

import bilevax as bx
from bilevax.theory import sid

MAP = {"contraction": 0.9, "noise": 1.0, "relative_noise": 4.0}
BEST = 2 / (1 - 0.9**2)
HYPERGRADIENT = {
    "contraction": 0.5,
    "outer_lipschitz": 2.0,
    "outer_smoothness": 1.0,
    "outer_cross_smoothness": 0.0,
    "jacobian_lipschitz": 0.1,
    "cross_lipschitz": 0.2,
    "cross_norm": 3.0,
}
ERRORS = {"cross_noise": 0.04, "inner_mse": 0.01, "adjoint_mse": 0.02}
close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_bound_of_a_hypergradient():
    bound = sid.mse_bound(**HYPERGRADIENT, **ERRORS)
    found = bound.bias_constant, bound.bias, bound.within, bound.between, bound.mse
    close(found, (9.2, 1.3470925, 1.641616, 3.079224, 7.800064))
    close((bound.floor, bound.refined), (1.28, 4.720840))


def test_averages_and_an_exact_last_product():
    one, ten, exact = (
        sid.mse_bound(**HYPERGRADIENT, **ERRORS, cross_samples=J) for J in (1, 10, None)
    )
    close(one.floor / ten.floor, 10)
    assert exact.floor == 0 and exact.mse < ten.mse < one.mse
    noiseless = sid.mse_bound(**HYPERGRADIENT, **ERRORS | {"cross_noise": 0.0})
    assert exact == noiseless


def test_bounds_of_arrays_are_arrays():
    steps = np.array([0, 10])
    found = sid.constant_step_mse(steps=steps, step_size=0.2, initial_mse=2.0, **MAP)
    close(found, (2.0, 1.6957184))
    assert found.shape == (2,)


def test_the_constant_of_decreasing_steps():
    found = sid.decreasing_step_mse(steps=0, beta=BEST, gamma=5 * BEST, initial_mse=2.0, **MAP)
    close(5 * BEST * found, 110.803324)


# At L = 10, tau = 1, s1' = 3: the map's step, r1, r2, and r3 of the table of Corollary 4.1.
COROLLARY = {
    1 / 10: (0.905, 0.0789474, 3.333333),
    2 / 11: (0.8347107, 0.15, 4.301075),
}


@pytest.mark.parametrize("step_size", COROLLARY)
def test_gradient_descent_as_a_map(step_size):
    factor, floor, settled = COROLLARY[step_size]
    g = sid.gradient_map(
        smoothness=10.0, strong_convexity=1.0, gradient_noise=3.0, step_size=step_size
    )
    close(1 - 0.5 * (1 - g.contraction**2), factor)
    known = g._asdict() | {"step_size": 0.5}
    close(sid.constant_step_floor(**known), floor)
    known = known | {"beta": 10.0, "gamma": 10.0, "steps": 0, "initial_mse": 0.0}
    del known["step_size"]
    close(10 * sid.decreasing_step_mse(**known), settled)


def test_the_best_step_is_the_default():
    best = sid.gradient_map(smoothness=10.0, strong_convexity=1.0)
    close((best.step_size, best.contraction), (2 / 11, 9 / 11))
    for step in np.linspace(0.01, 0.19, 19):
        other = sid.gradient_map(smoothness=10.0, strong_convexity=1.0, step_size=step)
        assert other.contraction >= best.contraction


def test_theorem_5_1_is_written_out():
    """The paper's d_w and d_v, which ours come to by substitution."""
    q, L, V, distance, f = 0.6, 1.3, 0.7, 2.0, 1.5
    s2 = 2 * (L**2 + q**2) / (1 - q) ** 2
    beta = 3 / (1 - q**2)
    gamma = beta * (1 + s2) * 1.1
    rate = beta * (1 - q**2) - 1
    d_w = max(gamma * distance**2, beta**2 * 2 * V / rate)
    d_v = (f / (1 - q)) ** 2 * max(gamma, 2 * beta**2 * L**2 / rate)
    shared = {"steps": 7, "contraction": q, "sample_lipschitz": L, "beta": beta, "gamma": gamma}
    inner = sid.inner_mse(**shared, noise_at_solution=V, initial_distance=distance)
    close(inner, d_w / (gamma + 7))
    close(sid.adjoint_mse(**shared, outer_lipschitz=f), d_v / (gamma + 7))
    # And the constant step of the adjoint, from the same constants.
    noise = sid.adjoint_noise(contraction=q, sample_lipschitz=L, outer_lipschitz=f)
    close(noise, (2 * L**2 * f**2 / (1 - q) ** 2, s2))


def iterate(step_sizes, relative_noise, seed, replicates, d=5, q=0.9):
    """Mean squares of |u|, for T = q u with normal noise of the largest variance."""
    rng = np.random.default_rng(seed)
    u = np.zeros((replicates, d))
    u[:, 0] = np.sqrt(2.0)
    found = [2.0]
    for eta in step_sizes:
        step = (q - 1) * u
        variance = 1 + relative_noise * np.sum(step**2, axis=1)
        draws = rng.standard_normal(u.shape, np.float32)
        u = u + eta * (step + draws * np.sqrt(variance / d)[:, None])
        found.append(np.mean(np.sum(u**2, axis=1)))
    return np.array(found)


REPLICATES = [1000, pytest.param(10_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("relative_noise", [0.0, 4.0])
def test_constant_steps_stay_below_their_bound(relative_noise):
    known = MAP | {"relative_noise": relative_noise, "step_size": 1 / (1 + relative_noise)}
    found = iterate([known["step_size"]] * 200, relative_noise, 1, 10_000)
    bound = sid.constant_step_mse(steps=np.arange(201), initial_mse=2.0, **known)
    assert np.all(found <= 1.02 * bound)
    assert found[-1] > 0.25 * bound[-1]  # which is not for nothing


# Two-sided: shorter steps would fall more slowly.
@pytest.mark.parametrize("replicates", REPLICATES)
@pytest.mark.parametrize("relative_noise", [0.0, 4.0])
def test_decreasing_steps_stay_below_their_bound(relative_noise, replicates):
    known = MAP | {"relative_noise": relative_noise}
    rule = sid.steps(**known)
    beta, gamma = rule.decreasing.values()
    t = np.arange(3001)
    found = iterate(beta / (gamma + t[:-1]), relative_noise, 2, replicates)
    bound = sid.decreasing_step_mse(steps=t, initial_mse=2.0, **known, **rule.decreasing)
    assert np.all(found <= 1.02 * bound)
    late = t >= 500
    slope = np.polyfit(np.log(gamma + t[late]), np.log(found[late]), 1)[0]
    assert -1.1 <= slope <= -0.9


def test_noise_of_a_finite_sum():
    """Theorem 4.3 on maps u - alpha (A_i u - b_i), at random u."""
    rng = np.random.default_rng(3)
    roots = rng.standard_normal((20, 6, 5))
    A, b = np.einsum("nij,nik->njk", roots, roots) / 6, rng.standard_normal((20, 5))
    mean = A.mean(axis=0)
    low, *_, high = np.linalg.eigvalsh(mean)
    alpha = 2 / (low + high)
    q = (high - low) / (high + low)
    sample_lipschitz = max(np.linalg.norm(np.eye(5) - alpha * a, 2) for a in A)
    samples = lambda u: u - alpha * (np.einsum("nij,j->ni", A, u) - b)
    variance = lambda u: np.mean(np.sum((samples(u) - samples(u).mean(axis=0)) ** 2, axis=1))
    star = np.linalg.solve(mean, b.mean(axis=0))
    constants = sid.map_noise(
        contraction=q, sample_lipschitz=sample_lipschitz, noise_at_solution=variance(star)
    )
    points = star + rng.standard_normal((2000, 5)) * rng.uniform(0, 5, (2000, 1))
    steps = [np.sum((samples(u).mean(axis=0) - u) ** 2) for u in points]
    ratios = np.array([variance(u) for u in points]) / (
        constants.noise + constants.relative_noise * np.array(steps)
    )
    assert 0.02 < ratios.max() <= 1
    # Nothing is left of it at the solution but the first constant.
    close(variance(star) / constants.noise, 0.5)


def test_noise_of_a_linear_model():
    """Remark 4.2: the gradients of 8 rows of a logistic regression, at random y."""
    rng = np.random.default_rng(4)
    rows, y = rng.standard_normal((30, 4)), rng.standard_normal((50, 4))
    gradients = -rows / (1 + np.exp(y @ rows.T))[..., None]
    variance = np.sum((gradients - gradients.mean(axis=1, keepdims=True)) ** 2, axis=-1)
    bound = sid.linear_model_noise(
        loss_lipschitz=1.0, mean_squared_norm=np.mean(np.sum(rows**2, axis=1)), batch_size=8
    )
    worst = variance.mean(axis=1).max() / 8
    assert 0.1 * bound < worst <= bound


def test_steps_are_those_of_the_theorems():
    rule = sid.steps(**MAP, initial_distance=np.sqrt(50.0))
    close(rule.constant, 0.2)
    close(list(rule.decreasing.values()), (BEST, 5 * BEST))
    # The first phase ends where its bound is twice the ball.
    ball = sid.constant_step_floor(**MAP, step_size=0.2)
    bound = lambda t: sid.constant_step_mse(steps=t, **MAP, step_size=0.2, initial_mse=50.0)
    num = rule.two_phase["num_steps"]
    assert bound(num) <= 2 * ball < bound(num - 1)
    # From where the noise decides the second: c = 4 sigma_1 / (1 - q^2)^2.
    second = dict(**MAP, **rule.decreasing, steps=0, initial_mse=2 * ball)
    settled = rule.decreasing["gamma"] * sid.decreasing_step_mse(**second)
    close(settled, 4 / (1 - 0.9**2) ** 2)
    assert sid.steps(**MAP).two_phase is None
    near = sid.steps(**MAP, initial_distance=1e-3).two_phase
    assert near["num_steps"] == 1


def test_steps_are_what_schedules_take():
    rule = sid.steps(**MAP, initial_distance=7.0)
    decreasing = bx.schedules.decreasing(**rule.decreasing)
    close(decreasing(0), rule.constant)
    both = bx.schedules.two_phase(**rule.two_phase)
    num = rule.two_phase["num_steps"]
    close([both(num - 1), both(num), both(num + 9)], [0.2, decreasing(0), decreasing(9)])


def test_steps_outside_of_the_theorem_are_told_with_the_smallest_valid():
    with pytest.warns(UserWarning, match=r"gamma = 10 .* at least .* = 50:"):
        rule = sid.steps(**MAP, beta=10.0, gamma=10.0)
    assert rule.decreasing == {"beta": 10.0, "gamma": 10.0}
    with pytest.warns(UserWarning, match=r"beta = 5 .* more than .* = 5\.26316:"):
        sid.steps(**MAP, beta=5.0)
    # The paper's own: beta = gamma is right for y, and not for the adjoint.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sid.steps(contraction=0.9, beta=BEST, gamma=BEST)
        with pytest.raises(UserWarning, match="gamma"):
            sid.steps(contraction=0.9, relative_noise=0.04, beta=BEST, gamma=BEST)


BOUND = {"steps": 1, "initial_mse": 1.0} | MAP
BAD = {
    "beta must be above": lambda: sid.decreasing_step_mse(beta=5.2, gamma=99.0, **BOUND),
    "gamma must be at least": lambda: sid.decreasing_step_mse(beta=6.0, gamma=29.9, **BOUND),
    "step_size must be at most": lambda: sid.constant_step_mse(step_size=0.21, **BOUND),
    "contraction must be in": lambda: sid.steps(contraction=1.0),
    "noise must be finite": lambda: sid.steps(contraction=0.5, noise=float("nan")),
    "noise must be above 0": lambda: sid.steps(contraction=0.5, initial_distance=1.0),
    "beta must be finite and above": lambda: sid.steps(contraction=0.5, beta=-1.0),
    "cross_samples must be": lambda: sid.mse_bound(
        **HYPERGRADIENT, **ERRORS, cross_samples=0
    ),
    "step_size must be below 2": lambda: sid.gradient_map(
        smoothness=2.0, strong_convexity=1.0, step_size=1.0
    ),
    "condition must be": lambda: sid.aid_cg_error(
        steps=1, adjoint_steps=1, contraction=0.5, condition=0.5, initial_distance=1.0,
        bias_constant=1.0, outer_lipschitz=1.0, cross_lipschitz=1.0, cross_norm=1.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_constants_out_of_range_are_told(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
