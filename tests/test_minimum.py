"""Value functions and solution maps under JAX's transformations."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import bilevax as bx
from cases import CASES, dense_derivatives, flat, relative_error

rng = np.random.default_rng(0)
D = rng.standard_normal((5, 4))
X0 = np.linspace(-1.0, 1.0, 5)


def ridge(x, y, weight=0.5):
    return jnp.sum((x - D @ y) ** 2) / 2 + weight * jnp.sum(y**2) / 2


def ridge_value(x, weight=0.5):
    y = jnp.linalg.solve(D.T @ D + weight * jnp.eye(4), D.T @ x)
    return ridge(x, y, weight)


STEP = 1 / (np.linalg.norm(D, 2) ** 2 + 0.5)
GRADIENTS = {
    "analytic": "analytic",
    "automatic": "automatic",
    "implicit": "implicit",
    "estimator": bx.Unrolled(bx.GradientDescent(STEP, 300), checkpoint="sqrt"),
    "cg": bx.Implicit(bx.GradientDescent(STEP, 300), bx.CG(4)),
}


@functools.cache
def value_function(gradient):
    """Made once: each has programs of its own, and any order of calls is to be right."""
    inner = bx.GradientDescent(STEP, 300)
    return bx.minimum(ridge, jnp.zeros(4), inner, gradient=GRADIENTS[gradient])


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_value_and_gradient(gradient, wrap):
    ell, x = value_function(gradient), jnp.asarray(X0)
    (value, g), alone = wrap(lambda x: (jax.value_and_grad(ell)(x), ell(x)))(x)
    assert float(value) == pytest.approx(float(ridge_value(x)), rel=1e-12)
    np.testing.assert_allclose(g, jax.grad(ridge_value)(x), rtol=1e-9)
    np.testing.assert_allclose(alone, value, rtol=1e-14)


@pytest.mark.parametrize("gradient", ["analytic", "automatic", "implicit"])
def test_far_from_convergence_it_is_the_estimator_s_gradient(gradient):
    case = CASES["nested"]()
    inner = bx.GradientDescent(case.inner_step, 5)
    estimator = {
        "analytic": bx.Analytic(inner),
        "automatic": bx.Unrolled(inner),
        "implicit": bx.Implicit(inner, bx.Direct()),
    }[gradient]
    objective = case.problem.inner
    ell = bx.minimum(objective, case.y, inner, gradient=gradient)
    h = bx.hypergradient(bx.MinProblem(objective), estimator, case.x, case.y)
    value, g = jax.value_and_grad(ell)(case.x)
    assert relative_error(g, h.gradient) < 1e-13
    assert float(value) == pytest.approx(float(h.value), rel=1e-14)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_vmap_inside_and_outside_of_grad(gradient):
    ell = value_function(gradient)
    xs = jnp.asarray(rng.standard_normal((3, 5)))
    expected = jax.vmap(jax.grad(ridge_value))(xs)
    outside = jax.vmap(jax.grad(ell))(xs)
    inside = jax.grad(lambda xs: jnp.sum(jax.vmap(ell)(xs)))(xs)
    in_loop = jax.lax.map(jax.jit(jax.grad(ell)), xs)
    for g in (outside, inside, in_loop):
        np.testing.assert_allclose(g, expected, rtol=1e-7)


@pytest.mark.parametrize("gradient", ["analytic", "automatic", "implicit"])
def test_closed_over_values(gradient):
    """d/d(weight) and d/dx at once, the weight closed over."""
    x = jnp.asarray(X0)

    def through(weight, x):
        objective = lambda x, y: ridge(x, y, weight)
        inner = bx.GradientDescent(STEP, 400)
        return jnp.sin(bx.minimum(objective, jnp.zeros(4), inner, gradient=gradient)(x))

    expected = jax.grad(lambda w, x: jnp.sin(ridge_value(x, w)), argnums=(0, 1))(0.4, x)
    got = jax.grad(through, argnums=(0, 1))(0.4, x)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-9)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-9)
    only_weight = jax.jit(jax.grad(through))(0.4, x)
    np.testing.assert_allclose(only_weight, expected[0], rtol=1e-9)
    weights = jnp.array([0.3, 0.4])
    together = jax.vmap(jax.grad(through), in_axes=(0, None))(weights, x)
    np.testing.assert_allclose(together[1], expected[0], rtol=1e-9)


def test_closed_over_values_with_data_and_batches():
    A, b = jnp.asarray(rng.standard_normal((20, 4))), jnp.asarray(rng.standard_normal(20))

    def through(weight, batch_size):
        def objective(x, y, batch):
            A, b = batch
            return jnp.mean((A @ y - b - x) ** 2) / 2 + weight * jnp.sum(y**2) / 2

        step = 0.05 if batch_size is None else bx.schedules.decreasing(4.0, 80.0)
        inner = bx.GradientDescent(step, 4000, batch_size=batch_size)
        ell = bx.minimum(objective, jnp.zeros(4), inner, data=(A, b), key=jax.random.key(0))
        return ell(jnp.asarray(0.2))

    def exact(weight):
        y = jnp.linalg.solve(A.T @ A / 20 + weight * jnp.eye(4), A.T @ (b + 0.2) / 20)
        return jnp.mean((A @ y - b - 0.2) ** 2) / 2 + weight * jnp.sum(y**2) / 2

    expected = jax.grad(exact)(0.3)
    np.testing.assert_allclose(jax.grad(through)(0.3, None), expected, rtol=1e-9)
    np.testing.assert_allclose(jax.grad(through)(0.3, 10), expected, rtol=0.1)


class Model(eqx.Module):
    matrix: jax.Array
    activation: object = eqx.field(static=False)
    name: str = "model"

    def __call__(self, v):
        return self.activation(self.matrix @ v)


def test_equinox_modules_with_other_leaves():
    x = Model(jnp.asarray(rng.standard_normal((3, 2))), jnp.tanh)
    y0 = Model(jnp.asarray(rng.standard_normal((2, 2))), jnp.sin)

    def objective(x, y):
        v = jnp.array([0.3, -0.2])
        return jnp.sum(x(y(v)) ** 2) + jnp.sum((y.matrix - 0.1) ** 2)

    inner = bx.GradientDescent(0.1, 400)
    ell = bx.minimum(objective, y0, inner)
    g = eqx.filter_grad(ell)(x)
    solution = bx.argmin(objective, y0, inner)
    y = solution(x)
    assert y.name == "model" and y.activation is jnp.sin
    expected = eqx.filter_grad(objective)(x, y)
    assert relative_error(g.matrix, expected.matrix) < 1e-9
    composed = eqx.filter_grad(lambda x: objective(x, solution(x)))(x)
    assert relative_error(composed.matrix, expected.matrix) < 1e-6


def test_float32(x32):
    x, D32 = jnp.asarray(X0, jnp.float32), np.asarray(D, np.float32)
    ridge = lambda x, y: jnp.sum((x - D32 @ y) ** 2) / 2 + 0.25 * jnp.sum(y**2)
    exact = np.linalg.solve(D.T @ D + 0.5 * np.eye(4), D.T)
    for gradient in ("analytic", "automatic", "implicit"):
        ell = bx.minimum(ridge, jnp.zeros(4), bx.GradientDescent(STEP, 300), gradient=gradient)
        value, g = jax.jit(jax.value_and_grad(ell))(x)
        assert value.dtype == g.dtype == jnp.float32
        np.testing.assert_allclose(g, X0 - D @ (exact @ X0), rtol=1e-3, atol=1e-5)
    solution = bx.argmin(ridge, jnp.zeros(4), bx.GradientDescent(STEP, 300))
    J = jax.jacrev(solution)(x)
    assert J.dtype == jnp.float32
    np.testing.assert_allclose(J, exact, rtol=1e-3, atol=1e-5)


def test_steps_that_were_left_out():
    ell = bx.minimum(ridge, jnp.zeros(4), bx.GradientDescent(num_steps=400))
    x = jnp.asarray(X0)
    np.testing.assert_allclose(jax.grad(ell)(x), jax.grad(ridge_value)(x), rtol=1e-9)
    np.testing.assert_allclose(
        jax.jacrev(bx.argmin(ridge, jnp.zeros(4), bx.GradientDescent(num_steps=400)))(x),
        np.linalg.solve(D.T @ D + 0.5 * np.eye(4), D.T),
        rtol=1e-8,
    )


REFUSED = {
    "jvp": lambda ell, x: jax.jvp(ell, (x,), (x,)),
    "jacfwd": lambda ell, x: jax.jacfwd(ell)(x),
    "jitted jvp": lambda ell, x: jax.jit(lambda x: jax.jvp(ell, (x,), (x,)))(x),
    "jvp of jit": lambda ell, x: jax.jvp(jax.jit(ell), (x,), (x,)),
}
REFUSED_TWICE = {
    "hessian": lambda ell, x: jax.hessian(ell)(x),
    "grad of grad": lambda ell, x: jax.grad(lambda x: jnp.sum(jax.grad(ell)(x)))(x),
    "jitted": lambda ell, x: jax.jit(jax.jacrev(jax.grad(ell)))(x),
    "forward over reverse": lambda ell, x: jax.jvp(jax.grad(ell), (x,), (x,)),
}


@pytest.mark.parametrize("gradient", ["analytic", "automatic", "implicit"])
@pytest.mark.parametrize("name", [*REFUSED, *REFUSED_TWICE])
def test_derivatives_that_are_not_provided_raise(gradient, name):
    ell, x = value_function(gradient), jnp.asarray(X0)
    message = "no forward-mode" if name in REFUSED else "no second derivative"
    with pytest.raises(TypeError, match=f"{message}.*bx.argmin"):
        (REFUSED | REFUSED_TWICE)[name](ell, x)


def test_derivatives_in_step_sizes_and_data_raise():
    x = jnp.asarray(X0)

    def of_step(step):
        return bx.minimum(ridge, jnp.zeros(4), bx.GradientDescent(step, 10))(x)

    def of_data(data):
        objective = lambda x, y, batch: jnp.mean((batch @ y - x[0]) ** 2)
        inner = bx.GradientDescent(0.1, 10)
        return bx.argmin(objective, jnp.zeros(4), inner, data=data)(x).sum()

    for function, argument in ((of_step, 0.1), (of_data, jnp.asarray(D))):
        assert jnp.isfinite(function(argument))
        with pytest.raises(TypeError, match="pass what is to be differentiated in x"):
            jax.grad(function)(argument)


def test_failures_raise_with_their_text():
    x = jnp.asarray(X0)
    ell = bx.minimum(ridge, jnp.zeros(4), bx.GradientDescent(1e3, 300))
    with pytest.raises(Exception, match="inner variable y became infinite"):
        jax.block_until_ready(ell(x))
    saddle = lambda x, y: x * y[0] + y[0] ** 2 - y[1] ** 2
    inner = bx.GradientDescent(0.1, 2)
    ell = bx.minimum(saddle, jnp.ones(2), inner, gradient="implicit")
    with pytest.raises(Exception, match="negative curvature"):
        jax.block_until_ready(jax.grad(ell)(1.0))
    with pytest.raises(Exception, match="negative curvature"):
        solution = bx.argmin(saddle, jnp.ones(2), inner)
        jax.block_until_ready(jax.jacrev(solution)(1.0))


def test_bad_arguments():
    inner = bx.GradientDescent(0.1, 3)
    with pytest.raises(ValueError, match="gradient must be"):
        bx.minimum(ridge, jnp.zeros(4), inner, gradient="exact")
    with pytest.raises(TypeError, match="needs an inner solver"):
        bx.minimum(ridge, jnp.zeros(4))
    with pytest.raises(TypeError, match=r"compose it with bx\.argmin"):
        bx.minimum(CASES["nested"]().problem, jnp.zeros(4), inner)
    with pytest.raises(TypeError, match="x has dtype int64"):
        bx.minimum(ridge, jnp.zeros(4), inner)(jnp.arange(5))


def test_the_default_linear_solver_is_accurate_or_raises():
    h = jnp.logspace(-6, 0, 300)
    v = jnp.asarray(np.random.default_rng(0).standard_normal(300))
    loss = lambda x, y: jnp.sum(h * (y - x) ** 2) / 2
    once = bx.GradientDescent(0.5, 3)
    solution = bx.argmin(loss, jnp.ones(300), once)  # y0 solves it at x = 1
    got = jax.grad(lambda x: v @ solution(x))(1.0)
    assert float(got) == pytest.approx(float(v.sum()), rel=1e-4)
    short = bx.argmin(loss, jnp.ones(300), once, linear=bx.CG(5, must_converge=True))
    with pytest.raises(Exception, match="used all its steps"):
        jax.block_until_ready(jax.grad(lambda x: v @ short(x))(1.0))


def test_infinite_gradients_raise():
    inner = bx.GradientDescent(0.3, 100)
    start = jnp.zeros(2)
    loss = lambda x, y: jnp.sum((y - x) ** 2) / 2
    adam = lambda **kwargs: bx.Descent(optax.adam(0.1, **kwargs), 7)
    with pytest.raises(Exception, match="hypergradient became infinite or NaN"):
        jax.block_until_ready(
            jax.grad(bx.minimum(loss, start, adam(), gradient="automatic"))(0.0)
        )
    smooth = jax.grad(bx.minimum(loss, start, adam(eps_root=1e-8), gradient="automatic"))(0.0)
    assert np.isfinite(smooth)
    root = bx.BilevelProblem(lambda x, y: y**2, lambda x, y: (y - jnp.sqrt(x) - 1) ** 2 / 2)
    for estimator in (bx.Implicit(inner, bx.CG(2)), bx.Unrolled(inner)):
        h = bx.hypergradient(root, estimator, 0.0, 0.0)
        assert h.result == bx.Result.outer_nonfinite


def test_data_may_not_be_given_twice():
    inner = bx.GradientDescent(0.3, 100)
    problem = bx.MinProblem(lambda x, y, b: jnp.mean((y - b * x) ** 2), jnp.ones(4))
    for make in (bx.minimum, bx.argmin):
        with pytest.raises(TypeError, match="data of its own"):
            make(problem, 0.0, inner, data=jnp.ones(4))


# -- argmin -------------------------------------------------------------------------------


def implicit_jacobian(case, x, y):
    F_x, F_y, *_ = dense_derivatives(case.residual, case.outer, x, y)
    return -np.linalg.solve(F_y, F_x)


LINEAR = {
    "default": None,
    "direct": bx.Direct(),
    "cg": bx.CG(60),
    "iteration": bx.FixedPointIteration(400),
}


@pytest.mark.parametrize(
    "name, linear",
    [
        *(("nested", linear) for linear in ("default", "direct", "cg")),
        *(("logistic", linear) for linear in ("default", "cg")),
        *(("fixed_point", linear) for linear in ("default", "iteration")),
    ],
)
def test_solution_map_in_forward_and_reverse_mode(name, linear):
    case = CASES[name]()
    solution = bx.argmin(
        case.problem, case.y, bx.GradientDescent(case.inner_step, 3000), linear=LINEAR[linear]
    )
    y = solution(case.x)
    flat_x, to_x = ravel_pytree(case.x)
    as_vector = lambda v: ravel_pytree(solution(to_x(v)))[0]
    expected = implicit_jacobian(case, case.x, y)
    for jacobian in (jax.jacfwd, jax.jacrev):
        J = jax.jit(jacobian(as_vector))(flat_x)
        assert np.linalg.norm(J - expected) < 1e-9 * np.linalg.norm(expected)


def test_solution_map_equals_finite_differences():
    case = CASES["nested"]()
    solution = bx.argmin(case.problem.inner, case.y, bx.GradientDescent(case.inner_step, 4000))
    direction = jax.tree.map(jnp.ones_like, case.x)
    move = lambda s: jax.tree.map(lambda a, d: a + s * d, case.x, direction)
    numeric = (flat(solution(move(1e-5))) - flat(solution(move(-1e-5)))) / 2e-5
    _, tangent = jax.jvp(solution, (case.x,), (direction,))
    np.testing.assert_allclose(flat(tangent), numeric, rtol=1e-6, atol=1e-9)


def test_second_derivatives_of_the_solution_map():
    objective = lambda x, y: jnp.exp(y) - x * y  # y* = log x
    solution = bx.argmin(objective, 0.0, bx.GradientDescent(0.2, 600))
    x = 1.7
    assert float(solution(x)) == pytest.approx(np.log(x), rel=1e-12)
    assert float(jax.grad(jax.grad(solution))(x)) == pytest.approx(-1 / x**2, rel=1e-9)
    assert float(jax.hessian(solution)(x)) == pytest.approx(-1 / x**2, rel=1e-9)
    value = lambda x: objective(x, solution(x))
    assert float(jax.hessian(value)(x)) == pytest.approx(-1 / x, rel=1e-9)


@pytest.mark.parametrize("mode", [jax.grad, jax.jacfwd])
def test_solution_map_with_closed_over_values(mode):
    def through(a, x):
        solution = bx.argmin(
            lambda x, y: jnp.exp(a * y) - x * y, 0.0, bx.GradientDescent(0.1, 900)
        )
        return solution(x)

    # exp(a y) a = x: y = log(x / a) / a.
    a, x = 1.3, 1.7
    expected = -(np.log(x / a) + 1) / a**2
    assert float(mode(through)(a, x)) == pytest.approx(expected, rel=1e-9)
    assert float(jax.jit(mode(through))(a, x)) == pytest.approx(expected, rel=1e-9)
    together = jax.vmap(mode(through), in_axes=(0, None))(jnp.array([1.1, a]), x)
    assert float(together[1]) == pytest.approx(expected, rel=1e-9)


def test_solution_map_under_vmap():
    solution = bx.argmin(ridge, jnp.zeros(4), bx.GradientDescent(STEP, 400))
    xs = jnp.asarray(rng.standard_normal((3, 5)))
    exact = np.linalg.solve(D.T @ D + 0.5 * np.eye(4), D.T)
    np.testing.assert_allclose(jax.vmap(solution)(xs), xs @ exact.T, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(jax.vmap(jax.jacrev(solution))(xs)[2], exact, rtol=1e-8)
