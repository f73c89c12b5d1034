"""Certificates: above the true error at every iteration of every problem."""

import functools
from fractions import Fraction
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from cases import steps
from test_minimum_losses import clouds

STEPS = (1, 5, 20, 100, 4000)


def descent(step, t):
    return bx.GradientDescent(step, steps(t))


@functools.cache
def paper(kind, seed):
    """The problems of Figs. 2a and 2b of Ablin et al. (2020), at their sizes."""
    random = np.random.RandomState(seed)
    D, x = random.randn(50, 100), random.randn(1, 50)[0]
    make = {"ridge": bx.problems.RidgeRegression, "logistic": bx.problems.LogisticRegression}
    return make[kind](D, 0.02), jnp.asarray(x)


@eqx.filter_jit
def _exact(loss, x):
    return loss.solution(x), loss.gradient(x)


@functools.cache
def exact(kind, seed):
    """The solution and the gradient, in one program for all seeds."""
    return _exact(*paper(kind, seed))


def table(kind, seed, make_estimator, numbers=STEPS):
    """t, the true error and the bound."""
    (loss, x), (solution, gradient), rows = paper(kind, seed), exact(kind, seed), []
    step = 1 / loss.constants(x).smoothness
    for t in numbers:
        estimator = make_estimator(descent(step, t))
        h = bx.hypergradient(loss.problem, estimator, x, loss.y0)
        bound = bx.error_bound(loss.problem, estimator, x, h)
        assert bound.reason == "" and bound.rounding <= bound.value
        error = np.linalg.norm(h.gradient - gradient)
        distance = np.linalg.norm(h.y - solution)
        assert distance <= bound.inner_error, (t, distance, bound)
        rows.append((t, error, bound.value))
    return np.array(rows).T


@pytest.mark.parametrize("kind, seed", [("ridge", 29), ("logistic", 9), ("logistic", 3)])
def test_the_analytic_gradient(kind, seed):
    """Within a factor of 100 beyond t = 20, down to rounding."""
    t, error, bound = table(kind, seed, bx.Analytic)
    assert np.all(error <= bound)
    late = (t >= 20) & (error > 1e-12)
    assert late.sum() >= 2 and np.max(bound[late] / error[late]) < 100


def unrolled(inner):
    return bx.Unrolled(inner, max_num_steps=4000)


def implicit(inner):
    return bx.Implicit(inner, bx.Direct())


@pytest.mark.parametrize("make", [unrolled, implicit])
@pytest.mark.parametrize("kind, seed", [("ridge", 29), ("logistic", 9), ("logistic", 3)])
def test_the_faster_gradients(kind, seed, make):
    t, error, bound = table(kind, seed, make, numbers=(20, 200, 4000))
    assert np.all(error <= bound)
    assert bound[-1] < 1e-12
    late = (t >= 20) & (error > 1e-12)
    assert np.all(bound[late] < 20 * error[late])


@pytest.mark.parametrize("kind, seed", [("ridge", 29), ("logistic", 9)])
def test_every_iteration(kind, seed):
    """One descent step at a time, and the three gradients with it."""
    loss, x = paper(kind, seed)
    constants, y = loss.constants(x), loss.y0
    step, at = 1 / constants.smoothness, range(1, 61)
    once = descent(step, 1)
    path = bx.trajectory(loss.problem, bx.GradientDescent(step, 1), x, y, at=at)
    for analytic, automatic in zip(path.analytic, path.automatic, strict=True):
        h = bx.hypergradient(loss.problem, implicit(once), x, y)
        y = h.y
        for estimator, gradient, adjoint in (
            (bx.Analytic(once), analytic, None),
            (unrolled(once), automatic, None),
            (implicit(once), h.gradient, h.adjoint),
        ):
            found = gradient, adjoint
            estimate = eqx.tree_at(lambda h: (h.gradient, h.adjoint), h, found)
            bound = bx.error_bound(loss.problem, estimator, x, estimate, constants=constants)
            assert np.linalg.norm(gradient - exact(kind, seed)[1]) <= bound.value


def test_second_derivatives_need_no_constants():
    """A bound on the cross derivative and strong convexity are enough for g3."""
    loss, x = paper("logistic", 9)
    c = loss.constants(x)
    known = bx.Constants(
        strong_convexity=c.strong_convexity, cross_smoothness=c.cross_smoothness
    )
    estimator = implicit(descent(1 / c.smoothness, 200))
    h = bx.hypergradient(loss.problem, estimator, x, loss.y0)
    error = np.linalg.norm(h.gradient - exact("logistic", 9)[1])
    bound = bx.error_bound(loss.problem, estimator, x, h, constants=known)
    assert error <= bound.value <= 20 * error
    broken = eqx.tree_at(lambda h: h.adjoint, h, h.adjoint * jnp.nan)
    bound = bx.error_bound(loss.problem, estimator, x, broken)
    assert bound.value == np.inf and "not finite" in bound.reason


