"""A solve with its derivative beside it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from test_minimum_losses import derivatives, make

AT = [0, 1, 2, 5, 9]


def recursion(kind, D, x, y, step, num, rows=None):
    """y_t and J_t by J+ = J (I - rho H) - rho K, in NumPy; on given rows where said."""
    J, path = np.zeros(D.shape), []
    for t in range(num + 1):
        path.append((y, J))
        if rows is None or t == num:
            D1, _, H, K = derivatives(kind, D, x, y)
        else:
            i = rows[t]
            D1, _, H, K_i = derivatives(kind, D[i], x[i], y)
            K = np.zeros(D.shape)
            np.add.at(K, i, K_i)
        y, J = y - step * D1, J @ (np.eye(len(y)) - step * H) - step * K
    return path


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_gradient_descent(kind):
    loss, D, x, y0 = make(kind)
    options = (loss.problem, bx.GradientDescent(0.1), x, y0)
    path = bx.trajectory(*options, at=AT, linear=bx.Direct())
    expected = recursion(kind, D, x, y0, 0.1, AT[-1])
    for i, t in enumerate(AT):
        y, J = expected[t]
        D1, D2, H, K = derivatives(kind, D, x, y)
        np.testing.assert_allclose(path.y[i], y, rtol=1e-12)
        np.testing.assert_allclose(path.jacobian[i], J, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(path.analytic[i], D2, rtol=1e-10)
        np.testing.assert_allclose(path.automatic[i], D2 + J @ D1, rtol=1e-9, atol=1e-13)
        implicit = D2 - K @ np.linalg.solve(H, D1)
        np.testing.assert_allclose(path.implicit[i], implicit, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_the_residual_of_the_jacobian(kind):
    """By the formulas, and zero at the exact Jacobian -K H^-1."""
    loss, D, x, y0 = make(kind)
    solution = loss.solution(x)
    *_, H, K = derivatives(kind, D, x, np.asarray(solution))
    path = bx.trajectory(loss.problem, bx.GradientDescent(0.1), x, y0, at=AT)
    R = path.residual(loss.problem, x, solution)
    np.testing.assert_allclose(R, np.asarray(path.jacobian) @ H + K, rtol=1e-10, atol=1e-13)
    exact = eqx.tree_at(lambda p: p.jacobian, path, jnp.asarray(-K @ np.linalg.inv(H))[None])
    assert float(jnp.max(jnp.abs(exact.residual(loss.problem, x, solution)))) < 1e-12


def test_the_residual_of_a_fixed_point():
    """phi = A y + x with a matrix that is not symmetric: R(J) = J (I - A)^T - I."""
    A = np.array([[0.2, 0.5], [-0.1, 0.3]])
    problem = bx.FixedPointProblem(lambda x, y: jnp.sum(y**2), lambda x, y: A @ y + x)
    x, solution = np.ones(2), np.linalg.solve(np.eye(2) - A, np.ones(2))
    path = bx.trajectory(problem, bx.FixedPointIteration(1), x, np.zeros(2), at=[0, 1, 3])
    R = path.residual(problem, x, solution)
    expected = [J @ (np.eye(2) - A).T - np.eye(2) for J in np.asarray(path.jacobian)]
    np.testing.assert_allclose(R, expected, atol=1e-14)
    np.testing.assert_allclose(R[2], -np.linalg.matrix_power(A, 3).T, atol=1e-14)


def test_the_residual_falls_at_the_rate_of_the_iterates():
    """Of ridge regression, late, by the slowest mode: here the next one is at 0.993 of it."""
    random = np.random.RandomState(29)
    D, x = random.randn(50, 100), random.randn(1, 50)[0]
    loss = bx.problems.RidgeRegression(D, 0.02)
    step = 1 / (np.linalg.norm(D, 2) ** 2 / 50 + 0.02)
    inner = bx.GradientDescent(step)
    path = bx.trajectory(loss.problem, inner, x, loss.y0, at=[500, 501])
    R = jnp.linalg.norm(path.residual(loss.problem, x, loss.solution(x)), axis=(1, 2))
    factor = 1 - step * (0.02 + np.linalg.svd(D)[1][-1] ** 2 / 50)
    np.testing.assert_allclose(R[1] / R[0], factor, rtol=1e-5)


def test_the_path_is_differentiated_on_the_rows_it_was_taken_on():
    loss, D, x, y0 = make("logistic")
    rows = [[0, 3], [2, 2], [5, 1], [6, 4], [0, 1]]
    solver = bx.GradientDescent(0.2, batch_size=bx.Batches(rows))
    path = bx.trajectory(loss.problem, solver, x, y0, at=[2, 5])
    expected = recursion("logistic", D, x, y0, 0.2, 5, rows)
    for i, t in enumerate((2, 5)):
        y, J = expected[t]
        D1, D2, *_ = derivatives("logistic", D, x, y)
        np.testing.assert_allclose(path.jacobian[i], J, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(path.automatic[i], D2 + J @ D1, rtol=1e-9, atol=1e-13)


def test_other_solvers_agree_with_the_estimators():
    """Momentum and adaptive steps carry state whose derivative matters too."""
    import optax

    loss, _, x, y0 = make("logistic")
    for transformation in (optax.sgd(0.1, momentum=0.9), optax.adam(0.1, eps_root=1e-8)):
        path = bx.trajectory(loss.problem, bx.Descent(transformation, 1), x, y0, at=[3, 7])
        inner = bx.Descent(transformation, 7)
        for estimator, row in (
            (bx.Unrolled(inner), path.automatic[1]),
            (bx.Analytic(inner), path.analytic[1]),
        ):
            h = bx.hypergradient(loss.problem, estimator, x, y0)
            np.testing.assert_allclose(row, h.gradient, rtol=1e-9, atol=1e-14)


def test_pytrees_seeds_and_vmap():
    problem = bx.BilevelProblem(
        outer=lambda x, y: jnp.sum(y["u"] ** 3) + y["v"] * x["a"],
        inner=lambda x, y: jnp.sum((y["u"] - x["a"]) ** 2) + (y["v"] - jnp.sum(x["b"])) ** 2,
    )
    y0 = {"u": jnp.zeros(2), "v": jnp.array(1.0)}

    def path(a):
        x = {"a": a, "b": jnp.ones(3)}
        return bx.trajectory(problem, bx.GradientDescent(0.25), x, y0, at=[1, 4])

    one, many = path(2.0), jax.vmap(path)(jnp.array([1.0, 2.0]))
    assert one.jacobian.shape == (2, 4, 3) and one.implicit is None
    np.testing.assert_allclose(many.automatic[1], one.automatic, rtol=1e-12)
    loss, _, x, y = make("logistic")
    draw = lambda seed: (
        bx.trajectory(loss.problem, bx.SGD(0.1, 1, 2), x, y, at=[4], key=jax.random.key(seed)).y
    )
    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


@pytest.mark.parametrize("at", [[], [2, 1], [1, 1], [-1, 2], [0.5], 3])
def test_faulty_steps(at):
    loss, _, x, y = make("ridge")
    with pytest.raises(ValueError, match="at must be"):
        bx.trajectory(loss.problem, bx.GradientDescent(0.1), x, y, at=at)


def test_faulty_solvers():
    loss, _, x, y = make("ridge")
    with pytest.raises(ValueError, match="give the solver an int"):
        solver = bx.GradientDescent(0.1, num_steps=lambda k: k + 1)
        bx.trajectory(loss.problem, solver, x, y, at=[1])
    with pytest.raises(TypeError):
        bx.trajectory(loss.problem, bx.GradientDescent(0.1, 5, tol=1e-3), x, y, at=[1])
