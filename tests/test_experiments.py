"""The experiments on real data: quick forms, and the whole ones marked slow."""

import distil_digits
import hyper_cleaning
import jax.numpy as jnp
import newsgroups
import numpy as np
import pytest

import bilevax as bx


def scipy_amigo_cg(train, valid, steps, T=10, N=10, alpha=100.0, gamma=100.0, c=0.5):
    """Spec amigo 2.1 and 5.2, transcribed with SciPy products, in float64."""
    (A, a), (V, b) = train, valid
    At, Vt, classes = A.T.tocsr(), V.T.tocsr(), a.max() + 1
    n, d = A.shape
    one_hot = np.eye(classes)

    def probabilities(S):
        E = np.exp(S - S.max(1, keepdims=True))
        return E / E.sum(1, keepdims=True)

    x, y, z = np.zeros(d), np.zeros((d, classes)), np.zeros((d, classes))
    values = []
    for _ in range(steps):
        weight = 2 * c / (classes * d) * np.exp(x)[:, None]
        for _ in range(T):
            P = probabilities(A @ y)
            y = y - alpha * (At @ (P - one_hot[a]) / n + weight * y)
        P, Q = probabilities(A @ y), probabilities(V @ y)
        values.append(-np.log(Q[np.arange(len(b)), b]).mean())
        f_y = Vt @ (Q - one_hot[b]) / len(b)

        def hvp(v, P=P, weight=weight):
            R = P * (A @ v)
            return At @ (R - P * R.sum(1, keepdims=True)) / n + weight * v

        r = -(f_y + hvp(z))
        p, square = r, (r**2).sum()
        for _ in range(N):
            Hp = hvp(p)
            step = square / (p * Hp).sum()
            z, r = z + step * p, r - step * Hp
            p, square = r + (r**2).sum() / square * p, (r**2).sum()
        x = x - gamma * (weight * y * z).sum(1)
    return x, y, np.array(values)


@pytest.mark.usefixtures("x32")
def test_amigo_cg_on_20_newsgroups_is_its_transcription(real_data):
    """The quick form: two outer steps on a fifth of the rows; no iterate has converged."""
    parts, _ = newsgroups.splits(real_data)
    train, valid = ((X[::5], labels[::5]) for X, labels in parts[:2])
    task = bx.problems.penalised_logistic(train, valid)
    algorithm = bx.algorithms.amigo_cg(
        outer_step_size=100.0, inner_step_size=100.0, inner_steps=5, adjoint_steps=4
    )
    x0 = jnp.zeros_like(task.x0)
    solution = bx.minimize(task.problem, algorithm, x0, task.y0, num_steps=2)
    x, y, values = scipy_amigo_cg(train, valid, steps=2, T=5, N=4)
    np.testing.assert_allclose(solution.history["value"], values, rtol=1e-5)
    for got, expected in ((solution.y, y), (solution.x, x)):
        error = np.linalg.norm(np.asarray(got, float) - expected)
        assert error < 1e-3 * np.linalg.norm(expected)
    assert solution.x.dtype == jnp.float32 and np.abs(x).max() > 0


@pytest.mark.slow
@pytest.mark.usefixtures("x32")
def test_accuracies_on_20_newsgroups(real_data):
    """Spec amigo H1, whole."""
    parts, _ = newsgroups.splits(real_data)
    solution, _ = newsgroups.learn(parts, steps=400)
    history = solution.history
    at = lambda step, name: float(history[f"{name} accuracy"][history["step"] == step][0])
    assert at(60, "test") >= 0.74
    assert at(400, "test") >= 0.79 and at(400, "validation") >= 0.90


@pytest.mark.slow
@pytest.mark.usefixtures("x32")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hyper_cleaning_on_mnist(real_data, seed):
    accuracies, auc, *_ = hyper_cleaning.run(real_data, seed)
    assert accuracies["hyper-cleaning"] >= accuracies["corrupted rows"] + 0.03
    assert accuracies["corrupted rows"] >= 0.8  # the baseline is no broken one
    assert auc >= 0.9


@pytest.mark.usefixtures("x32")
def test_ten_learned_images_are_better_than_the_class_means():
    """In a fifth of the steps."""
    train, test = distil_digits.splits()
    solution = distil_digits.distilled(train, test, steps=60)
    means = distil_digits.class_means(train), np.arange(distil_digits.CLASSES)
    assert solution.x.rows.shape == means[0].shape and solution.result == bx.Result.successful
    assert solution.history["accuracy"][-1] > distil_digits.best_of_grid(means, test) + 0.01
