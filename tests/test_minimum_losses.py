"""The losses of functions defined as a minimum, against hand-written derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx


def sigmoid(s):
    return 1 / (1 + np.exp(-s))


def make(kind, seed=0, n=7, m=5):
    random = np.random.default_rng(seed)
    D, x, y = random.normal(size=(n, m)), random.normal(size=n), random.normal(size=m)
    losses = {
        "ridge": lambda: bx.problems.RidgeRegression(D, 0.3),
        "logistic": lambda: bx.problems.LogisticRegression(D, 0.3),
        "p-norm": lambda: bx.problems.PNormRegression(D, 4),
    }
    return losses[kind](), D, x, y


def derivatives(kind, D, x, y, penalty=0.3, p=4):
    """D1, D2, H, K of section 4 of the reference, with the data term divided by n."""
    n, m = D.shape
    u, r = D @ y, x - D @ y
    s = x * u
    if kind == "ridge":
        D1, D2 = D.T @ (u - x) / n + penalty * y, r / n
        return D1, D2, D.T @ D / n + penalty * np.eye(m), -D / n
    if kind == "logistic":
        D1, D2 = -D.T @ (x * sigmoid(-s)) / n + penalty * y, -u * sigmoid(-s) / n
        curvature = x**2 * sigmoid(s) * sigmoid(-s) / n
        phi = -sigmoid(-s) + s * sigmoid(s) * sigmoid(-s)
        H = D.T @ (curvature[:, None] * D) + penalty * np.eye(m)
        return D1, D2, H, phi[:, None] * D / n
    weight = (p - 1) * r ** (p - 2)
    H = D.T @ (weight[:, None] * D)
    return -D.T @ r ** (p - 1), r ** (p - 1), H, -weight[:, None] * D


@pytest.mark.parametrize("kind", ["ridge", "logistic", "p-norm"])
def test_derivatives(kind):
    loss, D, x, y = make(kind)
    L = loss.objective
    D1, D2, H, K = derivatives(kind, D, x, y)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    second = jax.jacobian(jax.grad(L, (1, 0)), 1)
    found = jax.jit(lambda x, y: (jax.grad(L, (1, 0))(x, y), second(x, y)))(x, y)
    for got, expected in zip(jax.tree.leaves(found), (D1, D2, H, K), strict=True):
        close(got, expected)


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_solutions_and_gradients(kind):
    loss, D, x, _ = make(kind)
    solution = np.asarray(loss.solution(x))
    D1, D2, H, K = derivatives(kind, D, x, solution)
    assert np.abs(D1).max() < 1e-14
    np.testing.assert_allclose(loss.gradient(x), D2, rtol=1e-10)
    assert loss.gradient(x).shape == x.shape
    difference, value = [], jax.jit(lambda z: loss.objective(z, loss.solution(z)))
    for e in np.eye(len(x)) * 1e-6:
        values = [float(value(z)) for z in (x + e, x - e)]
        difference.append((values[0] - values[1]) / 2e-6)
    np.testing.assert_allclose(loss.gradient(x), difference, atol=1e-8)
    if kind == "ridge":
        np.testing.assert_allclose(loss.jacobian(), -K @ np.linalg.inv(H), rtol=1e-10)


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_constants_are_bounds(kind):
    """At many y, near the bounds for some; the smoothness of a ridge is exact."""
    loss, D, x, _ = make(kind)
    c = loss.constants(x)
    random = np.random.default_rng(1)
    ratios = dict.fromkeys(vars(c), 0.0)
    for _ in range(400):
        a = random.normal(size=D.shape[1]) * 10 ** random.uniform(-2, 1)
        b = a + random.normal(size=a.size) * 10 ** random.uniform(-3, 0)
        (*_, H, K), (*_, H2, K2) = (derivatives(kind, D, x, y) for y in (a, b))
        far, norm = np.linalg.norm(a - b), lambda A: np.linalg.norm(A, 2)
        found = {
            "strong_convexity": c.strong_convexity / np.linalg.eigvalsh(H)[0],
            "smoothness": norm(H) / c.smoothness,
            "cross_smoothness": norm(K) / c.cross_smoothness,
        }
        if kind == "logistic":
            found["hessian_lipschitz"] = norm(H - H2) / far / c.hessian_lipschitz
            found["cross_lipschitz"] = norm(K - K2) / far / c.cross_lipschitz
        ratios |= {name: max(ratios[name], value) for name, value in found.items()}
    assert max(ratios.values()) < 1 + 1e-9
    assert ratios["smoothness"] > (0.5 if kind == "logistic" else 1 - 1e-9)
    assert ratios["cross_smoothness"] > 0.4


def test_what_follows_from_constants():
    c = bx.Constants(
        strong_convexity=0.5, cross_smoothness=2, hessian_lipschitz=3, cross_lipschitz=5
    )
    assert c.jacobian_bound == 4
    assert c.jacobian_lipschitz == 5 / 0.5 + 2 * 3 / 0.25
    assert c.remainder == 5 + 4 * 3
    assert c.missing("smoothness", "strong_convexity") == ["smoothness"]
    flat = bx.Constants(strong_convexity=0.0, cross_smoothness=1.0)
    assert flat.jacobian_bound is None and flat.remainder is None
    for bad in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="smoothness must be at least 0"):
            bx.Constants(smoothness=bad)


def test_faulty_regressions():
    D = np.eye(2)
    for make_loss, words in (
        (lambda: bx.problems.PNormRegression(D, 3), "even"),
        (lambda: bx.problems.PNormRegression(D, 0), "even"),
        (lambda: bx.problems.RidgeRegression(D, 0.0), "regularization must be positive"),
        (lambda: bx.problems.LogisticRegression(np.ones((0, 2)), 1.0), "rows x features"),
    ):
        with pytest.raises(ValueError, match=words):
            make_loss()


def clouds(n=6, m=4, N=None, seed=0):
    random = np.random.default_rng(seed)
    shape = (m,) if N is None else (N, m)
    x, b = random.uniform(0.2, 1, n), random.uniform(0.2, 1, shape)
    C = (np.linspace(0, 1, n)[:, None] - np.linspace(0, 1, m)) ** 2
    return C, x / x.sum(), b / b.sum(-1, keepdims=True)


def sinkhorn(C, a, b, eps, steps):
    """In plain NumPy: scalings of the kernel, as potentials y = -eps log u."""
    K, u = np.exp(-C / eps), np.ones(len(a))
    for _ in range(steps):
        v = b / (K.T @ u)
        u = a / (K @ v)
    return -eps * np.log(u), -eps * np.log(v)


@pytest.mark.parametrize("domain", ["log", "kernel"])
def test_sinkhorn_is_its_transcription(domain):
    C, x, b = clouds()
    transport = bx.problems.EntropicTransport(C, b, 0.1, domain=domain)
    for steps in (1, 3):
        h = bx.hypergradient(
            transport.problem, bx.Analytic(bx.Sinkhorn(steps)), x, transport.y0()
        )
        expected = sinkhorn(C, x, b, 0.1, steps)
        for got, wanted in zip(h.y, expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(h.gradient, expected[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("domain", ["log", "kernel"])
def test_the_minimum_is_the_transport_cost(domain):
    """The value of the primal at the plan, and the sign of the gradient in x."""
    C, x, b = clouds()
    transport = bx.problems.EntropicTransport(C, b, 0.1, domain=domain)

    def primal(x):
        y = sinkhorn(C, x, b, 0.1, 3000)
        P = np.exp(-(C + y[0][:, None] + y[1]) / 0.1)
        np.testing.assert_allclose(P.sum(1), x, rtol=1e-10)
        return np.sum(C * P) + 0.1 * np.sum(P * np.log(P))

    ell = bx.minimum(transport.problem, transport.y0(), bx.Sinkhorn(1000))
    assert transport.distance(ell(x)) == pytest.approx(primal(x), rel=1e-12)
    direction = np.array([1, -1, 0, 2, 0, -2]) * 1e-5
    difference = primal(x + direction) - primal(x - direction)
    slope = -2 * jax.grad(ell)(x) @ direction
    assert slope == pytest.approx(difference, rel=1e-6)


def test_domains_and_batches_agree():
    C, x, b = clouds(N=3)
    log = bx.problems.EntropicTransport(C, b, 0.05)
    kernel = bx.problems.EntropicTransport(C, b, 0.05, domain="kernel")
    sweep = eqx.filter_jit(lambda transport, y: transport.sweep(x, y))
    y = log.y0()
    for _ in range(4):
        y = sweep(log, y)
    np.testing.assert_allclose(log.objective(x, y), kernel.objective(x, y), rtol=1e-12)
    swept = sweep(kernel, y)
    for a, c in zip(sweep(log, y), swept, strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-8)
    for i in range(3):
        one = bx.problems.EntropicTransport(C, b[i], 0.05)
        for a, c in zip(sweep(one, (y[0][i], y[1][i])), swept, strict=True):
            np.testing.assert_allclose(a, c[i], rtol=1e-8)


def test_the_gauge_and_the_contraction():
    """Errors shrink by sigma_2^2 a sweep, twice as fast for g2 and g3, off the constants."""
    C, x, b = clouds(20, 15)
    transport = bx.problems.EntropicTransport(C, b, 0.1)
    options = (transport.problem, bx.Sinkhorn(1), x, transport.y0())
    path = bx.trajectory(*options, at=[1, 2, 4, 6, 8, 10, 60], linear=bx.Direct())
    centred = lambda g: g - g.mean(axis=1, keepdims=True)
    exact = centred(path.analytic)[-1]
    off = lambda g: np.linalg.norm(centred(g)[:-1] - exact, axis=1)
    first, second, third = map(off, (path.analytic, path.automatic, path.implicit))
    y = path.y[-1]
    factor = float(transport.contraction(x, (y[:20], y[20:])))
    assert (first[5] / first[3]) ** (1 / 4) == pytest.approx(factor, rel=0.02)
    assert (second[5] / second[3]) ** (1 / 4) == pytest.approx(factor**2, rel=0.05)
    slope = np.polyfit(np.log(first[2:]), np.log(third[2:]), 1)[0]
    assert 1.9 < slope < 2.15
    # Scaling x scales the potentials' constants only.
    np.testing.assert_allclose((path.automatic - path.analytic) @ x, 0, atol=1e-12)


def test_faulty_transport():
    C, x, b = clouds()
    make = bx.problems.EntropicTransport
    for arguments, words in (
        ((C, b, 0.0), "regularization must be positive"),
        ((C, b, -1.0), "regularization must be positive"),
        ((C, 2 * b, 0.1), "must sum to 1, got 2"),
        ((C, b * [0, 1, 1, 1], 0.1), "must be positive everywhere"),
        ((C, b - 1, 0.1), "must be positive everywhere"),
        ((C[:, :0], b[:0], 0.1), "empty"),
        ((C, b[:2], 0.1), "cost must be n x m"),
        ((C, b, 1e-4, "kernel"), "use domain='log'"),
        ((C, b, 0.1, "fourier"), "domain must be"),
    ):
        with pytest.raises(ValueError, match=words):
            make(*arguments[:3], **dict(zip(["domain"], arguments[3:], strict=False)))
    assert np.isfinite(make(C, b, 1e-4).sweep(x, make(C, b, 1e-4).y0())[0]).all()


def test_an_x_that_is_no_histogram():
    """Said before any work, by everything that takes an x; under jit its size is."""
    C, x, b = clouds()
    transport = bx.problems.EntropicTransport(C, b, 0.1)
    y, estimator = transport.y0(), bx.Analytic(bx.Sinkhorn(5))
    problem, barycentre = transport.problem, bx.problems.wasserstein_barycentre(transport)
    algorithm = bx.Algorithm(estimator, *bx.mirror_descent(0.1))
    takers = (
        lambda x: bx.hypergradient(problem, estimator, x, y),
        lambda x: bx.trajectory(problem, bx.Sinkhorn(1), x, y, at=[1]),
        lambda x: bx.minimize(barycentre, algorithm, x, y, num_steps=1),
        bx.minimum(problem, y, bx.Sinkhorn(5)),
        bx.argmin(problem, y, bx.Sinkhorn(5)),
    )
    for wrong, words in (
        (2 * x, "x must sum to 1, got 2"),
        (x - x[0], "x must be positive everywhere"),
        (x[:-1], "x must have 6 numbers"),
        (x * jnp.nan, "NaN|positive everywhere"),
    ):
        for taker in takers:
            with pytest.raises(ValueError, match=words):
                taker(wrong)
    for taker in takers:
        taker(x)
    value = takers[3]
    for wrong in (2 * x, x - x[0], x[:-1]):
        with pytest.raises(ValueError, match="x must"):
            jax.grad(value)(wrong)
        with pytest.raises(ValueError, match="x must"):
            jax.jacobian(takers[4])(wrong)
    with pytest.raises(ValueError, match="x must have 6 numbers"):
        jax.jit(value)(x[:-1])
    assert bool(jnp.all(jnp.isfinite(jax.jit(jax.grad(value))(x))))


def test_costs_in_integers():
    C = (np.arange(4)[:, None] - np.arange(4)) ** 2
    x = jnp.array([0.1, 0.2, 0.3, 0.4])
    for domain in ("log", "kernel"):
        of = lambda C, domain=domain: bx.problems.EntropicTransport(
            C, x[::-1], 1, domain=domain
        )
        value = bx.minimum(of(C).problem, of(C).y0(), bx.Sinkhorn(50))
        floats = bx.minimum(of(1.0 * C).problem, of(1.0 * C).y0(), bx.Sinkhorn(50))
        assert float(value(x)) == float(floats(x))


@pytest.mark.parametrize("kind", ["ridge", "logistic", "p-norm"])
def test_an_x_of_another_size(kind):
    """A row without a target must not take its neighbour's."""
    loss, _, x, y = make(kind)
    solver = bx.GradientDescent(0.1, 3)
    for wrong in (x[:-1], np.append(x, 1.0), x[:, None], x[:1]):
        for compute in (
            lambda x: bx.hypergradient(loss.problem, bx.Analytic(solver), x, y),
            jax.jit(bx.minimum(loss.problem, y, solver)),
            jax.grad(bx.minimum(loss.problem, y, solver)),
        ):
            with pytest.raises(ValueError, match=r"x must have the shape \(7,\)"):
                compute(wrong)


