"""Preconditioned conjugate gradient against dense solves, and how many products it takes."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import bilevax as bx
from bilevax._rows.batch import full
from bilevax.solvers._equation import AdjointEquation
from cases import steps

SPREAD = np.logspace(-6, 6, 40)


class Stretched(eqx.Module):
    """Of a matrix D^1/2 C D^1/2: division by D."""

    diagonal: jax.Array

    def __call__(self, x, y, r):
        return jax.tree.map(lambda d, r: r / d, self.diagonal, r)


def stretched(dtype=float, spread=SPREAD):
    """A matrix of condition 3 but for its scales, and a right-hand side of all scales."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((len(spread), len(spread))))[0]
    C = (Q * np.linspace(1.0, 3.0, len(spread))) @ Q.T
    H = np.sqrt(spread)[:, None] * C * np.sqrt(spread)
    b = np.sqrt(spread) * rng.standard_normal(len(spread))
    return jnp.asarray((H + H.T) / 2, dtype), jnp.asarray(b, dtype)


# They run for a moment only: what they cost is to be compiled.
@functools.partial(eqx.filter_jit, compiler_options={"xla_backend_optimization_level": 0})
def solve(linear, H, b, start=None):
    zero = jnp.zeros_like(b)
    problem = bx.BilevelProblem(lambda x, y: b @ y, lambda x, y: y @ H @ y / 2)
    equation = AdjointEquation(problem, zero[0], zero, b)
    state = linear.init(equation, zero)
    return linear.solve(equation, start, state, jax.random.key(0), 0)


