"""The bounds of `bx.theory.superefficiency` against descents in plain NumPy."""

import inspect
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bilevax.theory import superefficiency as se

HOLDS, FORMS = 1 + 1e-9, (False, True)  # ours and the printed one
norms = lambda rows: np.linalg.norm(rows, axis=-1)
spectral = lambda matrices: np.linalg.norm(matrices, 2, axis=(-2, -1))
implicit = lambda loss, y: -np.linalg.solve(loss.H(y), loss.K(y).T).T
slope = lambda values, against: np.polyfit(np.log(against), np.log(np.abs(values)), 1)[0]


def call(function, *pools, **more):
    """Calls a bound with those of the given constants that it takes."""
    known = {name: value for pool in (*pools, more) for name, value in pool.items()}
    names = inspect.signature(function).parameters
    return function(**{name: known[name] for name in names if name in known})


def check(measured, bound, least=0.0):
    """Measured is below the bound, and where it is largest above `least` of it."""
    measured, bound = np.broadcast_arrays(measured, bound)
    kept = measured > 1e-12  # the rest is rounding
    ratio = (measured[kept] - 1e-14) / bound[kept] if np.any(kept) else np.zeros(1)
    assert least <= np.max(ratio) <= HOLDS, np.max(ratio)


# Two inner problems: D1 L, D2 L, H, K and constants that bound them, written out.
NAMES = "smoothness", "strong_convexity", "gradient_lipschitz", "cross_lipschitz"
named = lambda values: dict(zip((*NAMES, "hessian_lipschitz"), values, strict=True))
Loss = namedtuple("Loss", "D x d1 d2 H K constants lipschitz terms", defaults=[None])


def ridge(seed):
    """L = |x - D y|^2 / 2 + |y|^2 / 4."""
    rng = np.random.default_rng(seed)
    D, x = rng.standard_normal((6, 4)), rng.standard_normal(6)
    H = D.T @ D + np.eye(4) / 2
    d1, d2 = (lambda y: H @ y - D.T @ x), (lambda y: x - D @ y)
    low, *_, high = map(float, np.linalg.eigvalsh(H))
    values = high, low, float(np.linalg.norm(D, 2)), 0.0, 0.0
    return Loss(D, x, d1, d2, lambda y: H, lambda y: -D, named(values), 0.0)


def logistic(seed, weight=1.0):
    """L = w sum_i log(1 + exp(-x_i D_i y)) + w |y|^2 / 2."""
    rng = np.random.default_rng(seed)
    D, x = rng.standard_normal((8, 4)), rng.standard_normal(8)

    def terms(y):  # sigma(-s), its negative derivative, and phi, for each row of D
        s = x * (y @ D.T)
        p = 1 / (1 + np.exp(s))
        return p, p * (1 - p), -p + s * p * (1 - p)

    scaled, size = x[:, None] * D, float(np.linalg.norm(D, 2))
    square, longest = float(np.linalg.norm(scaled, 2)) ** 2, float(np.max(norms(scaled)))
    first, cross, third = 1.1 * size, longest * size / 2, 0.0963 * longest * square
    d1 = lambda y: weight * (y - (x * terms(y)[0]) @ D)
    d2 = lambda y: -weight * (D @ y) * terms(y)[0]
    H = lambda y: weight * ((scaled.T * terms(y)[1]) @ scaled + np.eye(4))
    K = lambda y: weight * terms(y)[2][:, None] * D
    values = [weight * value for value in (square / 4 + 1, 1.0, first, cross, third)]
    return Loss(D, x, d1, d2, H, K, named(values), cross + first * third, terms)


def minimiser(loss):
    y = np.zeros(4)
    for _ in range(50):
        y = y - np.linalg.solve(loss.H(y), loss.d1(y))
    assert np.linalg.norm(loss.d1(y)) < 1e-12
    return y


