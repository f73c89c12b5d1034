"""Many penalised models as one problem, and solvers for independent problems."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import bilevax as bx
from bilevax.hypergradients import Implicit
from bilevax.problems._stacked import Rows, Scaling, stacked
from bilevax.sklearn._grams import Sets, grams, pooled_grams
from bilevax.sklearn._preconditioner import Preconditioner
from bilevax.solvers._separable import SeparableCG, SeparableNewton, solve_separately

NUM, SIZE, MODELS = 40, 5, 3
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.standard_normal((NUM, SIZE)) * (RANDOM.random((NUM, SIZE)) < 0.6)
SCORES = FEATURES @ RANDOM.standard_normal((SIZE, 3)) + 0.5 * RANDOM.standard_normal((NUM, 3))
TARGETS = {
    "squared": SCORES[:, 0],
    "binary": (SCORES[:, 0] > 0).astype(int),
    "multinomial": SCORES.argmax(axis=1),
}
# Repeated, left out, and of other models.
TRAIN = RANDOM.integers(0, 3, (NUM, MODELS)).astype(float)
VALID = RANDOM.integers(0, 2, (NUM, MODELS)).astype(float)


def made(loss, models, features=FEATURES):
    """The stack of the given models."""
    mean = FEATURES.mean(axis=0) * np.arange(MODELS)[models, None]
    factor = np.full((len(models), SIZE), 0.5) + np.arange(SIZE) / 5
    targets = jnp.asarray(TARGETS[loss])
    return stacked(
        Rows(features, targets, TRAIN[:, models]),
        Rows(features, targets, VALID[:, models]),
        loss=loss,
        scaling=Scaling(jnp.asarray(mean), jnp.asarray(factor)),
        num_outputs=3,
    )


def hypergradient(problem, x, y, num_steps=50, tol=1e-22, linear_tol=1e-13, single=False):
    # Tolerances are arrays, that one program serves all.
    tols = np.asarray(tol), np.asarray(linear_tol)
    return compiled_hypergradient(problem, x, y, num_steps, *tols, single)


@eqx.filter_jit
def compiled_hypergradient(problem, x, y, num_steps: int, tol, linear_tol, single: bool):
    preconditioner = Preconditioner(problem, None)
    estimator = Implicit(
        SeparableNewton(preconditioner, num_steps, tol, single=single),
        SeparableCG(preconditioner, 200, linear_tol, single),
    )
    gradient, state, _, result = estimator(
        problem, x, estimator.init(problem, x, y), jax.random.key(0)
    )
    return gradient, state.value, state.y, result


@pytest.mark.parametrize("loss", TARGETS)
def test_the_hypergradient_is_the_sum_over_models_and_that_of_differences(loss):
    x = jnp.linspace(-1, 2, SIZE)
    stack = made(loss, np.arange(MODELS))
    gradient, value, y, _ = hypergradient(stack.problem, x, stack.y0)
    alone = [made(loss, np.array([k])) for k in range(MODELS)]
    parts = [hypergradient(one.problem, x, one.y0) for one in alone]
    np.testing.assert_allclose(gradient, sum(part[0] for part in parts), rtol=0, atol=1e-10)
    assert value == pytest.approx(float(sum(part[1] for part in parts)), abs=1e-12)
    step = 1e-4
    for i, e in enumerate(np.eye(SIZE)):
        ahead, behind = (
            hypergradient(stack.problem, x + s * step * e, stack.y0)[1] for s in (1, -1)
        )
        slope = float(ahead - behind) / (2 * step)
        assert float(gradient[i]) == pytest.approx(slope, rel=1e-6, abs=1e-8)
    data = stack.problem.inner_data
    residual = jax.jit(lambda y: jax.grad(stack.problem.inner, argnums=1)(x, y, data))(y)
    assert max(float(jnp.max(jnp.abs(r))) for r in residual) < 1e-10


@pytest.mark.parametrize("single", [False, True])
def test_dtypes_are_never_mixed(single):
    """From warm starts at both levels, traced as under JAX's strict promotion."""
    stack, x = made("multinomial", np.arange(MODELS)), jnp.zeros(SIZE)
    estimator = Implicit(
        SeparableNewton(Preconditioner(stack.problem, None), 9, 1e-9, single=single),
        SeparableCG(Preconditioner(stack.problem, None), 9, 1e-3, single),
    )
    warm = lambda: estimator(
        stack.problem,
        x,
        estimator.init(stack.problem, x, stack.y0, stack.y0),
        jax.random.key(0),
    )
    with jax.numpy_dtype_promotion("strict"):
        gradient, *_ = eqx.filter_eval_shape(warm)
    assert gradient.shape == x.shape and gradient.dtype == x.dtype