def scaled_error(z, H, b, spread=SPREAD):
    """Where the matrix has scales, so has the solution."""
    H, b = np.asarray(H, float), np.asarray(b, float)
    root = np.sqrt(spread)
    exact = -np.linalg.solve(H / root[:, None] / root, b / root)
    return np.linalg.norm(root * np.asarray(z, float) - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize(("dtype", "warm"), [(np.float32, True), (np.float64, False)])
def test_scales_cost_nothing(dtype, warm):
    spread = SPREAD if dtype == np.float64 else np.logspace(-4, 4, 40)
    H, b = stretched(dtype, spread)
    start = jnp.asarray(1 / np.sqrt(spread), dtype) if warm else None
    inverse = Stretched(jnp.asarray(spread, dtype))
    z, _, cost, result = solve(bx.CG(steps(60), preconditioner=inverse), H, b, start)
    assert result == bx.Result.successful
    assert scaled_error(z, H, b, spread) < 1e3 * np.finfo(dtype).eps
    plain, _, plain_cost, _ = solve(bx.CG(steps(60)), H, b, start)
    assert cost.on_host().hvp < 40 < plain_cost.on_host().hvp
    assert scaled_error(plain, H, b, spread) > 0.1


def test_a_tolerance_is_relative_to_the_plain_norm():
    H, b = stretched()
    inverse = Stretched(jnp.asarray(SPREAD))
    z, state, cost, _ = solve(bx.CG(steps(60), tol=1e-6, preconditioner=inverse), H, b)
    assert float(state.residual) <= 1e-6 * np.linalg.norm(b) < 1e3 * float(state.residual)
    np.testing.assert_allclose(np.linalg.norm(H @ z + b), state.residual, rtol=1e-3)
    assert cost.on_host().hvp < 20


def test_a_multiple_of_the_identity_changes_nothing():
    H, b = stretched(spread=np.logspace(-1, 1, 40))
    inverse = Stretched(jnp.full(40, 1e3))
    for num in (1, 5, 12):
        z, _, cost, _ = solve(bx.CG(steps(num), preconditioner=inverse), H, b)
        plain, _, plain_cost, _ = solve(bx.CG(steps(num)), H, b)
        np.testing.assert_allclose(z, plain, rtol=1e-10)
        assert cost.on_host().hvp == plain_cost.on_host().hvp == num


@pytest.mark.parametrize("size", [1e-20, 1e-10, 1e10, 1e20])
def test_at_every_scale_of_single_precision(size):
    """Of M, of the system, and of a start far from the solution or at it."""
    spread = np.logspace(-1, 1, 40)
    H, b = stretched(np.float32, spread)
    exact = -np.linalg.solve(np.asarray(H, float), np.asarray(b, float))
    near = jnp.asarray(exact, jnp.float32)
    for inverse in (None, Stretched(jnp.asarray(spread * size, jnp.float32))):
        solver = bx.CG(steps(60), preconditioner=inverse)
        for scale, start in ((1.0, near), (1.0, 1e3 * near), (size, None), (size, size * near)):
            z, _, _, result = solve(solver, H, jnp.float32(scale) * b, start)
            assert result == bx.Result.successful
            error = np.linalg.norm(np.asarray(z, float) / scale - exact)
            assert error < 1e-3 * np.linalg.norm(exact)


def test_a_preconditioned_step_is_that_of_the_textbook():
    """Nocedal and Wright, Algorithm 5.3, in NumPy."""
    H, b = (np.asarray(a) for a in stretched(spread=np.logspace(-1, 1, 40)))
    M = np.diag(np.linspace(0.5, 2.0, 40))
    apply = jax.tree_util.Partial(lambda M, x, y, r: M @ r, jnp.asarray(M))
    z, r = np.zeros(40), H @ np.zeros(40) + b
    p = -M @ r
    for num in range(1, 6):
        a = (r @ M @ r) / (p @ H @ p)
        new = r + a * H @ p
        z, p = z + a * p, -M @ new + (new @ M @ new) / (r @ M @ r) * p
        r = new
        solver = bx.CG(steps(num), preconditioner=apply)
        found, *_ = solve(solver, jnp.asarray(H), jnp.asarray(b))
        np.testing.assert_allclose(found, z, rtol=1e-9)


BAD = {
    "negative": (lambda x, y, r: -r, "preconditioner"),
    "indefinite": (lambda x, y, r: r * jnp.where(jnp.arange(40) % 2, 1, -2), "preconditioner"),
    "nan": (lambda x, y, r: jnp.nan * r, "preconditioner"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_preconditioner_that_is_none(name):
    preconditioner, told = BAD[name]
    z, _, _, result = solve(bx.CG(steps(60), preconditioner=preconditioner), *stretched())
    assert result == getattr(bx.Result, told) and np.all(np.isfinite(z))


def test_saddles_and_kernels_are_told_under_a_preconditioner():
    solver = bx.CG(steps(9), preconditioner=Stretched(jnp.array([1e6, 1.0, 1e-3])))
    for diagonal, name in (
        ([1e6, 1.0, 1e-3], "successful"),
        ([1e6, -1.0, 1e-3], "indefinite"),
        ([1e6, 1.0, -1e-3], "indefinite"),
        ([1e6, 0.0, 1e-3], "singular"),
        ([0.0, 1.0, 1e-3], "singular"),
    ):
        b = jnp.array([1e3, 1.0, 0.03])
        z, _, _, result = solve(solver, jnp.diag(jnp.array(diagonal)), b)
        assert result == getattr(bx.Result, name), (diagonal, bx.Result[result])
        assert np.all(np.isfinite(z))


def test_what_is_no_callable():
    with pytest.raises(TypeError, match=r"preconditioner must be a callable \(x, y, r\)"):
        bx.CG(3, preconditioner=jnp.ones(3))


# -- the penalised problems' own ----------------------------------------------------------

KINDS = {
    "multinomial": (bx.problems.penalised_logistic, 3),
    "binary": (bx.problems.penalised_binary_logistic, 2),
    "ridge": (bx.problems.penalised_ridge, 5),
}


def task(model, sparse=False, **kwargs):
    rng = np.random.default_rng(1)
    make, classes = KINDS[model]
    X = rng.standard_normal((50, 12)) * (rng.random((50, 12)) < 0.6)
    labels = rng.integers(0, classes, 50)
    rows = scipy.sparse.csr_array(X) if sparse else X
    return make((rows, labels), (rows, labels), **kwargs)


DIAGONALS = [
    ("multinomial", True, "per-feature"),
    ("multinomial", False, "per-class"),
    ("binary", True, "grouped"),
    ("ridge", False, "shared"),
]


@pytest.mark.parametrize(("model", "sparse", "penalty"), DIAGONALS)
def test_the_diagonal_at_zero_weights(model, sparse, penalty):
    groups = np.arange(12) % 3 if penalty == "grouped" else None
    given = task(model, sparse, penalty=penalty, groups=groups)
    x = given.x0 + jnp.linspace(-3, 3, given.x0.size).reshape(given.x0.shape)
    features, targets = given.problem.inner_data
    rows = (features.todense() if sparse else features), targets
    g = lambda y: given.problem.inner(x, y.reshape(given.y0.shape), rows)
    diagonal = np.diag(jax.jit(jax.hessian(g))(given.y0.ravel()))
    ones = given.preconditioner(x, given.y0, jnp.ones_like(given.y0))
    np.testing.assert_allclose(1 / ones.ravel(), diagonal, rtol=1e-12)


def test_spread_penalties_take_fewer_products():
    given = task("multinomial")
    problem, y = given.problem, given.y0 + 0.1
    x = jnp.linspace(-8, 16, 12)
    inner = bx.GradientDescent(1e-9, 1)
    count = {}
    nothing = eqx.tree_at(lambda d: d.loss, given.preconditioner, jnp.full(12, 1e30))
    for name, preconditioner in (("plain", nothing), ("diagonal", given.preconditioner)):
        linear = bx.CG(500, tol=1e-10, preconditioner=preconditioner)
        h = bx.hypergradient(problem, bx.Implicit(inner, linear), x, y)
        assert h.result == bx.Result.successful
        product = problem.linearize(x, h.y, full(problem.inner_data, None)).hvp
        f_y = problem.value_and_gradients(x, h.y, full(problem.outer_data, None))[1][1]
        missed = np.linalg.norm(product(h.adjoint) + f_y)
        assert missed < 1e-9 * np.linalg.norm(f_y)
        count[name] = h.cost.hvp
    assert 2 * count["diagonal"] < count["plain"]


def test_in_a_run_its_arrays_are_arguments():
    """A run goes on with another preconditioner of the same kind, compiled once."""
    given = task("binary")
    seen = []

    class Watched(eqx.Module):
        inverse: eqx.Module

        def __call__(self, x, y, r):
            seen.append(1)
            return self.inverse(x, y, r)

    def run(inverse):
        linear = bx.CG(12, preconditioner=Watched(inverse))
        algorithm = bx.Algorithm(bx.Implicit(bx.GradientDescent(0.1, 3), linear), 0.1)
        return bx.minimize(given.problem, algorithm, given.x0, given.y0, num_steps=3)

    first = run(given.preconditioner)
    traced = len(seen)
    other = eqx.tree_at(lambda d: d.loss, given.preconditioner, given.preconditioner.loss * 2)
    second = run(other)
    assert first.result == second.result == bx.Result.successful
    np.testing.assert_allclose(first.x, second.x, rtol=1e-8)
    assert len(seen) < 2 * traced  # what is checked before a run may be traced again


def test_a_preconditioner_of_implicit_functions():
    """It sees x and y as the objective does, whatever is closed over."""
    weights = jnp.array([1e4, 1.0, 1e-4])

    def inverse(x, y, r):
        assert set(x) == {"a"} and len(y) == len(r) == 2
        return [r[0] / weights, r[1]]

    def total(shift):
        def objective(x, y):
            fit = jnp.sum(weights * (y[0] - x["a"] * shift) ** 2) / 2
            return fit + (y[1] - x["a"][0]) ** 2 / 2 + jnp.sum(x["a"] ** 2)

        linear = bx.CG(3, preconditioner=inverse)
        y0 = [jnp.zeros(3), jnp.zeros(())]
        inner = bx.CG(5, preconditioner=inverse)
        x = {"a": jnp.arange(1.0, 4.0)}
        y = bx.argmin(objective, y0, inner, linear=linear)(x)
        return jnp.sum(y[0]) + y[1]

    np.testing.assert_allclose(jax.grad(total)(2.0), 6.0, rtol=1e-9)
