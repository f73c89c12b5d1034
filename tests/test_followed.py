"""Steps that were left out, while x and y change the curvature by orders of magnitude."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

import bilevax as bx
from bilevax._rows.data import as_data
from cases import relative_error

huber = lambda r: jnp.where(jnp.abs(r) < 1, r**2 / 2, jnp.abs(r) - 0.5)
outer = lambda x, y, b: jnp.mean(huber(b[0] @ y - b[1]))


def inner(x, y, b):
    fit = jnp.mean(jnp.sqrt(1 + (b[0] @ y - b[1]) ** 2) - 1)
    return fit + jnp.sum(jnp.exp(x) * y**2) / 2


def regression(seed):
    """Rows of normal features, of which 8 of 30 matter."""
    rng = np.random.default_rng(seed)
    weights = np.concatenate([rng.standard_normal(8), np.zeros(22)])
    X = rng.standard_normal((600, 30))
    t = X @ weights + rng.standard_normal(600)
    train, valid = (X[:300], t[:300]), (X[300:], t[300:])
    as_float = lambda rows: tuple(a.astype(np.float32) for a in rows)
    return bx.BilevelProblem(
        outer, inner, outer_data=as_float(valid), inner_data=as_float(train)
    )


@pytest.mark.usefixtures("x32")
@pytest.mark.parametrize("preset", ["amigo_cg", "aid_gd", "aid_n"])
def test_penalties_that_grow_by_orders_of_magnitude(preset):
    algorithm = getattr(bx.algorithms, preset)(outer_step_size=bx.adaptive_step())
    for seed in (0, 6):  # 6 starts where the inner problem is flat
        problem = regression(seed)
        s = bx.minimize(problem, algorithm, jnp.full(30, -3.0), jnp.zeros(30), num_steps=150)
        h = s.history
        assert s.result == bx.Result.successful
        assert h["value"][-1] < h["value"][0] and float(jnp.max(jnp.abs(s.y))) < 5
        # The curvature has grown several times, and the step has followed it.
        assert h["inner_step_size"][-1] < h["inner_step_size"][0] / 2
        exact = 1 / float(bx.curvature(problem, s.x, s.y, num_products=30).smoothness)
        assert exact / 2 < h["inner_step_size"][-1] < 1.7 * exact
        # One product an outer step, beside those of the adjoint and of the measurement.
        adjoint = {"amigo_cg": 11, "aid_gd": 9, "aid_n": 10}[preset]
        assert s.cost.hvp <= 45 + 150 * (1 + adjoint) and s.cost.inner_gradient == 2 + 1500


@pytest.mark.usefixtures("x32")
def test_breast_cancer_with_all_defaults():
    X, labels = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    order = np.random.default_rng(0).permutation(len(X))
    train, valid = ((X[i], labels[i]) for i in (order[:280], order[280:]))
    task = bx.problems.penalised_logistic(train, valid)
    algorithm = bx.algorithms.amigo_cg(outer_step_size=bx.adaptive_step())
    s = bx.minimize(task.problem, algorithm, task.x0, task.y0, num_steps=300)
    assert s.result == bx.Result.successful
    assert s.history["value"][-1] < 1.05 * s.history["value"].min() < 0.12


@pytest.mark.parametrize("kind", ["implicit", "unrolled", "adjoint"])
def test_a_step_that_is_too_long_is_taken_back(kind):
    """1 / smoothness where y starts is 50 times too long where it goes."""
    scales = jnp.array([1.0, 3.0, 50.0])
    loss = lambda x, y: jnp.sum(scales * (y - x) ** 2) / 2
    problem = bx.BilevelProblem(lambda x, y: jnp.sum((y - 1) ** 2) / 2, loss)
    solver = bx.GradientDescent(bx.schedules.Measured(jnp.asarray(1.0)), 1500)
    exact = bx.GradientDescent(0.02, 2000)
    x, y = jnp.array([0.5, -1.0, 2.0]), jnp.array([3.0, 3.0, 3.0])
    estimator = {
        "implicit": bx.Implicit(solver, bx.CG(3)),
        "unrolled": bx.Unrolled(solver),
        "adjoint": bx.Implicit(exact, solver),
    }[kind]
    h = bx.hypergradient(problem, estimator, x, y)
    assert h.result == bx.Result.successful
    np.testing.assert_allclose(h.y, x, atol=1e-9)
    np.testing.assert_allclose(h.gradient, x - 1, atol=1e-8)
    # As many calls as steps: nothing is called to take a step back.
    assert h.cost.inner_gradient == (2000 if kind == "adjoint" else 1500)


def test_an_overshoot_beyond_all_numbers_is_taken_back():
    loss = lambda x, y: jnp.exp(y) - x * y
    solver = bx.GradientDescent(bx.schedules.Measured(jnp.asarray(1000.0)), 200)
    assert float(bx.argmin(loss, 0.0, solver)(3.0)) == pytest.approx(np.log(3))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("penalty", ["per-feature", "grouped", "shared"])
def test_penalised_problems_start_on_the_scale_of_their_data(penalty, sparse):
    """The penalty's Hessian has the trace of that of the loss, at zero weights."""
    import scipy.sparse

    rng = np.random.default_rng(1)
    X = 30 * rng.standard_normal((40, 6)) * (rng.random((40, 6)) < 0.5)
    rows = lambda t: (scipy.sparse.csr_array(X) if sparse else X, t)
    groups = np.arange(6) % 2 if penalty == "grouped" else None
    kw = {"penalty": penalty, "groups": groups}
    tasks = (
        bx.problems.penalised_ridge(rows(X[:, 0]), rows(X[:, 0]), **kw),
        bx.problems.penalised_logistic(rows(np.arange(40) % 3), rows(np.arange(40) % 3), **kw),
        bx.problems.penalised_binary_logistic(
            rows(np.arange(40) % 2), rows(np.arange(40) % 2), **kw
        ),
    )
    for task in tasks:
        data = as_data(task.problem.inner_data)

        @jax.jit
        def trace_of_hessian(x, task=task, data=data):
            value = lambda v: task.problem.inner(x, v.reshape(task.y0.shape), data)
            return jnp.trace(jax.hessian(value)(task.y0.ravel()))

        loss = trace_of_hessian(jnp.full_like(task.x0, -jnp.inf))
        assert float(trace_of_hessian(task.x0)) == pytest.approx(2 * float(loss), rel=1e-12)
    nothing = np.zeros((4, 2)), np.zeros(4)
    assert bx.problems.penalised_ridge(nothing, nothing).x0.tolist() == [0, 0]


@pytest.mark.usefixtures("x32")
def test_grouped_penalties_of_a_wide_ridge():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 60)
    X = rng.standard_normal((240, 240))
    W = rng.standard_normal((240, 8)) * np.repeat([1.0, 0.3, 0.1, 0.0], 60)[:, None] / 8
    Y = X @ W + 0.3 * rng.standard_normal((240, 8))
    rows = (X[:120], Y[:120]), (X[120:], Y[120:])
    task = bx.problems.penalised_ridge(*rows, penalty="grouped", groups=groups)
    algorithm = bx.algorithms.amigo_cg(outer_step_size=bx.adaptive_step())
    s = bx.minimize(task.problem, algorithm, task.x0, task.y0, num_steps=100)
    assert s.result == bx.Result.successful
    # A dense solution at the learned penalties, for which the last y stands.
    P = np.exp(np.asarray(s.x, float))[groups] / (8 * 240)
    exact = np.linalg.solve(X[:120].T @ X[:120] / 120 + np.diag(P), X[:120].T @ Y[:120] / 120)
    assert relative_error(s.y, exact) < 0.05
    assert float(task.score(s.y, *rows[1])) > 0.3
