"""Ready-made problems against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import bilevax as bx
from bilevax._rows.batch import full
from bilevax.problems import quadratic_form


def spd(rng, n):
    a = rng.standard_normal((n, n))
    return jnp.asarray(a @ a.T + np.eye(n))


def test_quadratic_form_has_a_complete_derivative_rule():
    rng = np.random.default_rng(0)
    A, y = spd(rng, 4), jnp.asarray(rng.standard_normal(4))
    assert float(quadratic_form(A, y)) == pytest.approx(float(y @ A @ y / 2))
    # All orders, forward and reverse, in A and y; A moves among symmetric matrices.
    symmetric = lambda B, y: quadratic_form(A + jnp.asarray(B + B.T), jnp.asarray(y))
    check_grads(symmetric, (jnp.asarray(rng.standard_normal((4, 4))), y), order=3)
    check_grads(lambda y: quadratic_form(A, jnp.asarray(y)), (y,), order=3)
    np.testing.assert_allclose(jax.hessian(quadratic_form, 1)(A, y), A)
    plain = lambda A, y: y @ A @ y / 2
    for argnums in (0, 1):
        mixed = jax.jacfwd(jax.grad(quadratic_form, argnums), 1 - argnums)(A, y)
        expected = jax.jacfwd(jax.grad(plain, argnums), 1 - argnums)(A, y)
        if argnums == 1:  # d/dA of A y, where plain autodiff gives that of (A + A') y / 2
            expected = jnp.einsum("ij,k->ijk", jnp.eye(4), y)
        np.testing.assert_allclose(mixed, expected, atol=1e-12)


def test_quadratic_form_under_vmap():
    rng = np.random.default_rng(1)
    A, ys = spd(rng, 3), jnp.asarray(rng.standard_normal((5, 3)))
    gradients = jax.vmap(jax.grad(quadratic_form, 1), in_axes=(None, 0))(A, ys)
    np.testing.assert_allclose(gradients, ys @ A, rtol=1e-13)


def test_a_gradient_costs_one_product():
    A, y = jnp.eye(50), jnp.ones(50)
    text = jax.jit(jax.grad(quadratic_form, 1)).lower(A, y).compile().as_text()
    assert text.count("dot(") == 1


@pytest.mark.parametrize("coupling", [0.0, 0.4])
def test_quadratic_closed_forms(coupling):
    q = bx.problems.quadratic(
        6, 5, inner_condition=30.0, outer_condition=7.0, coupling=coupling, seed=2
    )
    A_f, A_g, B_g, C_f = (np.asarray(a) for a in (q.A_f, q.A_g, q.B_g, q.C_f))
    for matrix, condition in ((A_f, 7.0), (A_g, 30.0)):
        eigenvalues = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(eigenvalues[[0, -1]], [1 / condition, 1.0], rtol=1e-12)
    x = jnp.linspace(-1, 1, 6)

    def value(x):
        y = -jnp.linalg.solve(A_g, B_g @ x)
        return x @ A_f @ x / 2 + y @ C_f + coupling * y @ y / 2

    np.testing.assert_allclose(q.gradient(x), jax.grad(value)(x), rtol=1e-11)
    np.testing.assert_allclose(q.hessian(), jax.hessian(value)(x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(jax.grad(value)(q.minimiser()), 0, atol=1e-12)
    assert float(q.gap(x)) == pytest.approx(float(value(x) - value(q.minimiser())), rel=1e-10)
    y = q.inner_solution(x)
    problem, batch = q.problem, full(None, None)
    np.testing.assert_allclose(problem.residual(x, y, batch), 0, atol=1e-12)
    _, (f_x, f_y) = problem.value_and_gradients(x, y, batch)
    z = q.adjoint_solution(x)
    np.testing.assert_allclose(problem.linearize(x, y, batch).hvp(z), -f_y, rtol=1e-11)
    np.testing.assert_allclose(f_x + B_g.T @ z, q.gradient(x), rtol=1e-11)


def test_condition_number_one_is_the_identity():
    q = bx.problems.quadratic(4, 3, inner_condition=1.0)
    np.testing.assert_allclose(q.A_g, np.eye(3), atol=1e-12)


def test_penalised_logistic_equals_its_formulas():
    """Spec amigo 5.2: gradient, HVP and cross product of g, transcribed."""
    rng = np.random.default_rng(0)
    n, d, C, c = 12, 5, 3, 0.5
    X, labels = rng.standard_normal((n, d)), rng.integers(0, C, n)
    task = bx.problems.penalised_logistic((X, labels), (X, labels))
    x, Y, Z = (rng.standard_normal(s) for s in ((d,), (d, C), (d, C)))
    scores = np.exp(X @ Y)
    P = scores / scores.sum(1, keepdims=True)
    scale = 2 * c / (C * d) * np.exp(x)[:, None]
    G = X.T @ (P - np.eye(C)[labels]) / n + scale * Y
    R = X @ Z
    HZ = X.T @ (P * (R - (P * R).sum(1, keepdims=True))) / n + scale * Z
    JZ = 2 * c / (C * d) * np.exp(x) * (Y * Z).sum(1)

    batch = full(task.problem.inner_data, None)
    residual = task.problem.residual(jnp.asarray(x), jnp.asarray(Y), batch)
    linear = task.problem.linearize(jnp.asarray(x), jnp.asarray(Y), batch)
    np.testing.assert_allclose(residual, G, rtol=1e-11)
    np.testing.assert_allclose(linear.hvp(jnp.asarray(Z)), HZ, rtol=1e-11)
    np.testing.assert_allclose(linear.cross(jnp.asarray(Z)), JZ, rtol=1e-11)


def test_shared_penalty_is_one_number():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((12, 5)), rng.integers(0, 3, 12)
    shared = bx.problems.penalised_logistic(rows, rows, penalty="shared")
    separate = bx.problems.penalised_logistic(rows, rows)
    estimator = bx.Implicit(bx.GradientDescent(0.1, 20), bx.Direct())
    one = bx.hypergradient(shared.problem, estimator, shared.x0, shared.y0)
    each = bx.hypergradient(separate.problem, estimator, separate.x0, separate.y0)
    assert one.gradient.shape == ()
    assert float(one.gradient) == pytest.approx(float(each.gradient.sum()), rel=1e-11)
    with pytest.raises(ValueError, match="penalty must be"):
        bx.problems.penalised_logistic(rows, rows, penalty="per-pixel")


def test_a_quadratic_form_needs_a_symmetric_matrix():
    A, B = np.array([[2.0, 1.0], [0.0, 2.0]]), np.eye(2)
    for name, matrices in (("A_g", (B, A, B, B[0])), ("A_f", (A, B, B, B[0]))):
        arrays = [jnp.asarray(matrix) for matrix in matrices]
        with pytest.raises(ValueError, match=f"{name} must be symmetric.*transpose by 1: take"):
            bx.problems.Quadratic(*arrays, coupling=jnp.asarray(0.0))
    with pytest.raises(ValueError, match="A_g must be a square matrix"):
        bx.problems.Quadratic(*map(jnp.asarray, (B, B[:1], B, B[0])), coupling=jnp.zeros(()))
    # Symmetric to rounding is symmetric.
    D = np.random.default_rng(0).standard_normal((50, 30)).astype(np.float32)
    q = bx.problems.Quadratic(
        *map(jnp.asarray, (D @ D.T, D.T @ D, D.T, D[0])), coupling=jnp.float32(0)
    )
    assert jax.jit(lambda q: q.A_g[0, 0])(q) == q.A_g[0, 0]
    jax.vmap(lambda A: bx.problems.Quadratic(A, A, A, A[0], coupling=A[0, 0]).A_g)(
        jnp.ones((3, 2, 2))
    )


def test_the_gradient_map_keeps_the_problem_s_check():
    def check(x):
        raise ValueError("x is out of the domain.")

    problem = bx.MinProblem(lambda x, y: (y - x) ** 2, check=check).as_fixed_point(0.5)
    solver = bx.FixedPointIteration(3)
    for call in (
        lambda: bx.hypergradient(problem, bx.Implicit(solver, solver), 1.0, 0.0),
        lambda: bx.argmin(problem, 0.0, solver)(1.0),
    ):
        with pytest.raises(ValueError, match="out of the domain"):
            call()


def test_what_changes_is_data_or_a_part_of_x_or_closed_over_anew():
    scale = 1.0
    inner = bx.GradientDescent(1.0, 1)
    found = lambda loss, x, **data: bx.argmin(loss, 0.0, inner, **data)(x)
    closes = lambda x, y: (y - scale * x) ** 2 / 2
    first = found(closes, 2.0)
    scale = 3.0
    anew = found(lambda x, y: (y - scale * x) ** 2 / 2, 2.0)
    part = found(lambda x, y: (y - x["scale"] * x["x"]) ** 2 / 2, {"x": 2.0, "scale": scale})
    rows = found(lambda x, y, b: jnp.mean((y - b * x) ** 2) / 2, 2.0, data=jnp.full(3, scale))
    assert (first, anew, part, rows) == (2.0, 6.0, 6.0, 6.0)