@pytest.mark.parametrize("loss", ["binary", "multinomial"])
def test_sparse_features_give_the_same(loss):
    x = jnp.linspace(-1, 2, SIZE)
    dense, sparse = (
        made(loss, np.arange(MODELS), f) for f in (FEATURES, scipy.sparse.csr_array(FEATURES))
    )
    expected, *_ = hypergradient(dense.problem, x, dense.y0)
    found, *_ = hypergradient(sparse.problem, x, sparse.y0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@eqx.filter_jit
def dense_hessian(problem, x, kind, w):
    """Of one model with one output, in its weights and then its intercept."""
    join = lambda w: kind(w[None, :-1, None], w[None, -1:])
    return jax.hessian(lambda w: problem.inner(x, join(w), problem.inner_data))(w)


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_preconditioner_is_the_inverse_or_that_of_the_diagonal(diagonal):
    """Of a dense Hessian, model by model; for one output."""
    stack = made("binary", np.arange(MODELS))
    x = jnp.linspace(-1, 2, SIZE)
    y = jax.tree.map(lambda leaf: leaf + 0.3, stack.y0)
    squares = jnp.asarray(FEATURES**2) if diagonal else None
    preconditioner = Preconditioner(stack.problem, squares)
    apply = eqx.filter_jit(lambda z: preconditioner(x, y)(z))
    for k in range(MODELS):
        one = made("binary", np.array([k]))
        hessian = np.asarray(dense_hessian(one.problem, x, type(y), jnp.full(SIZE + 1, 0.3)))
        inverse = np.diag(1 / np.diag(hessian)) if diagonal else np.linalg.inv(hessian)
        basis = jnp.zeros((MODELS, SIZE + 1)).at[k].set(1.0)
        z = apply(type(y)(basis[:, :-1, None], basis[:, -1:]))
        found = np.concatenate([np.asarray(z.weights[k, :, 0]), np.asarray(z.intercept[k])])
        np.testing.assert_allclose(found, inverse.sum(axis=1), rtol=1e-7)


def test_products_in_single_precision_lead_to_the_same_models():
    """Penalties over six orders of magnitude: the models to 1e-9, in float64."""
    stack, x = made("multinomial", np.arange(MODELS)), jnp.linspace(-7, 7, SIZE)
    gradient, value, y, result = hypergradient(stack.problem, x, stack.y0)
    found = hypergradient(stack.problem, x, stack.y0, linear_tol=1e-5, single=True)
    assert result == bx.Result.successful and found[3] == bx.Result.successful
    np.testing.assert_allclose(found[1], value, rtol=1e-9)
    for one, other in zip(jax.tree.leaves(found[2]), jax.tree.leaves(y), strict=True):
        assert one.dtype == jnp.float64
        np.testing.assert_allclose(one, other, atol=1e-9)
    assert jnp.linalg.norm(found[0] - gradient) < 1e-4 * jnp.linalg.norm(gradient)


@pytest.mark.parametrize("each", [False, True])
def test_the_preconditioner_of_classes_is_that_of_its_definition(each):
    """Inverses class by class on what sums to zero over classes, penalties on what is equal."""
    stack, x = made("multinomial", np.arange(1)), jnp.linspace(-1, 2, SIZE)
    y = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.arange(3), stack.y0)
    apply = eqx.filter_jit(lambda z: Preconditioner(stack.problem, each=each)(x, y)(z))
    scaling = stack.problem.inner.loss.scaling
    p = np.asarray(jax.nn.softmax(scaling.scores(FEATURES, y), axis=1))[0].T
    curvature = p * (1 - p)
    if not each:
        curvature = np.repeat(curvature.mean(axis=1, keepdims=True), 3, axis=1)
    columns = np.c_[(FEATURES - scaling.means[0]) * scaling.factors[0], np.ones(NUM)]
    penalties = np.append(np.exp(x), 0)
    r = RANDOM.standard_normal((SIZE + 1, 3))
    found, common = np.empty_like(r), r.mean(axis=1, keepdims=True)
    for c in range(3):
        gram = columns.T @ (columns * (TRAIN[:, 0] * curvature[:, c])[:, None])
        found[:, c] = np.linalg.solve(gram + np.diag(penalties), (r - common)[:, c])
    alone = np.append(np.exp(x), 3)[:, None]
    expected = NUM * (found - found.mean(axis=1, keepdims=True) + common / alone)
    z = apply(type(y)(jnp.asarray(r[None, :-1]), jnp.asarray(r[None, -1])))
    np.testing.assert_allclose(np.asarray(z.weights[0]), expected[:-1], rtol=1e-8)
    np.testing.assert_allclose(np.asarray(z.intercept[0]), expected[-1], rtol=1e-8)


