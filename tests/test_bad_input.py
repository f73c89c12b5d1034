"""Faulty input: an error, or a result, whose text names the cause and the remedy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx

ESTIMATOR = bx.Implicit(bx.GradientDescent(0.1, 2), bx.CG(2))
ALGORITHM = bx.Algorithm(ESTIMATOR, 0.1)

good_outer = lambda x, y: jnp.sum(y**2)
good_inner = lambda x, y: jnp.sum((y - x) ** 2)


def bilevel(outer=good_outer, inner=good_inner, **kwargs):
    return bx.BilevelProblem(outer, inner, **kwargs)


def run(problem, x=None, y=None, algorithm=ALGORITHM, **kwargs):
    x = jnp.ones(3) if x is None else x
    y = jnp.ones(3) if y is None else y
    return bx.minimize(problem, algorithm, x, y, num_steps=2, **kwargs)


DATA = jnp.ones((4, 3))

CALLS = {
    "outer without batch": (
        lambda: run(bilevel(outer=lambda x, y: jnp.sum(y), outer_data=DATA)),
        TypeError,
        r"outer will be called as outer\(x, y, batch\), because outer_data was given",
    ),
    "inner with batch": (
        lambda: run(bilevel(inner=lambda x, y, batch: jnp.sum(y**2))),
        TypeError,
        r"inner will be called as inner\(x, y\), because there is no inner_data",
    ),
    "not a function": (lambda: run(bilevel(outer=3.0)), TypeError, "outer must be a function"),
    "vector outer": (
        lambda: run(bilevel(outer=lambda x, y: y**2)),
        ValueError,
        "outer must return one real number.*take their mean",
    ),
    "vector inner": (
        lambda: run(bilevel(inner=lambda x, y: (y - x) ** 2)),
        ValueError,
        "inner must return one real number",
    ),
    "complex outer": (
        lambda: run(bilevel(outer=lambda x, y: jnp.sum(y + 0j))),
        ValueError,
        "outer must return one real number.*complex",
    ),
    "none": (lambda: run(bilevel(outer=lambda x, y: None)), ValueError, "NoneType"),
    "map structure": (
        lambda: run(bx.FixedPointProblem(good_outer, lambda x, y: (y, y))),
        ValueError,
        "fixed_point must return something of y's structure",
    ),
    "map shape": (
        lambda: run(bx.FixedPointProblem(good_outer, lambda x, y: y[:2])),
        ValueError,
        r"fixed_point must return y's shapes.*\[2\].*\[3\]",
    ),
    "map dtype": (
        lambda: run(bx.FixedPointProblem(good_outer, lambda x, y: y.astype(jnp.float32))),
        ValueError,
        "float32.*float64",
    ),
    "shapes inside": (
        lambda: run(bilevel(inner=lambda x, y: jnp.sum((y - x) ** 2)), x=jnp.ones(2)),
        TypeError,
        "inner\\(x, y\\), called with x = float64\\[2\\], y = float64\\[3\\]",
    ),
    "integer x": (
        lambda: run(bilevel(), x=jnp.arange(3)),
        TypeError,
        "x0 has dtype int64: x0 must be float32 or float64",
    ),
    "integer y": (
        lambda: run(bilevel(), y=jnp.arange(3)),
        TypeError,
        "y0 has dtype int64.*jnp.asarray",
    ),
    "mixed x": (
        lambda: run(bilevel(), x={"a": jnp.ones(3), "b": jnp.ones(3, jnp.float32)}),
        TypeError,
        "x0 mixes the dtypes float32 and float64",
    ),
    "no x": (lambda: bx.minimize(bilevel(), ALGORITHM), ValueError, "x0 has no arrays"),
    "text x": (lambda: run(bilevel(), x="start"), TypeError, "x0 is 'start'"),
    "nan x": (
        lambda: run(bilevel(), x=jnp.array([1.0, jnp.nan, 0.0])),
        ValueError,
        "x0 contains NaN",
    ),
    "nan y": (lambda: run(bilevel(), y=jnp.full(3, jnp.inf)), ValueError, "y0 contains NaN"),
    "nan data": (
        lambda: run(
            bilevel(
                inner=lambda x, y, b: jnp.mean((b["a"] @ y) ** 2),
                inner_data={"a": DATA.at[2, 1].set(jnp.nan)},
            )
        ),
        ValueError,
        r"inner_data\['a'\] contains NaN or infinite values. Clean or impute",
    ),
    "batch of more rows than there are": (
        lambda: run(
            bilevel(inner=lambda x, y, b: jnp.mean((y - b - x) ** 2), inner_data=DATA),
            algorithm=bx.algorithms.sid(outer_step_size=0.1, inner_step_size=1, batch_size=5),
            key=jax.random.key(0),
        ),
        ValueError,
        "batch_size=5 draws more rows than the 4 there are.*None for all rows",
    ),
    "empty data": (
        lambda: run(
            bilevel(outer=lambda x, y, b: jnp.mean(b @ y), outer_data=jnp.ones((0, 3)))
        ),
        ValueError,
        r"outer_data is empty: it has shape \(0, 3\)",
    ),
    "ragged data": (
        lambda: run(
            bilevel(
                outer=lambda x, y, b: jnp.mean(b[0] @ y) + jnp.mean(b[1]),
                outer_data=(DATA, jnp.ones(5)),
            )
        ),
        ValueError,
        r"same number of rows; outer_data\[0\] has 4, outer_data\[1\] has 5",
    ),
    "scalar data": (
        lambda: run(bilevel(outer=lambda x, y, b: jnp.mean(b * y), outer_data=2.0)),
        ValueError,
        "outer_data is a scalar: data need a leading axis of rows",
    ),
    "batches without data": (
        lambda: run(
            bilevel(),
            algorithm=bx.Algorithm(
                bx.Implicit(bx.GradientDescent(0.1, 2, batch_size=5), bx.CG(2)), 0.1
            ),
            key=jax.random.key(0),
        ),
        ValueError,
        "batch_size=5 was given for a level without data",
    ),
    "no key": (
        lambda: run(
            bilevel(inner=lambda x, y, b: jnp.mean((b @ y - x[0]) ** 2), inner_data=DATA),
            algorithm=bx.Algorithm(
                bx.Implicit(bx.GradientDescent(0.1, 2, batch_size=2), bx.CG(2)), 0.1
            ),
        ),
        ValueError,
        "draws random rows: pass a key",
    ),
    "adjoint structure": (
        lambda: run(bilevel(), adjoint0=jnp.ones(2)),
        ValueError,
        "adjoint0 must have the structure",
    ),
    "T = 0": (lambda: bx.GradientDescent(0.1, 0), ValueError, "num_steps must be at least 1"),
    "N = 0": (lambda: bx.CG(0), ValueError, "num_steps must be at least 1"),
    "N = -1": (
        lambda: bx.Neumann(step_size=0.1, num_steps=-1),
        ValueError,
        "num_steps must be at least 1",
    ),
    "T = 1.5": (lambda: bx.FixedPointIteration(1.5), TypeError, "num_steps must be an int"),
    "outer steps": (
        lambda: bx.minimize(bilevel(), ALGORITHM, jnp.ones(3), jnp.ones(3), num_steps=0),
        ValueError,
        "num_steps must be at least 1",
    ),
    "record_every": (
        lambda: run(bilevel(), record_every=0),
        ValueError,
        "record_every must be at least 1",
    ),
    "negative step": (
        lambda: bx.GradientDescent(-0.1, 3),
        ValueError,
        "step_size must be positive and finite, got -0.1: take one below 2",
    ),
    "nan step": (lambda: bx.GradientDescent(np.nan, 3), ValueError, "must be positive and"),
    "text step": (
        lambda: bx.GradientDescent("fast", 3),
        TypeError,
        "step_size must be a number",
    ),
    "vector step": (lambda: bx.GradientDescent(np.ones(2), 3), ValueError, "is a scalar"),
    "batch size": (
        lambda: bx.GradientDescent(0.1, 3, batch_size=0),
        ValueError,
        "batch_size must be at least 1",
    ),
    "batch type": (
        lambda: bx.GradientDescent(0.1, 3, batch_size="all"),
        TypeError,
        "batch_size must be None",
    ),
    "preset batch name": (
        lambda: bx.algorithms.amigo_cg(
            outer_step_size=1.0, inner_step_size=1.0, outer_batchsize=3
        ),
        TypeError,
        "Unknown argument 'outer_batchsize': this preset's batch sizes are batch_size",
    ),
    "cg on a non-symmetric map": (
        lambda: run(bx.FixedPointProblem(good_outer, lambda x, y: 0.5 * y[::-1] + x)),
        TypeError,
        "CG needs a symmetric adjoint system.*symmetric=True",
    ),
    "cg as inner": (
        lambda: run(
            bx.FixedPointProblem(good_outer, lambda x, y: 0.5 * y[::-1] + x),
            algorithm=bx.Algorithm(bx.Implicit(bx.CG(2), bx.Direct()), 0.1),
        ),
        TypeError,
        "for linear equations, and the inner problem",
    ),
    "fixed point without a map": (
        lambda: run(
            bilevel(),
            algorithm=bx.Algorithm(bx.Implicit(bx.FixedPointIteration(2), bx.CG(2)), 0.1),
        ),
        TypeError,
        "problem has none: pass `update=`, use `problem.as_fixed_point",
    ),
    "adjoint fixed point without a map": (
        lambda: run(
            bilevel(),
            algorithm=bx.Algorithm(
                bx.Implicit(bx.GradientDescent(0.1, 2), bx.FixedPointIteration(2)), 0.1
            ),
        ),
        TypeError,
        "needs a FixedPointProblem",
    ),
    "estimator for algorithm": (
        lambda: bx.minimize(bilevel(), ESTIMATOR, jnp.ones(3), jnp.ones(3)),
        TypeError,
        "algorithm must be a bx.Algorithm",
    ),
    "algorithm for estimator": (
        lambda: bx.hypergradient(bilevel(), ALGORITHM, jnp.ones(3), jnp.ones(3)),
        TypeError,
        "An estimator of hypergradients is expected",
    ),
    "no problem": (
        lambda: bx.hypergradient(good_outer, ESTIMATOR, jnp.ones(3), jnp.ones(3)),
        TypeError,
        "problem must be one, such as",
    ),
    "number for solver": (
        lambda: bx.Implicit(0.1, bx.CG(3)),
        TypeError,
        "inner must be a solver",
    ),
    "number for estimator": (
        lambda: bx.Algorithm(0.1, 0.1),
        TypeError,
        "hypergradient must be an estimator",
    ),
    "integer key": (
        lambda: run(bilevel(), key=0),
        TypeError,
        r"key must be a JAX key, as in jax.random.key\(0\)",
    ),
    "solution for state": (
        lambda: run(bilevel(), state=run(bilevel())),
        TypeError,
        "solution.state",
    ),
    "half precision": (
        lambda: run(bilevel(), x=jnp.ones(3, jnp.bfloat16)),
        TypeError,
        "must be float32 or float64",
    ),
    "negative JAX step": (
        lambda: bx.GradientDescent(jnp.float32(-0.1), 3),
        ValueError,
        "must be positive",
    ),
    "negative tolerance": (
        lambda: bx.CG(3, tol=-1.0),
        ValueError,
        "tol must be finite and at least 0",
    ),
    "fractional steps": (
        lambda: run(
            bilevel(),
            algorithm=bx.algorithms.amigo_cg(
                outer_step_size=0.1, inner_step_size=0.1, inner_steps=lambda k: 1.5 * k
            ),
        ),
        TypeError,
        r"num_steps\(k\) must return an integer",
    ),
    "nested metrics": (
        lambda: run(bilevel(), metrics=lambda x, y: {"a": {"b": x}}),
        ValueError,
        "must return a dict of numbers or arrays",
    ),
    "metrics": (
        lambda: run(bilevel(), metrics=lambda x, y: {"value": x}),
        ValueError,
        "not columns of the history",
    ),
    "metrics type": (
        lambda: run(bilevel(), metrics=lambda x, y: x),
        ValueError,
        "must return a dict",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_faulty_call_raises_and_says_what_to_do(name):
    call, error, message = CALLS[name]
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert re.search(message, text, re.DOTALL), text


def total(x, y):
    return jnp.sum(y)


def quadratic(H, x, y):
    return y @ H @ y / 2 + x @ y


INDEFINITE = np.diag([2.0, 1.0, -0.5])
SINGULAR = np.diag([2.0, 1.0, 0.0])


@pytest.mark.parametrize("linear", [bx.CG(20), bx.Direct()], ids=["cg", "direct"])
@pytest.mark.parametrize(
    ("matrix", "result"), [(INDEFINITE, "indefinite"), (SINGULAR, "singular")]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_indefinite_and_singular_hessians_are_told(linear, matrix, result, dtype):
    # Rotated, so that neither zeros nor signs can be seen in the entries.
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    H = jnp.asarray(rotation @ matrix @ rotation.T, dtype)
    problem = bilevel(outer=total, inner=jax.tree_util.Partial(quadratic, H))
    estimator = bx.Implicit(bx.GradientDescent(0.1, 1), linear)
    start = jnp.ones(3, dtype)
    h = bx.hypergradient(problem, estimator, start, start)
    assert h.result == getattr(bx.Result, result)
    remedy = {"indefinite": "strongly convex", "singular": "gauge="}[result]
    assert remedy in bx.Result[h.result]
    s = bx.minimize(problem, bx.Algorithm(estimator, 0.1), start, start, num_steps=5)
    assert s.result == getattr(bx.Result, result)
    assert bool(jnp.all(jnp.isfinite(s.x)))


def test_cg_needs_no_step_on_a_consistent_singular_system():
    problem = bilevel(
        outer=lambda x, y: y[0] + 2 * y[1],
        inner=lambda x, y: y[0] ** 2 + y[1] ** 2 / 2 + x @ y[:2],
    )
    estimator = bx.Implicit(bx.GradientDescent(0.1, 1), bx.CG(10))
    h = bx.hypergradient(problem, estimator, jnp.ones(2), jnp.ones(3))
    assert h.result == bx.Result.successful
    np.testing.assert_allclose(h.adjoint, [-0.5, -2.0, 0.0], rtol=1e-12)


def test_ill_conditioned_is_not_singular():
    scales = 10.0 ** -np.arange(8)
    problem = bilevel(
        outer=lambda x, y: jnp.sum(y), inner=lambda x, y: jnp.sum(scales * y**2) / 2 + x @ y
    )
    start = jnp.ones(8)
    for linear, rtol in ((bx.CG(60), 1e-6), (bx.Direct(), 1e-9)):
        h = bx.hypergradient(
            problem, bx.Implicit(bx.GradientDescent(0.1, 1), linear), start, start
        )
        assert h.result == bx.Result.successful
        np.testing.assert_allclose(h.adjoint, -1 / scales, rtol=rtol)


def mean_square(A, x, y):
    return jnp.mean((A @ y - x) ** 2) / 2 + jnp.mean((x - 1) ** 2)


@pytest.mark.parametrize("seed", range(6))
def test_cg_does_not_blame_a_system_that_it_has_solved(seed):
    """Consistent but singular: more steps than there are directions to solve in."""
    rng = np.random.default_rng(seed)
    A = jnp.asarray(rng.standard_normal((5, 10)), jnp.float32)
    loss = jax.tree_util.Partial(mean_square, A)
    step = 0.9 * 5 / np.linalg.norm(A, 2) ** 2
    a = bx.algorithms.amigo_cg(inner_step_size=step, outer_step_size=0.5)
    start = jnp.zeros(5, jnp.float32), jnp.zeros(10, jnp.float32)
    s = bx.minimize(bx.MinProblem(loss), a, *start, num_steps=200)
    assert s.result == bx.Result.successful


@pytest.mark.optimised
@pytest.mark.parametrize("linear", [bx.CG(10), bx.Direct()], ids=["cg", "direct"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_stiff_coordinate_is_not_singular(linear, dtype):
    stiff = 1e8 if dtype == np.float32 else 1e17
    scales = jnp.array([stiff, 1.0, 2.0], dtype)
    problem = bilevel(
        outer=lambda x, y: jnp.sum(y), inner=lambda x, y: jnp.sum(scales * y**2) / 2 + x @ y
    )
    start = jnp.ones(3, dtype)
    h = bx.hypergradient(
        problem, bx.Implicit(bx.GradientDescent(1e-9, 1), linear), start, start
    )
    assert h.result == bx.Result.successful
    np.testing.assert_allclose(h.adjoint, -1 / scales, rtol=1e-5)


def along(b, x, y):
    return b @ y


def two_scales(x, y):
    return y[0] ** 2 + y @ y / 2


@pytest.mark.parametrize("scale", [1e-25, 1e-17, 1.0, 1e20])
@pytest.mark.parametrize("linear", [bx.CG(5), bx.Direct()], ids=["cg", "direct"])
def test_the_scale_of_the_right_hand_side_does_not_matter(scale, linear):
    b = jnp.full(2, scale, jnp.float32)
    problem = bilevel(outer=jax.tree_util.Partial(along, b), inner=two_scales)
    start = jnp.ones(2, jnp.float32)
    h = bx.hypergradient(problem, bx.Implicit(bx.GradientDescent(0.1, 1), linear), start, start)
    assert h.result == bx.Result.successful
    np.testing.assert_allclose(h.adjoint / scale, [-1 / 3, -1.0], rtol=1e-5)


def test_direct_keeps_solutions_with_digits_left():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((400, 400)))[0]
    eigenvalues = np.ones(400)
    eigenvalues[-1] = 1e-5
    H = jnp.asarray((Q * eigenvalues) @ Q.T, jnp.float32)
    b = jnp.asarray(Q[:, -1], jnp.float32)
    problem = bilevel(outer=lambda x, y: b @ y, inner=lambda x, y: y @ H @ y / 2)
    start = jnp.ones(400, jnp.float32)
    h = bx.hypergradient(
        problem, bx.Implicit(bx.GradientDescent(0.1, 1), bx.Direct()), start, start
    )
    assert h.result == bx.Result.successful


def test_a_gradient_of_f_that_is_not_finite_is_blamed_on_f():
    problem = bilevel(outer=lambda x, y: jnp.linalg.norm(y))
    for linear in (bx.CG(3), bx.Direct(), bx.Neumann(step_size=0.1, num_steps=3)):
        estimator = bx.Implicit(bx.GradientDescent(0.1, 3), linear)
        h = bx.hypergradient(problem, estimator, jnp.zeros(3), jnp.zeros(3))
        assert h.result == bx.Result.outer_nonfinite


def test_a_zero_right_hand_side_gives_a_zero_adjoint():
    problem = bilevel(outer=lambda x, y: jnp.sum(x**2))
    for linear in (
        bx.CG(5),
        bx.Direct(),
        bx.Neumann(step_size=0.1, num_steps=5),
        bx.GradientDescent(0.1, 5),
    ):
        h = bx.hypergradient(
            problem, bx.Implicit(bx.GradientDescent(0.1, 1), linear), jnp.ones(3), jnp.ones(3)
        )
        assert h.result == bx.Result.successful
        np.testing.assert_array_equal(h.adjoint, 0.0)
        np.testing.assert_array_equal(h.gradient, 2.0)


def test_a_nan_product_is_not_called_singular():
    inner = lambda x, y: jnp.sum(jnp.abs(y - x) ** 1.5) + jnp.sum(y**2) / 2
    problem = bilevel(outer=lambda x, y: jnp.sum(y), inner=inner)
    estimator = bx.Implicit(bx.GradientDescent(0.1, 1), bx.CG(3))
    h = bx.hypergradient(problem, estimator, jnp.zeros(2), jnp.zeros(2))
    assert h.result == bx.Result.adjoint_nonfinite


def test_batches_and_strong_convexity_are_checked():
    with pytest.raises(TypeError, match="integer row indices"):
        bx.Batches([[0.7, 1.9]])
    with pytest.raises(TypeError, match="integer row indices"):
        bx.Batches([[True, False]])
    with pytest.raises(ValueError, match="strong_convexity must be positive"):
        bx.AcceleratedGradientDescent(0.1, 3, strong_convexity=-1.0)