class Descent:
    """Gradient descent with the Jacobian's recursion, and what the bounds want to know."""

    def __init__(self, loss, seed, num_steps=60):
        self.loss, self.star = loss, minimiser(loss)
        rho, J = 1 / loss.constants["smoothness"], np.zeros_like(loss.D)
        y = np.random.default_rng(seed + 100).standard_normal(4)
        self.ys, Js = [y], [J]
        for _ in range(num_steps):
            J, y = J - rho * (J @ loss.H(y) + loss.K(y)), y - rho * loss.d1(y)
            self.ys.append(y), Js.append(J)
        self.J_star = implicit(loss, self.star)
        self.Js, self.implicit = np.array(Js), np.array([implicit(loss, y) for y in self.ys])
        away = {"distance": norms(np.array(self.ys) - self.star)}
        away["jacobian_distance"] = spectral(self.Js - self.J_star)
        residual = spectral(self.Js @ loss.H(self.star) + loss.K(self.star))
        self.at = {"residual": residual, **away}
        bound = float(max(*spectral(self.Js), *spectral(self.implicit)))
        self.constants = {**loss.constants, "jacobian_bound": bound, "step_size": rho}
        self.constants["remainder"] = call(se.remainder, self.constants)
        self.constants |= {f"initial_{name}": values[0] for name, values in away.items()}

    def errors(self, d1, d2):
        g_star = d2(self.star) + self.J_star @ d1(self.star)
        kinds = (zip(Js, self.ys, strict=True) for Js in (0 * self.Js, self.Js, self.implicit))
        return [norms([d2(y) + J @ d1(y) - g_star for J, y in kind]) for kind in kinds]


@pytest.mark.parametrize("kind", [ridge, logistic])
@pytest.mark.parametrize("seed", range(6))
def test_gradient_descent_is_below_the_bounds(kind, seed):
    run, tight = Descent(kind(seed), seed), kind is ridge
    errors = run.errors(run.loss.d1, run.loss.d2)
    at = {"remainder": run.constants["remainder"]} | run.at
    check(errors[0], call(se.analytic_error, run.constants, at), least=0.05)
    check(errors[1], call(se.automatic_error, at), least=0.2 * tight)
    sharp = call(se.implicit_error, at)
    printed = call(se.implicit_error, run.constants, at, jacobian_lipschitz=run.loss.lipschitz)
    assert np.all(printed >= sharp) and (tight or np.all(printed > 2 * sharp))
    check(errors[2], sharp)
    pool = {**run.constants, "steps": np.arange(61)}
    pool["contraction"] = call(se.contraction, pool)
    for part in (slice(None), slice(-1, None)):  # a ridge's smallest eigenvalue is exact
        for bound in (se.distance, se.jacobian_distance):
            check(run.at[bound.__name__][part], call(bound, pool)[part], least=0.02 * tight)
    check(np.array(errors), np.array(call(se.gradient_descent_errors, pool)))


def test_a_quadratic_contradicts_the_printed_bound():
    run = Descent(ridge(0), 0)
    missing = {"initial_jacobian_distance": 0.0}  # the factor of the term missing in print
    printed = call(se.gradient_descent_errors, run.constants, missing, steps=np.arange(31))
    assert run.constants["remainder"] == 0 and np.all(printed.automatic == 0)
    assert np.all(run.at["jacobian_distance"][:31] > 1e-3)
    assert np.all(run.errors(run.loss.d1, run.loss.d2)[1][:31] > 1e-7)


