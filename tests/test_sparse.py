"""Sparse products against SciPy and dense JAX, under every transformation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import bilevax as bx


def skewed(rows=40, columns=23, seed=0):
    """A matrix with one full row, some empty ones, and an empty column."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((rows, columns)) * (rng.random((rows, columns)) < 0.08)
    matrix[3], matrix[5], matrix[rows - 1] = rng.standard_normal(columns), 0, 0
    matrix[:, 4] = 0
    return matrix


DENSE = skewed()


@pytest.fixture
def X():  # noqa: N802
    return bx.SparseMatrix(scipy.sparse.csr_array(DENSE))


def dense_like(columns=3, seed=1):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((DENSE.shape[1], columns)))


def objective(matrix):
    return lambda w: jnp.sum(jnp.tanh(matrix @ w) ** 2) + jnp.sum((w.T @ matrix.T) ** 3)


# One window suffices for the first; the full row again and again needs many.
SELECTIONS = {"few": [0, 5, 7, 7, 39], "exceeding": [3] * 12 + [0, 1, 2], "one": [3]}
TRANSFORMATIONS = {
    "value": lambda f: f,
    "grad": jax.grad,
    "jitted hessian": lambda f: jax.jit(jax.hessian(f)),
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(f)),
    "linearize": lambda f: lambda w: jax.linearize(jax.grad(f), w)[1](jnp.cos(w)),
    "jvp": lambda f: lambda w: jax.jvp(f, (w,), (jnp.sin(w),))[1],
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f)),
    "vmap": lambda f: lambda w: jax.vmap(jax.grad(f))(jnp.stack([w, 2 * w, w - 1])),
    "vmap of last axis": lambda f: lambda w: jax.vmap(f, 2)(jnp.stack([w, 2 * w], 2)),
    "scan": lambda f: (
        lambda w: jax.lax.scan(lambda w, _: (w - 0.01 * jax.grad(f)(w), f(w)), w, length=3)
    ),
}


@pytest.mark.parametrize("columns", [None, 1, 3])
@pytest.mark.parametrize("rows", ["all", *SELECTIONS])
def test_products_match_scipy(X, rows, columns):
    indices = np.arange(len(DENSE)) if rows == "all" else np.array(SELECTIONS[rows])
    matrix = X if rows == "all" else X.take(jnp.asarray(indices))
    reference = scipy.sparse.csr_array(DENSE)[indices]
    w = np.asarray(dense_like(columns or 1))
    r = np.random.default_rng(2).standard_normal((len(indices), columns or 1))
    w, r = (w[:, 0], r[:, 0]) if columns is None else (w, r)
    assert matrix.shape == matrix.T.T.shape == reference.shape
    np.testing.assert_allclose(matrix @ w, reference @ w, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(matrix.T @ r, reference.T @ r, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(r.T @ matrix, r.T @ reference, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(matrix.todense(), reference.toarray(), atol=1e-15)


@pytest.mark.parametrize("transform", TRANSFORMATIONS)
@pytest.mark.parametrize("rows", ["all", "exceeding"])
def test_transformations_match_dense(X, rows, transform):
    indices = jnp.asarray(SELECTIONS.get(rows, np.arange(len(DENSE))))
    sparse = X if rows == "all" else X.take(indices)
    apply = jax.jit(lambda m, w: TRANSFORMATIONS[transform](objective(m))(w))
    got, expected = (apply(m, dense_like()) for m in (sparse, jnp.asarray(DENSE)[indices]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11), got, expected
    )


def test_exceeding_batches_need_more_windows_than_one(X):
    selection = X.take(jnp.asarray(SELECTIONS["exceeding"]))
    assert selection.may_exceed and selection.capacity < selection.starts[-1] / 2


def test_rows_drawn_differently_by_each_of_a_batch_of_runs(X):
    indices = jnp.array([[0, 1, 3, 3, 3, 3], [3, 3, 3, 3, 3, 3], [5, 5, 39, 0, 0, 0]])
    w = dense_like()
    gradient = lambda take: lambda i: jax.grad(objective(take(i)))(w)
    got = jax.jit(jax.vmap(gradient(X.take)))(indices)
    expected = jax.vmap(gradient(lambda i: jnp.asarray(DENSE)[i]))(indices)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
def test_every_scipy_format(form):
    for kind in (scipy.sparse.csr_array, scipy.sparse.csr_matrix):
        matrix = bx.SparseMatrix(kind(DENSE).asformat(form))
        np.testing.assert_array_equal(matrix.todense(), DENSE)


def test_duplicates_and_integers():
    matrix = scipy.sparse.coo_array(([1, 2, 4], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    got = bx.SparseMatrix(matrix)
    assert jnp.issubdtype(got.dtype, jnp.integer)
    np.testing.assert_array_equal(got @ jnp.array([1.0, 0.5]), [1.5, 4.0])


@pytest.mark.usefixtures("x32")
def test_single_precision():
    matrix = bx.SparseMatrix(scipy.sparse.csr_array(DENSE.astype("float32")))
    w = np.ones(DENSE.shape[1], "float32")
    assert (matrix @ w).dtype == jnp.float32
    np.testing.assert_allclose(matrix @ w, DENSE @ w, rtol=1e-5, atol=1e-6)


def test_the_product_has_the_wider_dtype(X):
    assert (X @ jnp.ones(23, jnp.float32)).dtype == jnp.float64


def test_entries_are_constants(X):
    def value(entries):
        return jnp.sum(eqx.tree_at(lambda m: m.rows.values, X, entries) @ dense_like())

    with pytest.raises(TypeError, match="entries of a SparseMatrix are constants"):
        jax.grad(value)(X.rows.values)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda X: bx.SparseMatrix(DENSE), TypeError, "two-dimensional SciPy sparse"),
        (lambda X: bx.SparseMatrix(scipy.sparse.csr_array(1j * DENSE)), TypeError, "real"),
        (lambda X: X @ jnp.ones(5), ValueError, "with 23 rows, got shape"),
        (lambda X: X @ jnp.ones((23, 2, 2)), ValueError, "with 23 rows, got shape"),
    ],
)
def test_faulty_input(X, call, error, message):
    with pytest.raises(error, match=message):
        call(X)


def penalised(matrix):
    """Of the same functions each time, so that their programs are found again."""
    rows = matrix, jnp.eye(3)[np.arange(40) % 3]
    return bx.BilevelProblem(outer, inner, outer_data=rows, inner_data=rows)


def outer(x, y, batch):
    features, target = batch
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(features @ y) * target, axis=1))


