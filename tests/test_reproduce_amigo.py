"""The figures of AmIGO: the eigenbasis, closed forms, quick forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import bilevax as bx
from bilevax import reproduce
from bilevax.problems import quadratic
from bilevax.reproduce.amigo import _adjoint, _distilled, _eigenbasis, _posts, _sweep

FIGURES = {entry.name: entry for entry in reproduce.figures("amigo")}


@functools.cache
def quick(name):
    return reproduce.run(FIGURES[name], quick=True)[0]


@pytest.mark.parametrize("name", ["1", "2", "3"])
def test_quick_forms_pass(name):
    outcome = quick(name)
    assert outcome.checks and not outcome.failed, outcome.checks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1d", "4", "5"])
def test_quick_forms_on_data_pass(name):
    outcome = quick(name)
    assert outcome.checks and not outcome.failed, outcome.checks


def dense_amigo_cg(q, steps, count):
    """Section 2.1 of the paper in NumPy, on the matrices, with T irrelevant."""
    A_f, A_g, B, c = (np.asarray(m) for m in (q.A_f, q.A_g, q.B_g, q.C_f))
    x, z, gaps = np.zeros(len(A_f)), np.zeros(len(c)), []
    for _ in range(steps):
        r = -(c + A_g @ z)
        p, square = r, r @ r
        for _ in range(count):
            step = square / (p @ A_g @ p)
            z, r = z + step * p, r - step * (A_g @ p)
            p, square = r + (r @ r) / square * p, r @ r
        x = x - (A_f @ x + B.T @ z)
        gaps.append(float(q.gap(x)))
    return np.array(gaps) / float(q.gap(np.zeros_like(x)))


def test_the_eigenbasis_has_the_runs_of_the_matrices():
    dense = quadratic(200, 100, inner_condition=40.0, seed=5)
    basis = _eigenbasis.Eigenbasis.rotated(dense, 40.0)
    found = _sweep.run(basis, [1.0, 40.0, 1e3], "amigo_cg", 1, 4, 12).errors[1]
    assert found == pytest.approx(dense_amigo_cg(dense, 12, 4), rel=1e-8)


def test_costs_by_the_papers_count():
    runs = _sweep.cost("amigo_cg", np.array([5, 5]), 3)
    assert runs.tolist() == [10, 20]
    assert _sweep.cost("itd", np.array([5, 5]), 3).tolist() == [16, 32]
    growing = _sweep.cost("aid_gd", np.array([1, 1]), _sweep.GROWING)
    assert growing.tolist() == [4, 4 + 693 + 3]


def distilled_amigo_cg(task, rows, steps, T, N, alpha, gamma, c=0.5):
    """Sections 2.1 and 5.3, transcribed."""
    A, b = rows
    (X, lam), y = (np.asarray(part, float) for part in task.x0), np.zeros(task.y0.shape)
    z, (d, C) = np.zeros_like(y), y.shape
    off = lambda F, labels: soft(F) - np.eye(C)[labels]
    soft = lambda S: np.exp(S) / np.exp(S).sum(1, keepdims=True)
    labels = np.arange(C)
    for _ in range(steps):
        weight = 2 * c / (C * d) * np.exp(lam)[:, None]
        for _ in range(T):
            y = y - alpha * (X.T @ off(X @ y, labels) / C + weight * y)
        f_y, P, R = A.T @ off(A @ y, b) / len(b), soft(X @ y), off(X @ y, labels)
        curve = lambda U, P=P: P * (U - (P * U).sum(1, keepdims=True))
        hvp = lambda v, X=X, w=weight, curve=curve: X.T @ curve(X @ v) / C + w * v
        r = -(f_y + hvp(z))
        p, square = r, (r**2).sum()
        for _ in range(N):
            step = square / (p * hvp(p)).sum()
            z, r = z + step * p, r - step * hvp(p)
            p, square = r + (r**2).sum() / square * p, (r**2).sum()
        of_rows = (R @ z.T + curve(X @ z) @ y.T) / C
        X, lam = X - gamma * of_rows, lam - gamma * (weight * y * z).sum(1)
    return X, lam, y


def test_distillation_is_its_transcription():
    random = np.random.default_rng(0)
    rows = random.standard_normal((12, 5)), np.arange(12) % 3
    task = bx.problems.distillation(rows, seed=2)
    algorithm = bx.algorithms.amigo_cg(
        outer_step_size=0.5, inner_step_size=0.3, inner_steps=4, adjoint_steps=3
    )
    solution = bx.minimize(task.problem, algorithm, task.x0, task.y0, num_steps=3)
    X, lam, y = distilled_amigo_cg(task, rows, 3, 4, 3, 0.3, 0.5)
    assert np.asarray(solution.x.rows) == pytest.approx(X, abs=1e-10)
    assert np.asarray(solution.x.penalties) == pytest.approx(lam, abs=1e-10)
    assert np.asarray(solution.y) == pytest.approx(y, abs=1e-10)
    with pytest.raises(ValueError, match="strength"):
        bx.problems.distillation(rows, strength=0)


def test_the_first_condition_number_is_that_of_the_dense_hessian():
    random = np.random.default_rng(1)
    rows = random.standard_normal((9, 6)).astype("float32"), np.arange(9) % 3
    images = _distilled.Images(rows, rows, (2, 3))
    task = bx.problems.distillation(rows, seed=4)
    size = task.y0.size
    flat = lambda y: task.problem.inner(task.x0, y.reshape(task.y0.shape))
    values = np.linalg.eigvalsh(np.asarray(jax.hessian(flat)(np.zeros(size))))
    found = _distilled.first_condition(images, 4)
    assert found == pytest.approx(values[-1] / values[0], rel=1e-6)


def test_the_reference_adjoint_is_that_of_the_problem():
    """By automatic differentiation of the problem's own objectives, on dense rows."""
    rows = _posts.posts(None, quick=True, seed=0)
    dense = [(X[:40].toarray(), b[:40]) for X, b in rows[:3]]
    few = _posts.Posts(*((scipy.sparse.csr_matrix(X), b) for X, b in dense), 1.0)
    problem = bx.problems.penalised_logistic(*dense[:2]).problem
    random = np.random.default_rng(2)
    x, (y, z) = random.standard_normal(64), random.standard_normal((2, 64, 10))
    found = _adjoint.Adjoint.at(few, x, y)
    slope = lambda x, y: jax.grad(problem.inner, 1)(x, y, dense[0])
    cross, product = jax.grad(lambda x, y: jnp.sum(slope(x, y) * z), (0, 1))(x, y)
    assert found.product(z) == pytest.approx(np.asarray(product), abs=1e-12)
    assert found.gradient(z) == pytest.approx(np.asarray(cross), abs=1e-12)
    of_y = jax.grad(problem.outer, 1)(x, y, dense[1])
    assert found.rhs == pytest.approx(-np.asarray(of_y), abs=1e-12)
    solved = found.conjugate_gradient(3000, tol=1e-10)
    assert np.linalg.norm(found.product(solved) - found.rhs) < 1e-9
    near = found.descent(10, 1.0)
    assert found.distance(solved, found.gradient(solved)) == 0
    assert 0 < found.distance(near, found.gradient(solved)) < 1
