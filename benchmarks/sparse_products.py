"""20 Newsgroups against SciPy: an AmIGO-CG step on all rows, and batches of 1,000 rows.

The full-batch step, T = N = 10, does 10 inner gradients, 11 products with the Hessian, one
cross product on the training rows and one outer gradient on the validation rows: each of
the first 21 and the last is a product with the features and one with their transpose;
the linearisation's is another. SciPy does these products alone, with stored CSR matrices
of both, in the same feature order. Batches: gathering rows, one product, and one with the
transpose.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved
from sklearn.model_selection import train_test_split

import bilevax as bx
from bilevax._run.loop import chunk

T = N = 10
STEPS, CLASSES, BATCH = 2, 20, 1000


def scipy_products(A, W, R):
    transposed = A.T.tocsr()

    def pairs(count: int):
        for _ in range(count):
            A @ W
            transposed @ R

    return pairs


def full_batch(train, valid) -> Row:
    task = bx.problems.penalised_logistic(train, valid)
    algorithm = bx.algorithms.amigo_cg(
        outer_step_size=100.0, inner_step_size=100.0, inner_steps=T, adjoint_steps=N
    )
    state = bx.minimize(task.problem, algorithm, task.x0, task.y0, num_steps=20).state.loop

    def ours():
        limits = jnp.int32(STEPS), state.step + STEPS
        tol, every = jnp.float32(-jnp.inf), jnp.int32(1)
        return chunk(task.problem, algorithm, None, tol, every, state, *limits)

    cost = jax.device_get(ours()[1]).cost
    pairs = (cost.inner_gradient + cost.hvp + cost.outer_gradient) // STEPS
    assert pairs == T + N + 2, cost
    A, W = train[0], np.ones(task.y0.shape, np.float32)
    products = scipy_products(A, W, np.ones((A.shape[0], CLASSES), np.float32))
    seconds = interleaved({"ours": ours, "scipy": lambda: products(STEPS * pairs)}, 7)
    return Row(
        "20 Newsgroups, all rows",
        f"AmIGO-CG step, T = N = {T}",
        f"{pairs} pairs of SciPy CSR products",
        seconds["ours"] / STEPS,
        seconds["ours"] / seconds["scipy"],
        2.5,
    )


def random_rows(A) -> Row:
    X = bx.SparseMatrix(A)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, A.shape[0], BATCH) for _ in range(10)]
    W = np.ones((A.shape[1], CLASSES), np.float32)
    R = np.ones((BATCH, CLASSES), np.float32)

    @jax.jit
    def both(X, rows, W, R):
        taken = X.take(rows)
        return taken @ W, taken.T @ R

    def ours():
        return [both(X, rows, W, R) for rows in batches]

    def scipy():
        for rows in batches:
            taken = A[rows]
            out = taken @ W, taken.T @ R
        return out

    # What is measured is right.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours()[-1], scipy()
    )
    seconds = interleaved({"ours": ours, "scipy": scipy}, 9)
    return Row(
        "20 Newsgroups, random rows",
        f"batches of {BATCH}: rows, X @ W, X.T @ R",
        "SciPy's slicing and products",
        seconds["ours"] / len(batches),
        seconds["ours"] / seconds["scipy"],
        3.0,
    )


def measure() -> list[Row]:
    X, labels = bx.datasets.fetch_20newsgroups(return_X_y=True)
    train, valid, train_labels, valid_labels = train_test_split(
        X.astype(np.float32), labels, test_size=0.5, stratify=labels, random_state=0
    )
    return [full_batch((train, train_labels), (valid, valid_labels)), random_rows(train)]