def test_a_rough_adjoint_is_seen():
    """Conjugate gradient stopped early leaves an error that the bound knows of."""
    loss, x = paper("logistic", 9)
    inner = bx.GradientDescent(1 / loss.constants(x).smoothness, 3000)
    bounds = []
    for number in (1, 4, 30):
        estimator = bx.Implicit(inner, bx.CG(steps(number)))
        h = bx.hypergradient(loss.problem, estimator, x, jnp.ones(100))
        error = np.linalg.norm(h.gradient - exact("logistic", 9)[1])
        bounds.append(bx.error_bound(loss.problem, estimator, x, h).value)
        assert error <= bounds[-1]
    assert bounds[0] > bounds[-1]


@pytest.mark.parametrize("coupling", [0.0, 1.0])
def test_bilevel_implicit(coupling):
    q = bx.problems.quadratic(12, 8, inner_condition=20.0, coupling=coupling, seed=1)
    x = jnp.asarray(np.random.default_rng(0).normal(size=12))
    for inner, adjoint in ((1, 1), (5, 2), (40, 8), (400, 400), (4000, 4000)):
        estimator = bx.Implicit(descent(1.0, inner), descent(1.0, adjoint))
        h = bx.hypergradient(q.problem, estimator, x, jnp.zeros(8))
        error = float(jnp.linalg.norm(h.gradient - q.gradient(x)))
        bound = bx.error_bound(q.problem, estimator, x, h)
        assert error <= bound.value
        assert bound.value < 2000 * error or bound.value < 1e-10


def test_a_bilevel_logistic():
    """Constants of the outer level given; the exact gradient by dense linear algebra."""
    random = np.random.default_rng(0)
    D, labels, S = random.normal(size=(20, 6)), random.normal(size=20), np.eye(6, 4)
    loss, target = bx.problems.LogisticRegression(D, 0.2), random.normal(size=6)

    def inner(x, y):
        return loss.objective(labels, y) + y @ (S @ x)

    problem = bx.BilevelProblem(lambda x, y: jnp.sum((y - target) ** 2) / 2, inner)
    x = jnp.asarray(random.normal(size=4) * 0.1)
    c = loss.constants(labels)
    constants = bx.Constants(
        strong_convexity=0.2,
        smoothness=c.smoothness,
        cross_smoothness=1.0,
        hessian_lipschitz=c.hessian_lipschitz,
        cross_lipschitz=0.0,
        outer_smoothness=1.0,
        outer_cross_smoothness=0.0,
    )
    estimate = lambda t: implicit(descent(1 / c.smoothness, t))
    exact = bx.hypergradient(problem, estimate(20_000), x, jnp.zeros(6)).gradient
    for t in (1, 5, 20, 100, 400):
        h = bx.hypergradient(problem, estimate(t), x, jnp.zeros(6))
        bound = bx.error_bound(problem, estimate(t), x, h, constants=constants)
        assert float(jnp.linalg.norm(h.gradient - exact)) <= bound.value < np.inf


def test_random_rows_of_the_outer_level_are_seen():
    """The gradient is that of a few rows, and its certificate reads them all."""
    random = np.random.default_rng(0)
    data = random.normal(size=(40, 3))
    x, weight = np.ones(3), 0.5

    def loss(x, y, rows):
        return jnp.mean((rows @ (x + y) - 1) ** 2) / 2 + weight * jnp.sum(y**2) / 2

    y, key = jnp.zeros(3), jax.random.key(0)
    H = data.T @ data / 40
    largest = np.linalg.norm(H, 2)
    constants = bx.Constants(
        strong_convexity=weight,
        smoothness=largest + weight,
        cross_smoothness=largest,
        hessian_lipschitz=0.0,
        cross_lipschitz=0.0,
        outer_smoothness=largest + weight,
        outer_cross_smoothness=largest,
    )
    descent, options = bx.GradientDescent(0.3, 300), {"outer_batch_size": 2}
    solution = np.linalg.solve(H + weight * np.eye(3), data.T @ (1 - data @ x) / 40)
    exact = data.T @ (data @ (x + solution) - 1) / 40
    minimum = bx.MinProblem(loss, data)
    bilevel = bx.BilevelProblem(loss, loss, outer_data=data, inner_data=data)
    implicit = bx.Implicit(descent, bx.GradientDescent(0.3, 300), **options)
    for problem, estimator in (
        (minimum, bx.Analytic(descent, **options)),
        (minimum, implicit),
        (bilevel, implicit),
    ):
        h = bx.hypergradient(problem, estimator, x, y, key=key)
        error = np.linalg.norm(h.gradient - exact)
        bound = bx.error_bound(problem, estimator, x, h, constants=constants)
        assert 1e-3 < error <= bound.value < 100 * error, (estimator, error, bound)