def test_the_barycentre_decreases():
    """Each of the first 20 steps, by the value at converged potentials."""
    n = 30
    random = np.random.default_rng(0)
    b = random.uniform(0, 1, (4, n))
    b /= b.sum(1, keepdims=True)
    grid = np.linspace(0, 1, n)
    transport = bx.problems.EntropicTransport((grid[:, None] - grid) ** 2, b, 0.05)
    algorithm = bx.Algorithm(
        bx.Analytic(bx.Sinkhorn(10), warm_start_inner=False), *bx.mirror_descent(0.5)
    )
    problem = bx.problems.wasserstein_barycentre(transport)
    x0, values = jnp.ones(n) / n, []

    def value(x):
        potentials = [sinkhorn(np.asarray(transport.cost), x, row, 0.05, 1000) for row in b]
        total = 0.0
        for y_x, y_b in potentials:
            P = np.exp(-(np.asarray(transport.cost) + y_x[:, None] + y_b) / 0.05)
            total += np.sum(transport.cost * P) + 0.05 * np.sum(P * np.log(P))
        return total

    state, x = None, x0
    for _ in range(20):
        values.append(value(np.asarray(x)))
        s = bx.minimize(problem, algorithm, x0, transport.y0(), num_steps=1, state=state)
        # The step is that of the formula, by the analytic gradient -sum y_x.
        gradient = -sum(
            sinkhorn(np.asarray(transport.cost), np.asarray(x), row, 0.05, 10)[0] for row in b
        )
        moved = np.asarray(x) * np.exp(-0.5 * (gradient - gradient.mean()))
        np.testing.assert_allclose(s.x, moved / moved.sum(), rtol=1e-9)
        state, x = s.state, s.x
    assert np.all(np.diff(values) < 0)


def test_direct_with_a_cutoff_is_the_pseudo_inverse():
    random = np.random.default_rng(0)
    A, B = random.normal(size=(3, 6)), random.normal(size=(6, 2))
    problem = bx.BilevelProblem(
        outer=lambda x, y: jnp.sum((y - 1) ** 2),
        inner=lambda x, y: jnp.sum((A @ y) ** 2) / 2 + y @ B @ x,
    )
    x, y = random.normal(size=2), random.normal(size=6)
    h = bx.hypergradient(
        problem, bx.Implicit(bx.GradientDescent(1e-12, 1), bx.Direct(cutoff=1e-10)), x, y
    )
    z = -np.linalg.pinv(A.T @ A, rcond=1e-10) @ (2 * (y - 1))
    np.testing.assert_allclose(h.adjoint, z, rtol=1e-6)
    np.testing.assert_allclose(h.gradient, B.T @ z, rtol=1e-6)
    assert h.result == bx.Result.successful
    bare = bx.hypergradient(
        problem, bx.Implicit(bx.GradientDescent(1e-12, 1), bx.Direct()), x, y
    )
    assert bare.result != bx.Result.successful
    with pytest.raises(ValueError, match="between 0 and 1"):
        bx.Direct(cutoff=2.0)