@pytest.mark.parametrize("shift,y0", [(0, 2.0), (1, 2.0), (1, 0.0)])
def test_scalar_examples_attain_the_bounds(shift, y0):
    """L = x y^2 / 2 - shift y at x = 1, where y* = shift and J* = -shift, by autodiff."""
    L = lambda y, x: x * y**2 / 2 - shift * y
    step = lambda y, x: y - 0.3 * jax.grad(L)(y, x)
    forward = jax.jit(lambda y, J: jax.jvp(step, (y, 1.0), (J, 1.0)))
    gradients = jax.jit(jax.vmap(jax.grad(L, (0, 1)), (0, None)))
    pairs = [(jnp.asarray(y0), jnp.asarray(0.0))]
    for _ in range(30):
        pairs.append(forward(*pairs[-1]))
    y, J = np.array(pairs).T
    d1, d2 = map(np.asarray, gradients(jnp.asarray(y), 1.0))
    t, kappa, e0, g_star = np.arange(31), 0.7, y0 - shift, shift / 2
    pool = {"steps": t, "step_size": 0.3, "smoothness": 1.0, "strong_convexity": 1.0}
    pool |= {"remainder": 1.0, "gradient_lipschitz": 3.0, "contraction": kappa}
    pool |= {"initial_distance": abs(e0), "initial_jacobian_distance": float(shift)}
    bounds, jacobian = call(se.gradient_descent_errors, pool), call(se.jacobian_distance, pool)
    errors = np.abs([d2 - g_star, d2 + J * d1 - g_star, d2 - y * d1 - g_star])
    closed = kappa ** (2 * t) * (e0**2 / 2 + e0 * shift - 0.3 * t * e0**2 / kappa)
    np.testing.assert_allclose(errors[1], np.abs(closed), rtol=1e-8, atol=1e-15)
    check(errors, np.array(bounds))
    check(np.abs(J + shift), jacobian)
    if shift == 0 or y0 == 0:  # the terms have one sign, or there is but one
        np.testing.assert_allclose(np.abs(J + shift), jacobian, rtol=1e-8)
    assert errors[1, -1] / bounds.automatic[-1] > 0.7
    sharp = se.implicit_error(remainder=1.0, distance=np.abs(y - shift))  # attained too
    np.testing.assert_allclose(errors[2, :15], sharp[:15], rtol=1e-8)
    printed = call(se.implicit_error, pool, distance=np.abs(y - shift), jacobian_lipschitz=1.0)
    np.testing.assert_allclose(printed, 3 * sharp)


@pytest.mark.parametrize("seed", range(1, 4))
def test_orders_and_the_loss_of_super_efficiency_in_bilevel_problems(seed):
    run, rng = Descent(logistic(seed), seed), np.random.default_rng(seed + 7)
    w, S = rng.standard_normal(4), rng.standard_normal((8, 4))
    f1, f2 = (lambda y: y - w + S.T @ run.loss.x), (lambda y: S @ y)
    errors = run.errors(run.loss.d1, run.loss.d2) + run.errors(f1, f2)
    kept = (run.at["distance"] < 1e-1) & (run.at["distance"] > 1e-5)
    orders = *se.orders(), *se.orders(bilevel=True)
    found = slope(np.array(errors)[:, kept].T, run.at["distance"][kept])
    assert np.all(np.abs(found - orders) <= 0.05 + 0.1 * np.array(orders))
    values = float(np.linalg.norm(S, 2)), 1.0, float(np.linalg.norm(f1(run.star)))
    names = "gradient_lipschitz", "smoothness", "gradient"
    objective = {f"objective_{name}": value for name, value in zip(names, values, strict=True)}
    size, implicit_away = run.constants["jacobian_bound"], spectral(run.implicit - run.J_star)
    aways = float(spectral(run.J_star)), run.at["jacobian_distance"], implicit_away
    for error, away, bound in zip(errors[3:], aways, (0.0, size, size), strict=True):
        pool = {"jacobian_distance": away, "jacobian_bound": bound}
        check(error, call(se.bilevel_error, run.at, objective, pool), least=0.1)


def test_the_factor_t_in_the_order_of_the_automatic_gradient():
    """On x y^2 / 2 - y, from y_0 = 2 at x = 1: the formula of `orders`, by recursion."""
    x, y, J, step, seen = 1.0, 2.0, 0.0, 0.3, {}
    kappa, start = 1 - step * x, y - 1 / x
    for t in range(1, 31):
        J = kappa * J - step * y
        y -= step * (x * y - 1)
        automatic = y**2 / 2 + J * (x * y - 1)
        seen[t] = abs(automatic - 1 / (2 * x**2)) / (y - 1 / x) ** 2
        factor = abs(1 / 2 + 1 / (x * start) - step * x * t / kappa)
        np.testing.assert_allclose(seen[t], factor, rtol=1e-4)
    assert seen[30] > 4 * seen[10] > 10
    assert "factor t" in (se.orders.__doc__ or "")