def test_the_rounding_of_a_coarser_x():
    """With x in float32 and y in float64 the gradient is rounded as x is."""
    problem = bx.MinProblem(lambda x, y: jnp.sum((y - x) ** 2) / 2 + jnp.sum(y**2))
    x = jnp.asarray(np.random.default_rng(0).normal(size=50), jnp.float32)
    constants = bx.Constants(strong_convexity=3.0, cross_smoothness=1.0, smoothness=3.0)
    for estimator in (
        bx.Analytic(bx.GradientDescent(1 / 3, 60)),
        bx.Implicit(bx.GradientDescent(1 / 3, 60), bx.Direct()),
    ):
        h = bx.hypergradient(problem, estimator, x, jnp.zeros(50))
        error = np.linalg.norm(np.asarray(h.gradient, float) - np.asarray(x, float) * 2 / 3)
        bound = bx.error_bound(problem, estimator, x, h, constants=constants)
        assert 0 < error <= bound.value < 1e-4


@pytest.mark.parametrize("size", [4, 60])
def test_ill_conditioned_in_float32(size):
    """Near the solution, what cancels is within the product with H, which looks small."""
    random, share = np.random.default_rng(size), 0.0
    U = np.linalg.qr(random.normal(size=(size, size)))[0]
    H32 = jnp.asarray((U * np.geomspace(1e-4, 1, size)) @ U.T, jnp.float32)
    H = np.asarray(H32, float)
    smallest, *_, largest = np.linalg.eigvalsh(H)
    problem = bx.MinProblem(lambda x, y: y @ H32 @ y / 2 - x @ y)
    estimator = bx.Analytic(bx.GradientDescent(1e-30, 1))
    constants = bx.Constants(
        strong_convexity=smallest, smoothness=largest, cross_smoothness=1.0
    )
    for _ in range(20):
        x = jnp.asarray(random.normal(size=size), jnp.float32)
        solution = np.linalg.solve(H, np.asarray(x, float))
        y = jnp.asarray(solution, jnp.float32)
        h = bx.hypergradient(problem, estimator, x, y)
        bound = bx.error_bound(problem, estimator, x, h, constants=constants)
        assert np.linalg.norm(np.asarray(h.gradient, float) + solution) <= bound.value
        exact = H @ np.asarray(y, float) - np.asarray(x, float)
        off = np.linalg.norm(np.asarray(H32 @ y - x, float) - exact) / smallest
        share = max(share, off / bound.rounding)
    assert 1e-3 < share <= 1


def quadratic(H, x, y):
    return y @ H @ y / 2 - x @ y


@pytest.mark.parametrize("condition", [100.0, 1e4])
def test_implicit_at_the_solution_in_float32(condition):
    """The residual is all rounding there, and so is the right-hand side for z."""
    for seed in (11, 26, 7, 3):
        random, m = np.random.default_rng(seed), 4
        U = np.linalg.qr(random.normal(size=(m, m)))[0]
        H = np.float32((U * np.geomspace(1 / condition, 1, m)) @ U.T)
        H = np.tril(H) + np.tril(H, -1).T
        smallest, *_, largest = np.linalg.eigvalsh(H.astype(float))
        x = np.float32(random.normal(size=m))
        solution = np.linalg.solve(H.astype(float), x.astype(float))
        problem = bx.MinProblem(jax.tree_util.Partial(quadratic, H))
        constants = bx.Constants(
            strong_convexity=smallest,
            smoothness=largest,
            cross_smoothness=1.0,
            hessian_lipschitz=0.0,
            cross_lipschitz=0.0,
        )
        for estimator in (
            bx.Implicit(bx.GradientDescent(1 / largest, 1), bx.Direct()),
            bx.Unrolled(bx.GradientDescent(1 / largest, 1)),
        ):
            h = bx.hypergradient(problem, estimator, jnp.asarray(x), jnp.float32(solution))
            bound = bx.error_bound(problem, estimator, jnp.asarray(x), h, constants=constants)
            assert np.linalg.norm(np.asarray(h.gradient, float) + solution) <= bound.value


