"""Penalised linear models and hyper-cleaning against transcriptions in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sklearn.metrics import roc_auc_score

import bilevax as bx
from bilevax._rows.batch import full

N, D, C, STRENGTH = 14, 5, 3, 0.7
GROUPS = np.array([0, 2, 1, 0, 2])


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, D)) * (rng.random((N, D)) < 0.7), rng.integers(0, C, N)


def multipliers(kind, x, shape):
    """e^x spread over the weights."""
    e = np.exp(x)
    spread = {"per-feature": lambda: e[:, None], "per-class": lambda: e[None, :]}
    spread |= {"grouped": lambda: e[GROUPS][:, None], "shared": lambda: e}
    full_shape = shape if len(shape) == 2 else (*shape, 1)
    return np.broadcast_to(spread[kind](), full_shape).reshape(shape)


def multinomial(y, X, labels):
    scores = np.exp(X @ y)
    P = scores / scores.sum(1, keepdims=True)
    loss = -np.log(P[np.arange(N), labels]).mean()
    return loss, X.T @ (P - np.eye(C)[labels]) / N


def binary(y, X, labels):
    p = 1 / (1 + np.exp(-X @ y))
    loss = -np.where(labels == 1, np.log(p), np.log(1 - p)).mean()
    return loss, X.T @ (p - labels) / N


def ridge(y, X, targets):
    missed = X @ y - targets
    return (missed**2).sum() / (2 * N), X.T @ missed / N


MODELS = {
    "multinomial": (bx.problems.penalised_logistic, multinomial, lambda b: b, (D, C)),
    "binary": (bx.problems.penalised_binary_logistic, binary, lambda b: b % 2, (D,)),
    "ridge": (bx.problems.penalised_ridge, ridge, lambda b: b - 0.5, (D,)),
    "ridge of columns": (bx.problems.penalised_ridge, ridge, lambda b: np.eye(C)[b], (D, C)),
}
KINDS = ["per-feature", "per-class", "grouped", "shared"]
CASES = [
    (model, kind)
    for model, (_, _, _, shape) in MODELS.items()
    for kind in KINDS
    if kind != "per-class" or len(shape) == 2
]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("model", "kind"), CASES)
def test_values_and_gradients_are_those_of_the_formulas(model, kind, sparse):
    make, reference, as_targets, shape = MODELS[model]
    (X, b), (V, a) = rows(0), rows(1)
    b, a = as_targets(b), as_targets(a)
    wrap = scipy.sparse.csr_array if sparse else np.asarray
    groups = GROUPS if kind == "grouped" else None
    task = make((wrap(X), b), (wrap(V), a), penalty=kind, strength=STRENGTH, groups=groups)
    rng = np.random.default_rng(2)
    x, y, z = (rng.standard_normal(s) for s in (task.x0.shape, shape, shape))
    assert task.y0.shape == shape
    weights = STRENGTH / y.size * multipliers(kind, x, shape)
    loss, gradient = reference(y, X, b)
    jx, jy = jnp.asarray(x), jnp.asarray(y)
    value, validation = task.problem.inner(jx, jy, task.problem.inner_data), reference(y, V, a)

    np.testing.assert_allclose(value, loss + (weights * y**2).sum(), rtol=1e-12)
    inner, outer = full(task.problem.inner_data, None), full(task.problem.outer_data, None)
    residual = task.problem.residual(jx, jy, inner)
    np.testing.assert_allclose(residual, gradient + 2 * weights * y, rtol=1e-11, atol=1e-13)
    f, (f_x, f_y) = task.problem.value_and_gradients(jx, jy, outer)
    np.testing.assert_allclose(f, validation[0], rtol=1e-12)
    np.testing.assert_allclose(f_y, validation[1], rtol=1e-11, atol=1e-13)
    assert not np.any(f_x)
    # The cross product is the derivative in x of <2 weights y, z>, by central differences.
    coupling = lambda x: (2 * STRENGTH / y.size * multipliers(kind, x, shape) * y * z).sum()
    cross = task.problem.linearize(jx, jy, inner).cross(jnp.asarray(z))
    steps = 1e-6 * np.eye(x.size).reshape(x.size, *x.shape)
    central = [(coupling(x + h) - coupling(x - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(np.ravel(cross), central, rtol=1e-6, atol=1e-9)


def test_scores():
    (X, b), (V, a) = rows(0), rows(1)
    y = np.random.default_rng(3).standard_normal((D, C))
    task = bx.problems.penalised_logistic((X, b), (V, a))
    expected = np.mean((V @ y).argmax(1) == a)
    assert float(task.accuracy(jnp.asarray(y), V, a)) == pytest.approx(expected)
    sparse = scipy.sparse.csr_matrix(V)
    assert float(task.score(jnp.asarray(y), sparse, a)) == pytest.approx(expected)
    signs = bx.problems.penalised_binary_logistic((X, b % 2), (V, a % 2))
    expected = np.mean((V @ y[:, 0] > 0) == a % 2)
    assert float(signs.accuracy(jnp.asarray(y[:, 0]), V, a % 2)) == pytest.approx(expected)
    fit = bx.problems.penalised_ridge((X, b), (V, a))
    left = ((V @ y[:, 0] - a) ** 2).sum() / ((a - a.mean()) ** 2).sum()
    assert float(fit.score(jnp.asarray(y[:, 0]), V, a)) == pytest.approx(1 - left)
    with pytest.raises(ValueError, match="need as many targets"):
        fit.score(jnp.asarray(y[:, 0]), V, a[:, None])
    with pytest.raises(TypeError, match="has no accuracy"):
        fit.accuracy(jnp.asarray(y[:, 0]), V, a)


X, B = rows()
FAULTY = {
    "unknown penalty": ({"penalty": "per-pixel"}, "penalty must be one of"),
    "groups missing": ({"penalty": "grouped"}, "go together"),
    "groups too many": ({"groups": GROUPS}, "go together"),
    "groups short": ({"penalty": "grouped", "groups": [0, 1]}, "each of the 5 features"),
    "groups float": ({"penalty": "grouped", "groups": GROUPS / 2}, "each of the 5 features"),
    "groups negative": ({"penalty": "grouped", "groups": GROUPS - 1}, "each of the 5 feat"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_faulty_penalties(case):
    options, message = FAULTY[case]
    with pytest.raises(ValueError, match=message):
        bx.problems.penalised_logistic((X, B), (X, B), **options)


@pytest.mark.parametrize(
    ("make", "train", "valid", "message"),
    [
        (bx.problems.penalised_logistic, (X, B - 1), (X, B), "labels of train must be"),
        (bx.problems.penalised_logistic, (X, B), (X, B + 0.5), "labels of valid must be"),
        (bx.problems.penalised_logistic, (X, B), (X[:, 1:], B), "5 features and valid 4"),
        (bx.problems.penalised_binary_logistic, (X, B), (X, B), "Binary labels are 0 and 1"),
        (bx.problems.hyper_cleaning, (X, B - 1), (X, B), "labels of train must be"),
        (bx.problems.hyper_cleaning, (X, B), (X[:, 1:], B), "5 features and valid 4"),
        (bx.problems.penalised_logistic, (X, B[:, None]), (X, B), "ravel a column"),
        (bx.problems.penalised_binary_logistic, (X, B), (X, np.eye(C)[B]), "ravel a column"),
        (bx.problems.penalised_logistic, (X, B[1:]), (X, B), "a target for each row"),
        (bx.problems.penalised_logistic, (X[0], B), (X, B), "features of shape"),
        (bx.problems.penalised_ridge, (X, B), (X, B[:, None]), "in train as in valid"),
    ],
)
def test_faulty_rows(make, train, valid, message):
    with pytest.raises(ValueError, match=message):
        make(train, valid)


def test_one_output_has_no_penalties_per_class():
    with pytest.raises(ValueError, match="use 'shared'"):
        bx.problems.penalised_ridge((X, B), (X, B), penalty="per-class")


def test_hyper_cleaning_is_its_formula():
    rng = np.random.default_rng(4)
    task = bx.problems.hyper_cleaning((X, B), (X, B), strength=0.01)
    x, y, z = rng.standard_normal(N), rng.standard_normal((D, C)), rng.standard_normal((D, C))
    weight = 1 / (1 + np.exp(-x))
    scores = np.exp(X @ y)
    P = scores / scores.sum(1, keepdims=True)
    per_row = -np.log(P[np.arange(N), B])
    value = task.problem.inner(jnp.asarray(x), jnp.asarray(y), task.problem.inner_data)
    np.testing.assert_allclose(value, (weight * per_row).mean() + 0.01 * (y**2).sum())
    rest = P - np.eye(C)[B]
    gradient = X.T @ (weight[:, None] * rest) / N + 0.02 * y
    batch = full(task.problem.inner_data, None)
    at = jnp.asarray(x), jnp.asarray(y), batch
    np.testing.assert_allclose(task.problem.residual(*at), gradient, rtol=1e-11, atol=1e-13)
    # Row j's weight moves the gradient by its own, so only its own products enter.
    cross = weight * (1 - weight) * ((X @ z) * rest).sum(1) / N
    np.testing.assert_allclose(task.problem.linearize(*at).cross(jnp.asarray(z)), cross)
    np.testing.assert_allclose(task.weights(jnp.asarray(x)), weight)


def test_random_rows_keep_their_own_weights():
    """The mean of the cross products over all single rows is that of the full batch."""
    task = bx.problems.hyper_cleaning((X, B), (X, B))
    problem, x = task.problem, jnp.linspace(-1, 1, N)
    y, z = jnp.ones((D, C)), jnp.cos(jnp.arange(D * C, dtype=float)).reshape(D, C)
    cross = jax.jit(lambda rows: problem.linearize(x, y, full(rows, None)).cross(z))
    one = lambda j: jax.tree.map(lambda leaf: leaf[j : j + 1], problem.inner_data)
    mean = sum(cross(one(j)) for j in range(N)) / N
    np.testing.assert_allclose(mean, cross(problem.inner_data), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_corrupted_labels(fraction):
    labels = np.repeat(np.arange(4), 50)
    noisy, wrong = bx.problems.corrupt_labels(labels, fraction, seed=5)
    assert wrong.sum() == round(200 * fraction) and np.all((noisy != labels) == wrong)
    assert set(noisy) <= set(range(4))
    again, _ = bx.problems.corrupt_labels(labels, fraction, seed=5)
    np.testing.assert_array_equal(noisy, again)
    for bad, message in (
        ((labels, 1.2), "fraction must be"),
        ((0 * labels, 0.5), "fraction must be"),
        ((2 * labels - 1, 0.5), "must be integers from 0 on"),
        ((labels / 2, 0.5), "must be integers from 0 on"),
    ):
        with pytest.raises(ValueError, match=message):
            bx.problems.corrupt_labels(*bad)
    with pytest.raises(ValueError, match="labels beyond the 3 classes"):
        bx.problems.corrupt_labels(labels, 0.5, classes=3)


@pytest.mark.usefixtures("x32")
def test_hyper_cleaning_finds_wrong_labels_of_digits():
    """The quick form of the experiment on MNIST."""
    images, labels = bx.datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    train, valid, test = order[:700], order[700:1400], order[1400:]
    noisy, wrong = bx.problems.corrupt_labels(labels[train], 0.5)
    task = bx.problems.hyper_cleaning((images[train], noisy), (images[valid], labels[valid]))
    algorithm = bx.algorithms.amigo_cg(outer_step_size=1e3)
    solution = bx.minimize(task.problem, algorithm, task.x0, task.y0, num_steps=150)
    assert roc_auc_score(wrong, -np.asarray(solution.x)) > 0.9
    # As good as a model trained on the rows whose labels are right.
    assert float(task.accuracy(solution.y, images[test], labels[test])) > 0.9