class Stochastic:
    """SGD on the averaged logistic loss, many runs at once, with their Jacobians."""

    def __init__(self, step_size, num_steps, num_runs=200, seed=0):
        self.loss = loss = logistic(seed, weight=1 / 8)
        D, x, star, rng = loss.D, loss.x, minimiser(loss), np.random.default_rng(seed)
        J_star, runs, every = implicit(loss, star), np.arange(num_runs), np.arange(8)
        y, J = np.tile(star + np.linspace(-1, 1, 4), (num_runs, 1)), np.zeros((num_runs, 8, 4))
        noise, bound, rows, mean = np.zeros(3), 0.0, [], lambda a: np.mean(norms(a) ** 2) ** 0.5
        for _ in range(num_steps):
            p, curvature, phi = loss.terms(y)
            # C_i for all rows i at once: expectations over the next sample are exact.
            firsts = -(x * p)[..., None] * D + y[:, None] / 8
            outer = (x**2 * curvature)[..., None, None] * D[:, :, None] * D[:, None]
            seconds = outer + np.eye(4) / 8
            change = J[:, None] @ seconds
            change[:, every, every] += phi[..., None] * D
            ahead = J[:, None] - step_size * change
            kinds = firsts, seconds.reshape(num_runs, 8, 16), phi[..., None] * D
            largest = [np.max(np.mean(np.sum(a**2, -1), 1)) ** 0.5 for a in kinds]
            noise, bound = np.maximum(noise, largest), max(bound, np.max(spectral(J)))
            g2 = [loss.d2(b) + A @ loss.d1(b) for A, b in zip(J, y, strict=True)]
            aways = y - star, *((a - J_star).reshape(-1, 32) for a in (J, ahead))
            rows.append([*map(mean, aways), np.mean(norms(np.array(g2) - loss.d2(star)))])
            i = rng.integers(8, size=num_runs)
            J, y = ahead[runs, i], y - step_size * firsts[runs, i]
        self.distance, self.jacobian_distance, self.next, self.error = np.array(rows).T
        names = "gradient_noise", "hessian_noise", "cross_noise", "jacobian_bound"
        self.constants = dict(zip(names, map(float, (*noise, bound)), strict=True))
        self.constants |= {**loss.constants, "step_size": step_size, "rank": 4}
        for bound in (se.remainder, se.jacobian_noise):
            self.constants[bound.__name__] = call(bound, self.constants)


def test_sgd_is_below_the_bounds_of_section_3():
    sgd = Stochastic(step_size=0.5, num_steps=300)
    at = {"distance": sgd.distance, "jacobian_distance": sgd.jacobian_distance}
    start = {"steps": np.arange(300), "initial_distance": sgd.distance[0]}
    start["initial_jacobian_distance"] = sgd.jacobian_distance[0]
    check(sgd.next, call(se.stochastic_jacobian_step, at, sgd.constants), least=0.3)
    check(sgd.error, call(se.stochastic_automatic_error, at, sgd.constants), least=0.01)
    check(sgd.distance, call(se.stochastic_distance, start, sgd.constants), least=0.1)
    bound = call(se.stochastic_jacobian_distance, start, sgd.constants)
    check(sgd.jacobian_distance, bound, least=0.03)
    check(np.mean(sgd.jacobian_distance[-100:]), call(se.jacobian_floor, sgd.constants), 0.03)


def test_the_printed_noise_of_the_jacobian_is_too_small():
    # C = xi x y^2 / 2 with xi = 16 once in 16; at x = 1, y = J = 1, where y* = J* = 0.
    xi, rho = np.array([16.0] + 15 * [0.0]), 0.25
    measured = np.mean((1 - rho * xi * (1 + 1)) ** 2) ** 0.5
    noise = {"hessian_noise": 4.0, "cross_noise": 4.0, "jacobian_bound": 1.0}
    pool = {"distance": 1.0, "jacobian_distance": 1.0, "step_size": rho, "rank": 1}
    pool |= {"strong_convexity": 1.0, "remainder": 1.0}
    safe, printed = (se.jacobian_noise(**noise, printed=f) for f in FORMS)
    bound = lambda noise: call(se.stochastic_jacobian_step, pool, jacobian_noise=noise)
    assert bound(printed) < measured <= bound(safe)