def scaled(s, x, y):
    return s * (jnp.sum((y - x) ** 2) + jnp.sum(y**2)) / 2


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_norms_neither_underflow_nor_overflow(scale):
    """In float32 squares of these sizes are zero or infinite."""
    problem = bx.MinProblem(jax.tree_util.Partial(scaled, jnp.float32(scale)))
    constants = bx.Constants(strong_convexity=2 * scale, cross_smoothness=scale)
    x = jnp.ones(3, jnp.float32)
    for estimator in (
        bx.Analytic(bx.GradientDescent(0.25 / scale, 3)),
        bx.Implicit(bx.GradientDescent(0.25 / scale, 3), bx.Direct()),
    ):
        h = bx.hypergradient(problem, estimator, x, jnp.zeros(3, jnp.float32))
        bound = bx.error_bound(problem, estimator, x, h, constants=constants)
        error = np.linalg.norm(np.asarray(h.gradient, float) - scale / 2)
        assert error <= bound.value < scale


def test_sums_that_are_read_whole():
    """More than a block's worth of rows, whose sum no part stands for."""
    random, n, m = np.random.default_rng(0), 8192, 32
    D = random.normal(size=(n, m))
    t, x = D @ np.ones(m) + random.normal(size=n), random.normal(size=m)

    def loss(x, y, rows):
        return jnp.sum((rows[0] @ y - rows[1]) ** 2) / 2 + 500 * jnp.sum((y - x) ** 2)

    problem = bx.MinProblem(loss, (jnp.asarray(D), jnp.asarray(t)))
    H = D.T @ D + 1000 * np.eye(m)
    exact = 1000 * (x - np.linalg.solve(H, D.T @ t + 1000 * x))
    smallest, *_, largest = np.linalg.eigvalsh(H)
    constants = bx.Constants(strong_convexity=smallest, cross_smoothness=1000.0)
    whole = bx.FullBatch(None)
    inner = bx.GradientDescent(0.3 / largest, 3, batch_size=whole)
    estimator = bx.Analytic(inner, outer_batch_size=whole)
    h = bx.hypergradient(problem, estimator, x, np.zeros(m))
    bound = bx.error_bound(problem, estimator, x, h, constants=constants)
    assert np.linalg.norm(h.gradient - exact) <= bound.value


def test_what_is_not_known_makes_it_infinite():
    loss, x = paper("ridge", 29)
    estimator = bx.Analytic(bx.GradientDescent(0.1, 5))
    h = bx.hypergradient(loss.problem, estimator, x, loss.y0)
    for constants, words in (
        (bx.Constants(), "strong_convexity, cross_smoothness"),
        (bx.Constants(strong_convexity=1.0), "cross_smoothness"),
        (bx.Constants(strong_convexity=0.0, cross_smoothness=1.0), "positive strong_conv"),
    ):
        bound = bx.error_bound(loss.problem, estimator, x, h, constants=constants)
        assert bound.value == np.inf and words in bound.reason
    plain = bx.MinProblem(lambda x, y: jnp.sum((y - x) ** 2))
    h = bx.hypergradient(plain, estimator, x, x)
    assert "not known" in bx.error_bound(plain, estimator, x, h).reason
    C, x, b = clouds()
    transport = bx.problems.EntropicTransport(C, b, 0.1)
    estimator = bx.Analytic(bx.Sinkhorn(5))
    h = bx.hypergradient(transport.problem, estimator, x, transport.y0())
    assert "strong_convexity" in bx.error_bound(transport.problem, estimator, x, h).reason


def test_a_hypergradient_of_something_else():
    loss, x = paper("ridge", 29)
    descent = bx.GradientDescent(0.1, 5)
    h = bx.hypergradient(loss.problem, bx.Analytic(descent), x, loss.y0)
    with pytest.raises(ValueError, match="h has no adjoint"):
        bx.error_bound(loss.problem, bx.Implicit(descent, bx.Direct()), x, h)
    wrong: Any = h.gradient
    with pytest.raises(Exception, match=r"h must be|type"):
        bx.error_bound(loss.problem, bx.Analytic(descent), x, wrong)


