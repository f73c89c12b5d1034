"""The implicit hypergradient against dense linear algebra, far from convergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from cases import CASES, dense_derivatives, dense_hypergradient, flat, relative_error


def linear_solver(name, step):
    return {
        "direct": lambda: bx.Direct(),
        "neumann": lambda: bx.Neumann(step_size=step, num_steps=4000),
        "descent": lambda: bx.GradientDescent(step, 4000),
        "cg": lambda: bx.CG(60, tol=1e-14),
        "fixed point": lambda: bx.FixedPointIteration(400),
    }[name]()


SYMMETRIC = ("direct", "neumann", "descent", "cg")
PAIRS = [(case, linear) for case in ("logistic", "nested") for linear in SYMMETRIC]
PAIRS += [("quadratic", "cg")]
PAIRS += [("fixed_point", linear) for linear in (*SYMMETRIC[:3], "fixed point")]


@pytest.mark.parametrize(("name", "linear"), PAIRS)
def test_equals_dense_computation_far_from_convergence(name, linear):
    case = CASES[name]()
    inner = bx.GradientDescent(case.inner_step, 2)
    h = bx.hypergradient(
        case.problem, bx.Implicit(inner, linear_solver(linear, case.inner_step)), case.x, case.y
    )
    expected, z = dense_hypergradient(case, case.x, h.y)
    assert h.result == bx.Result.successful
    assert relative_error(h.y, case.y) > 1e-3  # the inner steps moved y
    assert np.linalg.norm(flat(case.residual(case.x, h.y))) > 1e-3  # far from solved
    assert relative_error(h.adjoint, z) < 1e-10
    assert relative_error(h.gradient, expected) < 1e-10
    np.testing.assert_allclose(h.value, case.outer(case.x, h.y), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_equals_finite_differences_at_the_solution(name):
    case = CASES[name]()
    inner = bx.GradientDescent(case.inner_step, 5000)
    h = bx.hypergradient(case.problem, bx.Implicit(inner, bx.Direct()), case.x, case.y)

    def value(x):
        estimator = bx.Implicit(inner, bx.Direct())
        return float(bx.hypergradient(case.problem, estimator, x, case.y).value)

    direction = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size)).reshape(a.shape), case.x)
    eps = 1e-5
    moved = [
        value(jax.tree.map(lambda a, d, s=s: a + s * eps * d, case.x, direction))
        for s in (1, -1)
    ]
    difference = (moved[0] - moved[1]) / (2 * eps)
    slope = sum(
        float(jnp.vdot(a, b))
        for a, b in zip(jax.tree.leaves(h.gradient), jax.tree.leaves(direction), strict=True)
    )
    assert slope == pytest.approx(difference, rel=1e-7)


def test_min_problem_is_the_bilevel_problem_with_equal_objectives():
    rng = np.random.default_rng(0)
    D, x = rng.standard_normal((4, 6)), jnp.asarray(rng.standard_normal(4))

    def loss(x, y):
        return jnp.sum((x - D @ y) ** 2) / 2 + 0.1 * jnp.sum(y**2) / 2

    estimator = bx.Implicit(bx.GradientDescent(0.01, 3), bx.Direct())
    h = bx.hypergradient(bx.MinProblem(loss), estimator, x, jnp.zeros(6))
    # g3 is exact on a quadratic: l(x) = x' (I - D (D'D + .1 I)^-1 D') x / 2.
    exact = x - D @ np.linalg.solve(D.T @ D + 0.1 * np.eye(6), D.T @ x)
    np.testing.assert_allclose(h.gradient, exact, rtol=1e-12)


@pytest.mark.parametrize("name", ["quadratic", "logistic", "nested"])
def test_as_fixed_point_has_the_same_hypergradient(name):
    case = CASES[name]()
    problem = case.problem.as_fixed_point(case.inner_step)
    estimator = bx.Implicit(bx.FixedPointIteration(3), bx.Direct())
    h = bx.hypergradient(problem, estimator, case.x, case.y)
    reference = bx.hypergradient(
        case.problem,
        bx.Implicit(bx.GradientDescent(case.inner_step, 3), bx.Direct()),
        case.x,
        case.y,
    )
    assert relative_error(h.y, reference.y) < 1e-13
    assert relative_error(h.gradient, reference.gradient) < 1e-12


def test_the_step_of_as_fixed_point_is_a_constant_under_differentiation():
    # The step depends on x; its derivative must not enter.
    def gradient(step_of):
        def phi(x, y):
            g = lambda x, y: (y - x) ** 2 / 2 + y**2 / 4
            return (
                bx.BilevelProblem(lambda x, y: y, g)
                .as_fixed_point(step_of(x))
                .fixed_point(x, y)
            )

        problem = bx.FixedPointProblem(lambda x, y: y**2, phi, symmetric=True)
        estimator = bx.Implicit(bx.FixedPointIteration(1), bx.Direct())
        return bx.hypergradient(problem, estimator, 1.0, 0.5).gradient

    assert float(gradient(lambda x: 0.3 * x)) == pytest.approx(float(gradient(lambda x: 0.3)))


def test_a_declared_gauge_solves_on_the_quotient():
    # g does not see the mean of y: the Hessian has the kernel (1, ..., 1).
    center = lambda y: y - jnp.mean(y)
    rng = np.random.default_rng(5)
    D, x = jnp.asarray(rng.standard_normal((5, 5))), jnp.asarray(rng.standard_normal(5))
    inner = lambda x, y: jnp.sum(jnp.cosh(center(y) - x)) + jnp.sum((D @ center(y)) ** 2)
    outer = lambda x, y: jnp.sum(center(y) ** 3)
    P = np.eye(5) - 1 / 5
    y = jnp.asarray(rng.standard_normal(5))

    def reference(y):
        J, H, _, f_y = map(
            np.asarray, dense_derivatives(jax.grad(inner, argnums=1), outer, x, y)
        )
        return J.T @ np.linalg.pinv(H, rcond=1e-10) @ -f_y

    for linear in (bx.Direct(), bx.CG(20), bx.Neumann(step_size=0.01, num_steps=20000)):
        problem = bx.BilevelProblem(outer, inner, gauge=center)
        estimator = bx.Implicit(bx.GradientDescent(1e-3, 1), linear)
        h = bx.hypergradient(problem, estimator, x, y)
        assert h.result == bx.Result.successful
        assert relative_error(h.gradient, reference(h.y)) < 1e-9
        np.testing.assert_allclose(P @ h.adjoint, h.adjoint, atol=1e-12)


def test_a_problem_s_own_sweep_is_iterated():
    # Coordinate-wise exact minimisation of a 2 x 2 quadratic.
    inner = lambda x, y: y[0] ** 2 + y[1] ** 2 + y[0] * y[1] - x * y[0]

    def update(x, y):
        first = (x - y[1]) / 2
        return jnp.stack([first, -first / 2])

    problem = bx.BilevelProblem(lambda x, y: jnp.sum(y**2), inner, update=update)
    estimator = bx.Implicit(bx.FixedPointIteration(60), bx.Direct())
    h = bx.hypergradient(problem, estimator, 3.0, jnp.zeros(2))
    np.testing.assert_allclose(h.y, [2.0, -1.0], rtol=1e-12)
    assert float(h.gradient) == pytest.approx(2 * (4 + 1) / 3)


def test_works_under_jit_vmap_and_over_step_sizes():
    case = CASES["nested"]()

    @jax.jit
    def gradient(step, x):
        estimator = bx.Implicit(bx.GradientDescent(step, 5), bx.CG(20))
        return bx.hypergradient(case.problem, estimator, x, case.y).gradient

    steps = jnp.array([0.01, 0.03, 0.05])
    together = jax.vmap(gradient, in_axes=(0, None))(steps, case.x)
    for i, step in enumerate(steps):
        estimator = bx.Implicit(bx.GradientDescent(float(step), 5), bx.CG(20))
        alone = bx.hypergradient(case.problem, estimator, case.x, case.y).gradient
        row = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert relative_error(row, alone) < 1e-12


def test_float32_stays_float32(x32):
    case = CASES["nested"]()
    for linear in (
        bx.CG(10),
        bx.Direct(),
        bx.Neumann(step_size=0.05, num_steps=5),
        bx.GradientDescent(0.05, 5),
    ):
        estimator = bx.Implicit(bx.GradientDescent(0.05, 5), linear)
        h = bx.hypergradient(case.problem, estimator, case.x, case.y)
        leaves = jax.tree.leaves((h.gradient, h.y, h.adjoint, h.value))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}


def test_float32_variables_under_x64_keep_their_dtype():
    case = CASES["quadratic"]()
    to32 = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float32), tree)
    estimator = bx.Implicit(bx.GradientDescent(0.5, 5), bx.CG(5))
    h = bx.hypergradient(to32(case.problem), estimator, to32(case.x), to32(case.y))
    assert {h.gradient.dtype, h.y.dtype, h.adjoint.dtype} == {jnp.dtype(jnp.float32)}