@pytest.mark.parametrize("seed", range(8))
def test_floors_are_where_the_recursion_stands_still(seed):
    rng = np.random.default_rng(seed)
    names = "strong_convexity", "remainder", "jacobian_noise", "gradient_noise"
    pool = {name: float(np.exp(rng.normal())) for name in names} | {"rank": 1 + seed}
    mu, large, B, sigma = (pool[name] for name in names)
    rho = pool["step_size"] = float(rng.uniform(0.01, 0.4) / mu)
    pool |= {"initial_distance": 3.0, "initial_jacobian_distance": 2.0}
    pool["steps"] = np.arange(4000)
    deltas, ds = [4.0], [9.0]
    for _ in range(3999):
        pull = 2 * rho * (1 + seed) ** 0.5 * large * (ds[-1] * deltas[-1]) ** 0.5
        deltas.append((1 - 2 * rho * mu) * deltas[-1] + pull + (rho * B) ** 2)
        ds.append((1 - 2 * rho * mu) * ds[-1] + (rho * sigma) ** 2)
    check(np.sqrt(ds), call(se.stochastic_distance, pool), least=0.1)
    check(np.sqrt(deltas), call(se.stochastic_jacobian_distance, pool), least=0.1)
    assert call(se.noise_floor, pool) == pytest.approx(ds[-1] ** 0.5, rel=1e-8)
    floor = call(se.jacobian_floor, pool)
    first = call(se.stochastic_jacobian_step, pool, distance=3.0, jacobian_distance=2.0)
    assert (first, floor) == pytest.approx((deltas[1] ** 0.5, deltas[-1] ** 0.5), rel=1e-8)
    assert floor <= call(se.jacobian_floor, pool, printed=True)
    assert call(se.jacobian_floor, pool, step_size=rho / 4) == pytest.approx(floor / 2)
    quiet = call(se.stochastic_jacobian_distance, pool, gradient_noise=0.0, jacobian_noise=0.0)
    kappa = (1 - 2 * rho * mu) ** 0.5  # quiet unrolls u+ = kappa u + alpha kappa^t
    assert quiet[2] - kappa * quiet[1] == pytest.approx(3 * rho * (1 + seed) ** 0.5 * large)
    printed = call(se.jacobian_floor, pool, step_size=1e-10, printed=True)
    assert printed == pytest.approx(B / mu, rel=1e-3)  # does not vanish with the step


@pytest.mark.parametrize("power", [0.3, 0.6])
def test_the_jacobian_under_decreasing_steps(power):
    pool = {"scale": 0.4, "power": power, "distance_scale": 0.7, "strong_convexity": 1.0}
    pool |= {"remainder": 1.5, "rank": 2, "jacobian_noise": 2.0, "steps": 100_000}
    delta, pull = 1.0, 2.0**0.5 * 1.5 * 0.7
    for t in range(1, 100_000):
        rho = 0.4 * t**-power
        delta += 2 * rho * (pull * (delta * t**-power) ** 0.5 - delta) + (rho * 2.0) ** 2
    sharp = call(se.decreasing_jacobian_distance, pool)
    assert delta**0.5 == pytest.approx(sharp, rel=0.02)
    assert call(se.decreasing_jacobian_distance, pool, printed=True) >= 2 * sharp


def noisy_scalar(steps, shape=(), seed=0):
    """SGD on L = x y^2 / 2 - y at x = 1: mean errors of g1, g2, g3 and J at every step."""
    rng = np.random.default_rng(seed)
    y, J = np.full((*shape, 500), 1.5), np.zeros((*shape, 500))
    for rho in steps:
        J, y = J - rho * (J + y), y - rho * (y - 1 + rng.standard_normal(y.shape))
        e, g1 = y - 1, (y**2 - 1) / 2
        yield [np.mean(np.abs(error), -1) for error in (g1, J * e + g1, e**2 / 2, J + 1)]


def test_exponents_of_the_noise_floor():
    rho = np.geomspace(0.003, 0.03, 5)
    errors = np.array(list(noisy_scalar([rho[:, None]] * 3000, shape=rho.shape)))
    exponents = *se.noise_floor_exponents(), 0.5
    np.testing.assert_allclose(slope(np.mean(errors[1500:], 0).T, rho), exponents, atol=0.08)


@pytest.mark.parametrize("power,scale", [(0.5, 1.0), (0.8, 2.0)])
def test_exponents_under_decreasing_steps(power, scale):
    t = np.arange(1, 20_001)
    kept = np.unique(np.geomspace(1000, 20_000, 60).astype(int)) - 1
    errors = np.array(list(noisy_scalar(scale * t**-power)))[kept]
    exponents = (*se.decreasing_step_exponents(power=power), -power / 2)
    np.testing.assert_allclose(slope(errors, t[kept]), exponents, atol=0.06)