def test_estimators_without_a_bound_say_why():
    q = bx.problems.quadratic(4, 3, inner_condition=2.0)
    x, y = jnp.ones(4), jnp.zeros(3)
    for estimator, words in (
        (bx.Analytic(bx.GradientDescent(0.1, 5)), "elsewhere it is biased"),
        (bx.Unrolled(bx.GradientDescent(0.1, 5)), "use bx.Implicit"),
    ):
        h = bx.hypergradient(q.problem, estimator, x, y)
        bound = bx.error_bound(q.problem, estimator, x, h)
        assert bound.value == np.inf and words in bound.reason
    fixed = q.problem.as_fixed_point(0.5)
    estimator = bx.Implicit(bx.FixedPointIteration(5), bx.FixedPointIteration(5))
    h = bx.hypergradient(fixed, estimator, x, y)
    assert "inner level minimises" in bx.error_bound(fixed, estimator, x, h).reason


def solved_exactly(H, b):
    """The solution of the system of these very floats, in fractions."""
    rows = [[Fraction(float(v)) for v in (*h, c)] for h, c in zip(H, b, strict=True)]
    for i, pivot in enumerate(rows):
        rows[i] = pivot = [v / pivot[i] for v in pivot]
        for j, row in enumerate(rows):
            if j != i:
                rows[j] = [u - row[i] * v for u, v in zip(row, pivot, strict=True)]
    return [row[-1] for row in rows]


def test_an_ill_conditioned_hessian_of_unknown_smoothness():
    """Hilbert's, of order 7: near the solution all is rounding, |H| |y| beside |H y|."""
    H, random = 1 / (1 + np.add.outer(np.arange(7), np.arange(7))), np.random.default_rng(0)
    problem = bx.MinProblem(lambda x, y: y @ H @ y / 2 - x @ y)
    known = {"strong_convexity": 0.999 * np.linalg.eigvalsh(H)[0], "cross_smoothness": 1.0}
    known |= {"hessian_lipschitz": 0.0, "cross_lipschitz": 0.0}
    inner, ratios = bx.GradientDescent(0.5, 1), []
    for trial in range(20):
        x = random.normal(size=7) if trial % 2 else H @ random.normal(size=7)
        exact = solved_exactly(H, x)
        start = [
            float(v) * (1 + random.normal() * 10 ** random.uniform(-17, -2)) for v in exact
        ]
        for estimator in (bx.Unrolled(inner), bx.Implicit(inner, bx.Direct())):
            h = bx.hypergradient(problem, estimator, jnp.asarray(x), jnp.asarray(start))
            off = [Fraction(float(g)) + v for g, v in zip(h.gradient, exact, strict=True)]
            bound = bx.error_bound(problem, estimator, x, h, constants=bx.Constants(**known))
            ratios.append(np.linalg.norm(np.array(off, float)) / bound.value)
    assert min(ratios) > 1e-9 and max(ratios) <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", ["minimum", "bilevel"])
def test_what_cancels_within_a_gradient(level, dtype):
    """s is in neither gradient's size: y - x = (y + s) - (x + s)."""
    x = np.random.default_rng(0).normal(size=3).astype(dtype)
    constants = bx.Constants(
        strong_convexity=1.0,
        smoothness=1.0,
        cross_smoothness=1.0,
        hessian_lipschitz=0.0,
        cross_lipschitz=0.0,
        outer_smoothness=1.0,
        outer_cross_smoothness=1.0,
    )
    # The shift is an argument, lest the compiler cancels it.
    shifted = lambda x, y, s: jnp.sum((y + s) ** 2) / 2 - jnp.sum((x + s) * y)
    outer = lambda x, y, s: shifted(0 * x, y, s)
    plain = lambda x, y: jnp.sum((y - x) ** 2) / 2
    inner = bx.GradientDescent(1.0, 3)
    implicit = bx.Implicit(inner, bx.Direct())
    estimators = [implicit] if level == "bilevel" else [implicit, bx.Analytic(inner)]
    eps = np.finfo(dtype).eps
    for size in (1.0, 1e-3 * eps ** (-2 / 3), 0.1 * eps ** (-2 / 3), 100 * eps ** (-2 / 3)):
        s, exact = np.full(1, size, dtype), -x.astype(float)
        problem = bx.MinProblem(shifted, s)
        if level == "bilevel":
            problem, exact = bx.BilevelProblem(outer, plain, outer_data=s), -exact
        for estimator in estimators:
            h = bx.hypergradient(problem, estimator, x, jnp.zeros(3, dtype))
            bound = bx.error_bound(problem, estimator, x, h, constants=constants)
            if size > 1 / eps ** (2 / 3):
                assert level == "bilevel" or "does not change where y does" in bound.reason
                continue
            error = np.linalg.norm(np.asarray(h.gradient, float) - exact)
            assert error <= bound.value < 100 * eps * max(size, 10)