def test_one_that_is_kept_is_the_same_where_it_was_made_and_follows_penalties():
    stack, x = made("binary", np.arange(MODELS)), jnp.linspace(-1, 2, SIZE)
    fresh = Preconditioner(stack.problem)
    kept, r = fresh.freeze(x, stack.y0), jax.tree.map(jnp.ones_like, stack.y0)
    again, expected = kept(x, stack.y0)(r), fresh(x, stack.y0)(r)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), again, expected)
    # Where penalties are all there is, the weights' matrices are diagonal.
    r = r._replace(intercept=jnp.zeros_like(r.intercept))
    far = kept.freeze(x + 14, stack.y0)
    found, expected = far(x + 17, stack.y0)(r), fresh(x + 17, stack.y0)(r)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-3)


def test_rows_of_the_same_models_are_multiplied_once():
    """The sums over sets are the matrices themselves where models agree on the curvature."""
    folds = np.arange(NUM) % 3
    weights = (folds[:, None] != np.arange(MODELS)) * RANDOM.integers(0, 3, (NUM, 1))
    sets: Any = Sets.of(weights)
    assert sorted(sets.members.sum(axis=1)) == [0, 2, 2, 2] and sets.own.sum() == NUM
    scaling = made("binary", np.arange(MODELS)).problem.inner.loss.scaling
    curvature = jnp.broadcast_to(RANDOM.random((NUM, 1, 2)), (NUM, MODELS, 2))
    features, given = jnp.asarray(FEATURES), jnp.asarray(weights, float)
    expected = grams(features, scaling, given[..., None] * curvature)
    found = pooled_grams(features, scaling, given, curvature, sets)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    assert Sets.of(RANDOM.integers(0, 2, (NUM, 8))) is None


def test_a_solve_that_ends_too_early_says_so():
    stack = made("multinomial", np.arange(MODELS))
    x = jnp.full(SIZE, -5.0)
    *_, result = hypergradient(stack.problem, x, stack.y0, 1, 1e-20, 1e-3)
    assert bool(result == bx.Result.inner_max_steps)


def test_each_model_starts_at_zero_where_that_is_lower():
    stack = made("multinomial", np.arange(MODELS))
    x = jnp.full(SIZE, -5.0)
    random = np.random.default_rng(1)
    far = jax.tree.map(lambda a: jnp.asarray(100 * random.standard_normal(a.shape)), stack.y0)
    expected, found = (
        hypergradient(stack.problem, x, y, tol=1e-10)[2] for y in (stack.y0, far)
    )
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    # From solved models there is nothing to do.
    again = hypergradient(stack.problem, x, found, tol=1e-10)[2]
    jax.tree.map(np.testing.assert_array_equal, again, found)


def test_a_system_without_curvature_is_told_and_leaves_the_others_alone():
    """The first of three is indefinite: solve_separately stops there, short of its goal."""
    matrices = jnp.stack([jnp.diag(jnp.array([1.0, -2.0])), jnp.eye(2), 3 * jnp.eye(2)])
    hvp = lambda z: jnp.einsum("kij,kj->ki", matrices, z)
    rhs, goal = jnp.ones((3, 2)), jnp.full(3, 1e-20)
    done = solve_separately(hvp, lambda r: r, rhs, None, goal, 20)
    assert done.stuck.tolist() == [True, False, False] and bool(done.size[0] > goal[0])
    np.testing.assert_allclose(done.z[1:], rhs[1:] / jnp.array([[1.0], [3.0]]), rtol=1e-12)