def test_least_squares_gradients_are_exact():
    rng, t = np.random.default_rng(3), np.arange(26)
    U, s, Vt = np.linalg.svd(rng.standard_normal((5, 8)), full_matrices=False)
    D, x, rho = (U * s) @ Vt, rng.standard_normal(5), 0.9 / s[0] ** 2
    y, J, rows, solution = np.zeros(8), np.zeros((5, 8)), [], np.linalg.pinv(D) @ x
    for _ in t:
        r, H = x - D @ y, D.T @ D
        # The sign that Prop. 3.8 has flipped.
        np.testing.assert_allclose(r, -D @ (y - solution), atol=1e-13)
        g3 = r + D @ np.linalg.pinv(H, rcond=1e-10) @ (D.T @ -r)
        rows.append(U.T @ np.array([r, r - J @ D.T @ r, g3]).T)
        J, y = J - rho * (J @ H - D), y + rho * D.T @ r
    g1, g2, g3 = np.moveaxis(rows, 2, 0)
    k = 1 - rho * s**2
    exact = call(se.least_squares_errors, steps=t[:, None], contraction=k, initial_misfit=g1[0])
    np.testing.assert_allclose(g1, exact.analytic, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(g2, exact.automatic, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(g2[:13], g1[::2], rtol=1e-10, atol=1e-14)
    assert np.max(np.abs(g3)) < 1e-13 and np.all(exact.implicit == 0)
    bounds = call(se.least_squares_errors, steps=t, contraction=k[-1], initial_misfit=norms(x))
    check(norms(g1), bounds.analytic, least=0.1)
    check(norms(g2), bounds.automatic, least=0.1)


@pytest.mark.parametrize("p", [4, 6])
def test_p_norm_rates(p):
    t, rho, start = np.arange(100_000), 0.1, np.array([0.5, -0.8, 1.0])
    r, M, rows = start, np.ones(3), []
    for _ in t:
        rows.append((r, M * r ** (p - 1)))
        M, r = M * (1 - rho * (p - 1) * r ** (p - 2)), r - rho * r ** (p - 1)
    r, g2 = np.abs(np.moveaxis(rows, 1, 0))
    pool = {"steps": t[:, None], "step_size": rho, "exponent": p, "initial_misfit": abs(start)}
    bounds = call(se.p_norm_errors, pool)
    ratio = np.array([r, r ** (p - 1), g2]) / np.array([call(se.misfit, pool), *bounds[:2]])
    assert np.max(ratio) <= HOLDS and np.min(ratio) > 0.2
    asymptote = se.misfit(steps=t[1:, None], step_size=rho, exponent=p)
    assert np.all(r[1:] <= asymptote * HOLDS) and np.all(r[-1] > 0.99 * asymptote[-1])
    exponents = se.p_norm_exponents(exponent=p)[:2]
    for measured, exponent in zip((r ** (p - 1), g2), exponents, strict=True):
        np.testing.assert_allclose(slope(measured[3000:], t[3000:]), exponent, rtol=0.02)


QUADRATIC = {"outer_smoothness": 4.0, "outer_strong_convexity": 0.5}
CURVATURES, START = np.array([4.0, 2.0, 0.5]), np.array([4.0, -1.0, 1.0])


@pytest.mark.parametrize("flattest", [True, False])
def test_inexact_gradient_descent(flattest):
    fault = (lambda x: np.eye(3)[2]) if flattest else (lambda x: -x / norms(x))
    pool = QUADRATIC | {"outer_steps": np.arange(400), "initial_outer_distance": norms(START)}
    deltas, floors = np.array([0.01, 0.1, 1.0]), []
    for delta in deltas:
        x, gaps = START, []
        for _ in range(400):
            gaps.append(x @ (CURVATURES * x) / 2)
            x = x - (CURVATURES * x + delta * fault(x)) / 8
        bound, printed = (call(se.outer_gap, pool, error=delta, printed=f) for f in FORMS)
        check(np.array(gaps), bound)
        assert np.all(bound < printed)
        floors.append(gaps[-1])
    if flattest:  # attained
        assert slope(floors, deltas) == pytest.approx(2, abs=0.01)
        sharp = call(se.outer_gap_floor, QUADRATIC, error=deltas)
        np.testing.assert_allclose(floors, sharp, rtol=1e-8)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("eta", [0.02, 0.125])
@pytest.mark.parametrize("correlated", [True, False])
def test_inexact_stochastic_gradient_descent(sigma, eta, correlated):
    rng, floors, deltas = np.random.default_rng(0), [], [0.1, 0.3, 1.0]
    pool = QUADRATIC | {"initial_outer_distance": norms(START), "outer_noise": sigma}
    pool |= {"outer_step_size": eta, "outer_steps": np.arange(1500)}
    for delta in deltas:
        x, rows = np.tile(START, (500, 1)), []
        for _ in range(1500):
            rows.append(np.mean(np.sum(x**2, 1)) ** 0.5)
            noise = rng.choice([-1, 1], (500, 1)) * sigma * np.eye(3)[2]
            fault = np.sign(noise) if correlated and sigma else np.eye(3)[2]
            x = x - eta * (CURVATURES * x + noise + delta * fault)
        bounds = [call(se.outer_distance, pool, error=delta, printed=f) for f in FORMS]
        for bound in bounds[: 1 if correlated else 2]:
            check(np.array(rows), bound)
            check(rows[-1], bound[-1], least=0.0 if correlated else 0.25)
        floors.append(np.mean(rows[-100:]) ** 2)
    if sigma == 0:
        assert slope(floors, deltas) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("printed", FORMS)
def test_a_negligible_error_adds_as_much_as_the_noise(printed):
    pool = QUADRATIC | {"outer_step_size": 0.1, "outer_noise": 0.7, "printed": printed}
    pool |= {"outer_steps": 10_000, "initial_outer_distance": 1.0}
    error = call(se.negligible_error, pool)
    at = lambda error, noise: call(se.outer_distance, pool, error=error, outer_noise=noise)
    assert at(error, 0.0) == pytest.approx(at(0.0, 0.7), rel=1e-12)
    assert not printed or error == pytest.approx(0.7 * (0.1 / (4 + 1 / 4 + 0.4)) ** 0.5)


FUNCTIONS = [getattr(se, name) for name in se.__all__ if name != "ByEstimator"]
TAKES = [(f, name) for f in FUNCTIONS for name in inspect.signature(f).parameters]
TAKES = [(f, name) for f, name in TAKES if name not in ("printed", "bilevel")]
POOL = dict.fromkeys((name for _, name in TAKES), 1.0) | {"power": 0.5, "contraction": 0.5}
POOL |= {"step_size": 0.25, "outer_step_size": 0.25, "rank": 2, "exponent": 4}
FAULTS = {name: [np.nan, np.array([0.25, np.nan]), -1.0] for name in POOL}
FAULTS |= {"rank": [-1, 0], "exponent": [-4, 0, 2, 5], "outer_step_size": [np.nan, 0.0, 0.75]}
FAULTS |= {"contraction": [np.nan, -0.1, 1.0, 1.5], "power": [np.nan, 0.0, 1.0]}
FAULTS |= {"step_size": [np.nan, -1.0, 0.0, 1.5], "strong_convexity": [np.nan, -1.0, 0.0]}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_floats_give_floats_and_arrays_arrays(function):
    numbers = jax.tree.leaves(call(function, POOL))
    assert {type(number) for number in numbers} <= {float, int}
    for name in inspect.signature(function).parameters:
        if isinstance(POOL.get(name), float):
            arrays = jax.tree.leaves(call(function, POOL, {name: np.full(2, POOL[name])}))
            for array, number in zip(arrays, numbers, strict=True):
                np.testing.assert_allclose(array, number, rtol=1e-14)


@pytest.mark.parametrize("function,name", TAKES)
def test_faults_are_named(function, name):
    if (function, name) == (se.least_squares_errors, "initial_misfit"):
        return  # of any sign
    for fault in FAULTS[name][: 3 if function is se.jacobian_distance else None]:
        with pytest.raises(ValueError, match=rf"^{name} must .*, got .*\. \w+"):
            call(function, POOL, {name: fault})


def test_faults_between_arguments():
    with pytest.raises(ValueError, match=r"^strong_convexity must be at most"):
        call(se.contraction, POOL, strong_convexity=2.0)
    with pytest.raises(ValueError, match=r"^steps must"):
        se.misfit(steps=0, step_size=0.1, exponent=4)