def inner(x, y, batch):
    return outer(x, y, batch) + jnp.sum(jnp.exp(x)[:, None] * y**2)


@pytest.mark.parametrize(
    ("preset", "batch_size"),
    [
        (bx.algorithms.amigo_cg, 16),
        # Products with blocks of sparse rows: tests/test_blocks.py.
        (bx.algorithms.itd, bx.FullBatch(7)),
        (bx.algorithms.itd, bx.Batches(np.arange(40).reshape(5, 8))),
        # Its permutations take long to compile, and end in indices as those of others.
        pytest.param(bx.algorithms.aid_n, bx.Epochs(8), marks=pytest.mark.slow),
        (bx.algorithms.itd, None),
    ],
)
def test_runs_on_sparse_data_are_those_on_dense_data(preset, batch_size):
    algorithm = preset(outer_step_size=1.0, inner_step_size=0.2, batch_size=batch_size)
    x, y = jnp.zeros(23), jnp.zeros((23, 3))
    run = lambda matrix: bx.minimize(
        penalised(matrix), algorithm, x, y, num_steps=5, key=jax.random.key(0)
    )
    sparse, dense = run(scipy.sparse.csr_matrix(DENSE)), run(DENSE)
    np.testing.assert_allclose(sparse.x, dense.x, rtol=1e-9)
    assert sparse.cost == dense.cost


def test_value_functions_of_sparse_data():
    problem = penalised(scipy.sparse.csr_array(DENSE))
    dense = penalised(DENSE)
    solver, x = bx.GradientDescent(0.2, 50), jnp.zeros(23)
    of = lambda p: bx.minimum(p.inner, jnp.zeros((23, 3)), solver, data=p.inner_data)
    np.testing.assert_allclose(jax.grad(of(problem))(x), jax.grad(of(dense))(x), rtol=1e-9)
    solution = lambda p: bx.argmin(p.inner, jnp.zeros((23, 3)), solver, data=p.inner_data)
    probe = lambda p: jax.grad(lambda x: jnp.sum(solution(p)(x) ** 2))(x)
    np.testing.assert_allclose(probe(problem), probe(dense), rtol=1e-7)


def test_numbers_of_sparse_data_are_checked():
    bad = DENSE.copy()
    bad[3, 2] = np.nan
    estimator = bx.Analytic(bx.GradientDescent(0.1, 2))
    with pytest.raises(ValueError, match=r"outer_data\[0\].*NaN"):
        bx.hypergradient(
            penalised(scipy.sparse.csr_array(bad)), estimator, jnp.zeros(23), jnp.zeros((23, 3))
        )


def test_an_empty_matrix_and_no_columns():
    nothing = bx.SparseMatrix(scipy.sparse.csr_array((30, 4)))
    taken = nothing.take(np.array([0, 5, 5]))
    np.testing.assert_array_equal(taken @ jnp.ones((4, 2)), np.zeros((3, 2)))
    np.testing.assert_array_equal(taken.T @ jnp.ones(3), np.zeros(4))
    none = jax.vmap(lambda w: nothing @ w)(jnp.ones((5, 4, 0)))
    assert none.shape == (5, 30, 0)


def test_the_callers_matrix_is_left_as_it_is():
    given = scipy.sparse.csr_array((np.array([1.0, 2, 4]), [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    given.data.flags.writeable = False
    bx.SparseMatrix(given)
    assert given.nnz == 3 and given.data.tolist() == [1, 2, 4]


@pytest.mark.usefixtures("x32")
def test_integers_that_do_not_fit():
    with pytest.raises(ValueError, match="integers beyond int32"):
        bx.SparseMatrix(scipy.sparse.csr_array(np.array([[2**40 + 1]])))


def test_sparse_times_sparse(X):
    with pytest.raises(TypeError, match="Products of two sparse matrices"):
        X.T @ X
