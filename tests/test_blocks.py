"""Full batches in blocks: the same numbers, less memory, and no surprise."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import bilevax as bx
import doubles
from bilevax._rows import blocks
from bilevax._rows.batch import full

SIZES = [("auto", False), (1, False), (7, False), (199, False), (1000, False), (7, True)]


@functools.cache
def regression(sparse=False):
    """Mean squared errors with a ridge that is no mean over rows; x scales the features."""
    num, features = 200, 6
    rng = np.random.default_rng(0)
    X = rng.standard_normal((num, features)) * (rng.random((num, features)) < 0.5)
    X = scipy.sparse.csr_array(X) if sparse else X
    data = {"X": X, "target": rng.standard_normal(num)}

    def inner(x, y, batch):
        error = jnp.tanh(batch["X"] @ (x * y)) - batch["target"]
        return jnp.mean(error**2) + jnp.sum(y**2) + jnp.sum(x**4)

    def outer(x, y, batch):
        return jnp.mean(jnp.logaddexp(0, batch["X"] @ (x + y))) + jnp.sum(x * y)

    x, y = jnp.linspace(0.5, 1, features), jnp.linspace(-1, 2, features)
    return bx.BilevelProblem(outer, inner, outer_data=data, inner_data=data), x, y


@eqx.filter_jit
def oracles(problem, x, y, size):
    z = jnp.cos(y)
    inner = full(problem.inner_data, size)
    linear = problem.linearize(x, y, inner)
    value = problem.value_and_gradients(x, y, full(problem.outer_data, size))
    return problem.residual(x, y, inner), linear.hvp(z), linear.cross(z), value


@pytest.fixture
def small_cache(monkeypatch):
    monkeypatch.setattr(blocks, "_CACHE", 20 * 7 * 8)


@pytest.mark.usefixtures("small_cache")
@pytest.mark.parametrize(("size", "sparse"), SIZES)
def test_blocks_give_the_numbers_of_all_rows(size, sparse):
    problem, x, y = regression(sparse=sparse)
    whole, parts = (oracles(problem, x, y, s) for s in (None, size))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), whole, parts)


@pytest.mark.usefixtures("small_cache")
@pytest.mark.parametrize("size", ["auto", 30])
def test_estimators_agree_with_all_rows(size):
    problem, x, y = regression()
    sampler, whole = bx.FullBatch(size), bx.FullBatch(None)
    descent = lambda s: bx.GradientDescent(0.05, 4, batch_size=s)
    for estimator in (
        lambda s: bx.Implicit(
            descent(s),
            bx.CG(3, tol=0.0, batch_size=s),
            outer_batch_size=s,
            cross_batch_size=s,
        ),
        lambda s: bx.Unrolled(descent(s), outer_batch_size=s),
        lambda s: bx.Unrolled(descent(s), mode="forward", outer_batch_size=s),
        lambda s: bx.Analytic(
            bx.AcceleratedGradientDescent(0.05, 4, batch_size=s),
            outer_batch_size=s,
        ),
    ):
        ours = bx.hypergradient(problem, estimator(sampler), x, y)
        reference = bx.hypergradient(problem, estimator(whole), x, y)
        np.testing.assert_allclose(ours.gradient, reference.gradient, rtol=1e-11)
        assert ours.cost == reference.cost


def test_a_full_batch_in_blocks_is_one_call():
    problem, x, y = regression()
    counter = doubles.Counter()
    counted = doubles.Counted(problem, counter)
    sampler = bx.FullBatch(64)
    estimator = bx.Implicit(
        bx.GradientDescent(0.05, 3, batch_size=sampler), bx.CG(2, tol=0.0, batch_size=sampler)
    )
    h = bx.hypergradient(counted, estimator, x, y)
    jax.effects_barrier()
    assert counter.calls["inner_gradient"] == h.cost.inner_gradient == 3
    assert h.cost.rows.inner_gradient == counter.rows["inner_gradient"] == 600


@pytest.mark.usefixtures("small_cache")
def test_fixed_point_maps_are_averaged_too():
    A = np.random.default_rng(1).standard_normal((90, 4))
    phi = lambda x, y, rows: 0.3 * jnp.tanh(y + jnp.mean(rows, axis=0) * x)
    phi_rows = lambda x, y, rows: jnp.mean(0.3 * jnp.tanh(y + rows * x), axis=0)
    y = jnp.linspace(-1, 1, 4)
    f = lambda x, y: jnp.sum(y)
    problem = bx.FixedPointProblem(f, phi_rows, inner_data=A)
    whole, parts = (problem.sweep(2.0, y, full(A, s)) for s in (None, 40))
    np.testing.assert_allclose(whole, parts, rtol=1e-13)
    biased = bx.FixedPointProblem(f, phi, inner_data=A)
    estimator = bx.Analytic(bx.FixedPointIteration(3))
    with pytest.raises(ValueError, match="fixed_point is not a mean over the rows"):
        bx.hypergradient(biased, estimator, 2.0, y)


def test_a_sum_over_rows_is_refused_in_blocks_and_warned_of_in_draws():
    problem, x, y = regression()
    summed = lambda x, y, batch: jnp.sum((batch["X"] @ y - batch["target"]) ** 2)
    wrong = bx.BilevelProblem(
        problem.outer, summed, outer_data=problem.outer_data, inner_data=problem.inner_data
    )
    blocks = bx.Analytic(bx.GradientDescent(1e-4, 3, batch_size=bx.FullBatch(50)))
    with pytest.raises(ValueError, match=r"inner is not a mean.*FullBatch\(block_size=None\)"):
        bx.hypergradient(wrong, blocks, x, y)
    drawn = bx.Analytic(bx.GradientDescent(1e-4, 3, batch_size=50))
    with pytest.warns(UserWarning, match="inner is not a mean over the rows"):
        bx.hypergradient(wrong, drawn, x, y, key=jax.random.key(0))
    whole = bx.Analytic(bx.GradientDescent(1e-4, 3, batch_size=bx.FullBatch(None)))
    bx.hypergradient(wrong, whole, x, y)


def temporary_bytes(size, num):
    """Memory that a gradient and a product need beside data and results."""
    data = jnp.zeros((num, 8))

    def inner(x, y, rows):
        hidden = rows
        for _ in range(3):
            hidden = jnp.tanh(hidden @ jnp.ones((hidden.shape[1], 256)) * x)
        return jnp.mean((hidden @ y) ** 2) + jnp.sum(y**2)

    problem = bx.BilevelProblem(lambda x, y: jnp.sum(y), inner, inner_data=data)

    def both(data, x, y):
        inner_batch = full(data, size)
        linear = problem.linearize(x, y, inner_batch)
        return problem.residual(x, y, inner_batch), linear.hvp(y), linear.cross(y)

    compiled = jax.jit(both).lower(data, jnp.float32(1), jnp.ones(256)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.optimised
@pytest.mark.usefixtures("x32")
def test_memory_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr(blocks, "_MEMORY", 2**22)
    few, many = (temporary_bytes("auto", num) for num in (40_000, 320_000))
    whole = temporary_bytes(None, 320_000)
    assert whole > 320_000 * 256 * 4
    # Eight times the rows; what differs is the size of the last block.
    assert many < 2 * few < whole / 100
    few, many = (temporary_bytes(1000, num) for num in (40_000, 320_000))
    assert many < 1.01 * few < whole / 100


def test_automatic_sizes():
    rows = lambda num, width: jnp.zeros((num, width), jnp.float32)
    cached = lambda num, width, results: blocks._cached_size(rows(num, width), results)
    assert cached(60_000, 784, 3136) == 300  # 0.94 MB
    assert cached(60_000, 784, 31_360) == 2500  # ten times the results: blocks of 8 MB
    assert not blocks.may_split(rows(1000, 10), "auto")  # all of it fits
    assert cached(99_991, 784, 3136) is None  # a prime number of rows


@pytest.mark.parametrize(
    ("size", "error"),
    [
        (0, ValueError),
        (-3, ValueError),
        ("all", TypeError),
        (2.5, TypeError),
        (True, TypeError),
    ],
)
def test_faulty_block_sizes(size, error):
    with pytest.raises(error, match="block_size must be"):
        bx.FullBatch(size)


@functools.cache
def sums():
    """A sum over rows whose ridge hides it from a coarse comparison, and its exact answer."""
    num, features = 20_000, 10
    rows = np.random.default_rng(0).standard_normal((num, features))
    fit = lambda y, batch: jnp.sum((batch @ y - 1) ** 2) / 2
    inner = lambda x, y, batch: fit(y, batch) + num * jnp.exp(x) * jnp.sum((y - 1) ** 2) / 2
    problem = bx.BilevelProblem(lambda x, y: jnp.sum(y**2), inner, inner_data=rows)
    x, y = jnp.array(0.3), jnp.ones(features)
    H = rows.T @ rows + num * np.exp(0.3) * np.eye(features)
    solved = np.linalg.solve(H, rows.sum(0) + num * np.exp(0.3))
    exact = 2 * solved @ np.linalg.solve(H, -num * np.exp(0.3) * (solved - 1))
    return problem, x, y, exact


def test_all_rows_at_once_means_every_product():
    problem, x, y, exact = sums()
    whole = bx.FullBatch(None)
    for linear in (bx.CG(30, tol=0.0, batch_size=whole), bx.Direct(block_size=None)):
        # The inner step is left out: it is measured on all rows at once too.
        estimator = bx.Implicit(
            bx.GradientDescent(num_steps=200, batch_size=whole), linear, cross_batch_size=whole
        )
        h = bx.hypergradient(problem, estimator, x, y)
        assert float(h.gradient) == pytest.approx(exact, rel=1e-8)
    solution = bx.argmin(
        problem.inner,
        y,
        bx.GradientDescent(num_steps=200, batch_size=whole),
        linear=bx.Direct(block_size=None),
        data=problem.inner_data,
    )
    slope = jax.grad(lambda x: jnp.sum(solution(x) ** 2))(x)
    assert float(slope) == pytest.approx(exact, rel=1e-8)
    H = jax.jit(jax.hessian(problem.inner, 1))(x, y, problem.inner_data)
    measured = bx.curvature(problem, x, y, block_size=None)
    assert float(measured.smoothness) == pytest.approx(np.linalg.eigvalsh(H)[-1], rel=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda p, x, y: bx.hypergradient(p, bx.Analytic(bx.GradientDescent(1e-6, 2)), x, y),
        lambda p, x, y: bx.curvature(p, x, y),
        lambda p, x, y: jax.grad(
            lambda x: bx.argmin(
                p.inner, y, bx.GradientDescent(1e-6, 2), linear=bx.CG(3), data=p.inner_data
            )(x).sum()
        )(x),
        lambda p, x, y: jax.grad(
            bx.minimum(p.inner, y, bx.GradientDescent(1e-6, 2), data=p.inner_data)
        )(x),
    ],
    ids=["hypergradient", "curvature", "argmin", "minimum"],
)
def test_a_sum_hidden_by_its_ridge_is_found_everywhere(call):
    problem, x, y, _ = sums()
    with pytest.raises(ValueError, match=r"not a mean.*of all that reads inner_data"):
        call(problem, x, y)


def test_only_readers_of_a_level_matter():
    problem, x, y, _ = sums()
    outer = lambda x, y, batch: jnp.mean((batch @ y) ** 2)
    problem = bx.BilevelProblem(
        outer, problem.inner, outer_data=problem.inner_data, inner_data=problem.inner_data[:]
    )
    inner = bx.GradientDescent(1e-6, 2, batch_size=bx.FullBatch(None))
    key = jax.random.key(0)
    for rows in (None, 8):  # neither an error nor, where rows are drawn, a warning
        h = bx.hypergradient(problem, bx.Analytic(inner, outer_batch_size=rows), x, y, key=key)
        assert bool(h.result == bx.Result.successful)


def test_a_mean_that_cancels_is_no_sum():
    rows = np.random.default_rng(0).standard_normal((14, 4))
    rows -= rows.mean(axis=0)
    problem = bx.MinProblem(lambda x, y, b: jnp.mean(b @ y) + jnp.sum((y - x) ** 2), rows)
    inner = bx.GradientDescent(0.1, 2, batch_size=bx.FullBatch(5))
    h = bx.hypergradient(problem, bx.Analytic(inner), 0.0, jnp.zeros(4))
    assert float(h.gradient) == pytest.approx(0, abs=1e-12)


def test_an_entry_for_each_row_needs_indices():
    rows = jnp.ones((40, 3))
    weighted = lambda x, y, b: jnp.mean(x * (b @ y) ** 2) + jnp.sum(y**2)
    problem = bx.BilevelProblem(lambda x, y: jnp.sum(y), weighted, inner_data=rows)
    estimator = bx.Analytic(bx.GradientDescent(0.1, 2, batch_size=bx.FullBatch(10)))
    with pytest.raises((TypeError, ValueError)) as caught:
        bx.hypergradient(problem, estimator, jnp.ones(40), jnp.ones(3))
    assert "put the rows' indices into the data" in "".join(caught.value.__notes__)


def test_small_data_stay_whole_whatever_they_lead_to(monkeypatch):
    """A pairwise loss of few rows is no mean over them, and is not split."""
    monkeypatch.setattr(blocks, "_MEMORY", 10_000)
    rows = jnp.linspace(0, 1, 300)[:, None]
    pairs = lambda x, y, b: jnp.mean(jnp.tanh(b @ y - x * (b @ y)[:, None]))
    batch = full(rows, "auto")
    problem = bx.BilevelProblem(lambda x, y: y[0], pairs, inner_data=rows)
    x, y = jnp.array(0.5), jnp.ones(1)
    np.testing.assert_array_equal(problem.residual(x, y, batch), jax.grad(pairs, 1)(x, y, rows))


def test_numpy_integers_are_sizes():
    assert bx.FullBatch(np.int64(50)).block_size == 50
    assert type(bx.RandomRows(np.int64(5)).batch_size) is int
