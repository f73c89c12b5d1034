"""Measured curvature, and the steps that default to it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from bilevax._run import diagnosis
from cases import CASES


def spectrum(eigenvalues, seed=0, dtype=np.float64):
    eigenvalues = np.asarray(eigenvalues, float)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    H = jnp.asarray((Q * eigenvalues) @ Q.T, dtype)
    return bx.BilevelProblem(total, jax.tree_util.Partial(quadratic, H))


def total(x, y):
    return jnp.sum(y)


def quadratic(H, x, y):
    return y @ H @ y / 2 + x * y[0]


def measure(problem, size, **kwargs):
    return bx.curvature(problem, jnp.asarray(0.0), jnp.zeros(size), **kwargs)


@pytest.mark.parametrize("eigenvalues", [[1, 2, 3, 9], [-2, 1, 4], [5.0], [2, 2, 2], [0, 0, 1]])
def test_small_spectra_are_found_whole(eigenvalues):
    c = measure(spectrum(eigenvalues), len(eigenvalues))
    assert float(c.smoothness) == pytest.approx(max(eigenvalues), rel=1e-10)
    assert float(c.strong_convexity) == pytest.approx(min(eigenvalues), rel=1e-9, abs=1e-12)
    assert max(map(float, c.residuals)) < 1e-8
    assert c.cost.hvp == len(eigenvalues) and not c.strong_convexity_is_bound


@pytest.mark.parametrize("seed", range(5))
def test_large_spectra_are_bracketed_from_the_side_that_is_promised(seed):
    eigenvalues = np.concatenate([np.geomspace(1e-4, 1, 300)])
    c = measure(spectrum(eigenvalues, seed), 300, key=jax.random.key(seed))
    ritz = float(c.smoothness - c.residuals[0])
    assert ritz <= 1 + 1e-12 <= float(c.smoothness) + 2e-3
    assert float(c.smoothness) == pytest.approx(1, rel=0.02)
    assert float(c.strong_convexity) >= 1e-4 - 1e-12  # an overestimate, as it says
    known = measure(spectrum(eigenvalues, seed), 300, strong_convexity=1e-4)
    assert (
        float(known.strong_convexity) == pytest.approx(1e-4) and known.strong_convexity_is_bound
    )


def test_on_nested_pytrees_and_under_jit_and_vmap():
    case = CASES["nested"]()
    from jax.flatten_util import ravel_pytree

    flat, unravel = ravel_pytree(case.y)
    F = lambda v: ravel_pytree(case.residual(case.x, unravel(v)))[0]
    eigenvalues = np.linalg.eigvalsh(np.asarray(jax.jit(jax.jacfwd(F))(flat)))
    c = jax.jit(lambda y: bx.curvature(case.problem, case.x, y))(case.y)
    np.testing.assert_allclose(
        [c.strong_convexity, c.smoothness], eigenvalues[[0, -1]], rtol=1e-9
    )
    problem = spectrum([1, 2, 3])
    ys = jnp.ones((2, 3))
    together = jax.vmap(lambda y: bx.curvature(problem, jnp.asarray(0.0), y).smoothness)(ys)
    np.testing.assert_allclose(together, 3.0, rtol=1e-10)


def test_contraction_of_maps():
    case = CASES["fixed_point"]()
    from_map = lambda y: y - case.residual(case.x, y)
    jacobian = np.asarray(jax.jacfwd(from_map)(case.y))
    c = bx.curvature(case.problem, case.x, case.y)
    q = np.linalg.norm(jacobian, 2)
    assert float(c.contraction) == pytest.approx(q, rel=1e-6)
    assert float(c.smoothness) == pytest.approx(1 + q, rel=1e-6)
    assert float(c.strong_convexity) == pytest.approx(1 - q, rel=1e-6)
    quadratic = spectrum([0.5, 1.0, 3.0]).as_fixed_point(0.5)
    c = bx.curvature(quadratic, jnp.asarray(0.0), jnp.ones(3))
    assert float(c.contraction) == pytest.approx(0.75, rel=1e-9)  # |1 - 0.5 * 0.5|


def test_missing_steps_are_one_over_smoothness():
    problem = spectrum([0.5, 1.0, 4.0])
    x, y = jnp.asarray(1.0), jnp.ones(3)
    for missing, given in (
        (bx.GradientDescent(num_steps=3), bx.GradientDescent(0.25, 3)),
        (
            bx.AcceleratedGradientDescent(num_steps=3, strong_convexity=0.5),
            bx.AcceleratedGradientDescent(0.25, 3, strong_convexity=0.5),
        ),
    ):
        for linear in (
            (bx.Neumann(num_steps=3), bx.Neumann(step_size=0.25, num_steps=3)),
            (missing, given),
        ):
            h = bx.hypergradient(problem, bx.Implicit(missing, linear[0]), x, y)
            expected = bx.hypergradient(problem, bx.Implicit(given, linear[1]), x, y)
            np.testing.assert_allclose(h.gradient, expected.gradient, rtol=1e-10)
            # Measuring is counted: three products at three points, two steps between.
            assert h.cost.hvp == expected.cost.hvp + 9
            assert h.cost.inner_gradient == expected.cost.inner_gradient + 2


# Of the others each has an inner and an adjoint solver that one of these has.
PRESETS = ["amigo_gd", "aid_cg_ws", "aid_fp", "aid_n", "itd", "ba"]
OTHERS = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("amigo_cg", "aid_gd", "aid_cg", "reverse")
]


@pytest.mark.parametrize("name", [*PRESETS, *OTHERS])
def test_presets_need_an_outer_step_only(name):
    q = bx.problems.quadratic(6, 5, inner_condition=4.0, coupling=0.1)
    algorithm = getattr(bx.algorithms, name)(outer_step_size=0.1)
    s = bx.minimize(q.problem, algorithm, jnp.ones(6), jnp.ones(5), num_steps=300)
    assert s.result == bx.Result.successful
    assert float(q.gap(s.x) / q.gap(jnp.ones(6))) < 0.2
    with pytest.raises(TypeError, match="outer_step_size"):
        getattr(bx.algorithms, name)()


def test_a_hessian_that_is_flat_at_the_start():
    """g = (y - 1)^2 / 2 + y^4 / 4: 1 / smoothness at y = 0 would not converge."""
    loss = lambda x, y: (y - x) ** 2 / 2 + y**4 / 4
    naive = 1 / bx.curvature(bx.MinProblem(loss), 1.0, 0.0).smoothness
    y = bx.hypergradient(
        bx.MinProblem(loss), bx.Analytic(bx.GradientDescent(naive, 500)), 1.0, 0.0
    ).y
    assert abs(float(y + y**3 - 1)) > 0.1
    y = bx.argmin(loss, 0.0, bx.GradientDescent(num_steps=100))(1.0)
    assert abs(float(y + y**3 - 1)) < 1e-10


def test_a_fixed_point_map_is_iterated_with_step_one():
    case = CASES["fixed_point"]()
    h = bx.hypergradient(
        case.problem, bx.Implicit(bx.GradientDescent(num_steps=4), bx.Direct()), case.x, case.y
    )
    expected = bx.hypergradient(
        case.problem, bx.Implicit(bx.FixedPointIteration(4), bx.Direct()), case.x, case.y
    )
    np.testing.assert_allclose(h.y, expected.y, rtol=1e-13)


@functools.cache
def stiffening():
    """The Hessian 1 + exp(x) grows as x moves."""
    # f's gradient in y is bounded: y may diverge, and x still moves on slowly.
    outer = lambda x, y: jnp.sum(jnp.tanh(y)) - x
    inner = lambda x, y: (1 + jnp.exp(x)) * jnp.sum(y**2) / 2 - jnp.sum(y)
    return bx.BilevelProblem(outer, inner)


def test_measuring_again_when_told_to_and_resume():
    algorithm = bx.algorithms.amigo_cg(outer_step_size=0.1)
    start = jnp.asarray(0.0), jnp.zeros(2)
    run = lambda n, **kw: bx.minimize(
        stiffening(), algorithm, *start, num_steps=n, measure_every=5, **kw
    )
    given = bx.algorithms.amigo_cg(outer_step_size=0.1, inner_step_size=0.5)
    with pytest.warns(UserWarning, match="curvature grows where x goes|above 2 / smoothness"):
        fixed = bx.minimize(stiffening(), given, *start, num_steps=1000)
    assert fixed.result == bx.Result.inner_diverged
    assert float(jnp.max(jnp.abs(fixed.y))) < 1
    whole = run(60)
    assert whole.result == bx.Result.successful
    # Followed to the last x at which the hypergradient was estimated, from above.
    exact = 1 / (1 + np.exp(float(run(59).x)))
    for solution in (whole, bx.minimize(stiffening(), algorithm, *start, num_steps=60)):
        assert 0.8 * exact < float(solution.state.step_size) < 1.25 * exact
    rest = run(37, state=run(23).state)
    assert float(rest.x) == float(whole.x) and rest.cost == whole.cost


def test_measured_steps_do_not_recompile():
    traces = []

    def inner(x, y, batch):
        traces.append(1)
        return jnp.mean((batch @ y - x) ** 2)

    rng = np.random.default_rng(0)
    algorithm = bx.algorithms.amigo_cg(outer_step_size=0.1)
    outer = lambda x, y: jnp.sum(y**2)
    problem = lambda: bx.BilevelProblem(outer, inner, inner_data=rng.random((9, 3)))
    run = lambda: bx.minimize(problem(), algorithm, jnp.asarray(0.3), jnp.ones(3), num_steps=3)
    run()
    first = len(traces)
    run()
    assert len(traces) == first


def test_a_map_that_expands_is_told():
    problem = bx.FixedPointProblem(lambda x, y: jnp.tanh(y), lambda x, y: 3.0 * y + x)
    algorithm = bx.Algorithm(bx.Implicit(bx.FixedPointIteration(400), bx.Direct()), 0.1)
    with pytest.warns(UserWarning, match="does not contract here: .* about 3"):
        s = bx.minimize(problem, algorithm, jnp.asarray(1.0), jnp.asarray(1.0), num_steps=10)
    assert s.result == bx.Result.inner_diverged


def test_steps_can_be_checked_before_a_run():
    problem = spectrum([0.5, 1.0, 4.0])
    where = jnp.asarray(0.0), jnp.zeros(3)
    safe = bx.algorithms.amigo_gd(
        outer_step_size=9.0, inner_step_size=0.49, adjoint_step_size=0.1
    )
    assert float(bx.check_steps(problem, safe, *where).smoothness) == pytest.approx(4)
    for step in ({"inner_step_size": 0.51}, {"adjoint_step_size": 0.51}):
        unsafe = bx.algorithms.amigo_gd(outer_step_size=9.0, **step)
        with pytest.warns(UserWarning, match=r"A step of 0.51 .* above 2 / smoothness = 0.5,"):
            bx.check_steps(problem, unsafe, *where)
    with pytest.warns(UserWarning, match="does not contract here: .* about 1.2"):
        bx.check_steps(problem.as_fixed_point(0.55), bx.FixedPointIteration(3), *where)


def test_no_step_is_too_long_without_curvature():
    problem = bx.BilevelProblem(lambda x, y: y @ y, lambda x, y: x * jnp.sum(y))
    found = bx.check_steps(problem, bx.GradientDescent(1e9, 3), jnp.asarray(1.0), jnp.ones(3))
    assert float(found.smoothness) == 0


def test_what_numpy_warns_of_while_it_measures_is_no_explanation(monkeypatch):
    def noisy(*where, **options):
        np.subtract(np.inf, np.inf)
        return bx.curvature(*where, **options)

    monkeypatch.setattr(diagnosis, "curvature", noisy)
    method = bx.algorithms.amigo_gd(outer_step_size=9.0, inner_step_size=0.51)
    with pytest.warns(UserWarning) as caught:
        diagnosis.explain(spectrum([1.0, 4.0]), method, None, jnp.asarray(0.0), jnp.zeros(2))
    assert [str(one.message)[:14] for one in caught] == ["A step of 0.51"]


@pytest.mark.parametrize("scale", [1e-19, 1e20])
def test_lanczos_at_the_ends_of_float32(scale, x32):
    eigenvalues = np.concatenate([np.full(59, 0.01), [10.0]]) * scale
    c = bx.curvature(spectrum(eigenvalues, dtype=np.float32), jnp.asarray(0.0), jnp.zeros(60))
    assert float(c.smoothness) == pytest.approx(10 * scale, rel=1e-3)


def huber(x, y):
    return jnp.where(jnp.abs(y - x) < 1, (y - x) ** 2 / 2, jnp.abs(y - x) - 0.5)


@pytest.mark.parametrize(
    ("loss", "start", "minimiser"),
    [
        (lambda x, y: (y - x) ** 4, 1.0, 1.0),
        (lambda x, y: -jnp.cos(y - x), 3.0, 1.0),
        (huber, 5.0, 1.0),
    ],
)
def test_steps_where_there_is_no_or_negative_curvature(loss, start, minimiser):
    estimator = bx.Analytic(bx.GradientDescent(num_steps=60))
    h = bx.hypergradient(bx.MinProblem(loss), estimator, 1.0, start)
    assert h.result == bx.Result.successful
    assert float(h.y) == pytest.approx(minimiser, abs=1e-6)
