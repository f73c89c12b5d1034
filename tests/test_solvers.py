"""Every solver on every equation it is for, against closed forms and transcriptions."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx
from bilevax._rows.batch import full
from bilevax.solvers._equation import AdjointEquation, InnerEquation

N, M = 40, 5


def least_squares(seed=0):
    """g = mean_i (a_i y - b_i - c_i x)^2 / 2 + 0.1 |y|^2 / 2: all closed forms at hand."""
    rng = np.random.default_rng(seed)
    A, b, c = rng.standard_normal((N, M)), rng.standard_normal(N), rng.standard_normal(N)

    def inner(x, y, batch):
        A, b, c = batch
        return jnp.mean((A @ y - b - c * x) ** 2) / 2 + 0.1 * jnp.sum(y**2) / 2

    problem = bx.BilevelProblem(lambda x, y: jnp.sum(y**3), inner, inner_data=(A, b, c))
    H = A.T @ A / N + 0.1 * np.eye(M)
    return problem, A, b, c, H


@functools.cache
def equations(as_map=False):
    problem, A, b, c, H = least_squares()
    x, y = jnp.asarray(0.7), jnp.linspace(-1, 1, M)
    if as_map:
        problem = problem.as_fixed_point(0.4)
    f_y = 3 * np.asarray(y) ** 2
    scale = 0.4 if as_map else 1.0
    return {
        "inner": (InnerEquation(problem, x), y, np.linalg.solve(H, A.T @ (b + c * 0.7) / N)),
        "adjoint": (
            AdjointEquation(problem, x, y, jnp.asarray(f_y)),
            y,
            -np.linalg.solve(scale * H, f_y),
        ),
    }


@eqx.filter_jit
def _solve(solver, equation, u, key):
    state = solver.init(equation, jnp.zeros(M) if u is None else u)
    return solver.solve(equation, u, state, key, 0)


def solve(solver, equation, u, key=0):
    return _solve(solver, equation, u, jax.random.key(key))


@eqx.filter_jit
def go_on(solver, equation, u, state, k):
    """The solve of outer step k, from the state that the one before has left."""
    return solver.solve(equation, u, state, jax.random.key(k), k)


MU, L = np.linalg.eigvalsh(least_squares()[-1])[[0, -1]]
ON_BOTH = {
    "gradient descent": bx.GradientDescent(1 / L, 2000),
    "decreasing steps": bx.GradientDescent(bx.schedules.polynomial(1 / L, 0.3), 20000),
    "two phases": bx.GradientDescent(
        bx.schedules.two_phase(1 / L, 500, beta=40.0, gamma=60.0), 4000
    ),
    "momentum": bx.Descent(optax.sgd(1 / L, momentum=0.5), 1000),
    "adam": bx.Descent(optax.adam(optax.exponential_decay(0.1, 500, 0.3)), 8000),
    "optax schedule": bx.GradientDescent(optax.cosine_decay_schedule(1 / L, 4000), 4000),
    "accelerated": bx.AcceleratedGradientDescent(1 / L, 3000),
    "accelerated, mu known": bx.AcceleratedGradientDescent(1 / L, 400, strong_convexity=MU),
    "tolerance": bx.GradientDescent(1 / L, 100_000, tol=1e-13),
}
ON_ADJOINT = {
    "cg": bx.CG(M),
    "cg with tolerance": bx.CG(100, tol=1e-12),
    "neumann": bx.Neumann(step_size=1 / L, num_steps=2000),
    "direct": bx.Direct(),
}


# Every solver from a given start; from zero, one of each kind.
STARTS = [(name, "warm") for name in (*ON_BOTH, *ON_ADJOINT)]
STARTS += [
    (name, "zero") for name in ("gradient descent", "momentum", "accelerated", *ON_ADJOINT)
]


@pytest.mark.parametrize(("name", "start"), STARTS)
def test_adjoint_reaches_its_closed_form(name, start):
    equation, u, expected = equations()["adjoint"]
    u = None if start == "zero" else u
    z, _, _, result = solve((ON_BOTH | ON_ADJOINT)[name], equation, u)
    assert result == bx.Result.successful
    np.testing.assert_allclose(z, expected, rtol=1e-8)


@pytest.mark.parametrize("name", ON_BOTH)
def test_inner_reaches_its_closed_form(name):
    equation, u, expected = equations()["inner"]
    y, _, _, result = solve(ON_BOTH[name], equation, u)
    assert result == bx.Result.successful
    np.testing.assert_allclose(y, expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("fixed point", bx.FixedPointIteration(1500)),
        ("fixed point with tolerance", bx.FixedPointIteration(10**6, tol=1e-14)),
        ("gradient descent", bx.GradientDescent(1.0, 1500)),
        ("neumann", bx.Neumann(step_size=1.0, num_steps=1500)),
        ("cg", bx.CG(M)),
        ("direct", bx.Direct()),
    ],
)
@pytest.mark.parametrize("level", ["inner", "adjoint"])
def test_the_gradient_map_s_equations(name, solver, level):
    if level == "inner" and name == "neumann":
        return  # refused with an error: tests/test_bad_input.py
    equation, u, expected = equations(as_map=True)[level]
    value, _, _, result = solve(solver, equation, u)
    assert result == bx.Result.successful
    np.testing.assert_allclose(value, expected, rtol=1e-8)


def test_tolerances_stop_and_report():
    for level in ("inner", "adjoint"):
        equation, u, _ = equations()[level]
        for make in (bx.GradientDescent, bx.AcceleratedGradientDescent):
            u_end, state, cost, _ = solve(make(1 / L, 10_000, tol=1e-6), equation, u)
            calls = int(getattr(cost, equation.oracle))
            assert 5 < calls < 9_000 and state.residual <= 1e-6
            # It was not met one step earlier.
            _, before, _, _ = solve(make(1 / L, calls - 1, tol=0.0), equation, u)
            assert before.residual > 1e-6
            residual = equation.residual(u_end, full(equation.data, None))
            assert float(jnp.linalg.norm(residual)) < 2e-6
    equation, u, _ = equations()["adjoint"]
    z, state, cost, _ = solve(bx.CG(100, tol=1e-3), equation, None)
    true = float(jnp.linalg.norm(equation.residual(z, full(equation.data, None))))
    assert float(state.residual) == pytest.approx(true, rel=1e-9)
    assert true <= 1e-3 * float(jnp.linalg.norm(equation.offset)) and int(cost.hvp) < M


# -- against transcriptions ---------------------------------------------------------------


def test_accelerated_equals_its_transcription():
    equation, u, _ = equations()["inner"]
    _, A, b, c, H = least_squares()
    gradient = lambda y: H @ y - A.T @ (b + c * 0.7) / N
    q = (1 - np.sqrt(MU / L)) / (1 + np.sqrt(MU / L))
    for mu, steps in ((MU, 7), (None, 7)):
        y = w = np.asarray(u)
        t = 1.0
        for _ in range(steps):
            new = w - gradient(w) / L
            t_new = (1 + np.sqrt(1 + 4 * t**2)) / 2
            momentum = q if mu is not None else (t - 1) / t_new
            w, y, t = new + momentum * (new - y), new, t_new
        solver = bx.AcceleratedGradientDescent(1 / L, steps, strong_convexity=mu)
        np.testing.assert_allclose(solve(solver, equation, u)[0], y, rtol=1e-12)


def test_accelerated_rate():
    """Spec amigo 2.2: the error contracts like (1 - kappa^-1/2)^T, here kappa = 1,000."""
    q = bx.problems.quadratic(3, 60, inner_condition=1e3)
    equation = InnerEquation(q.problem, jnp.zeros(3))
    solver = bx.AcceleratedGradientDescent(1.0, 400, strong_convexity=1e-3)
    start = jnp.ones(60)
    y, _, _, _ = go_on(solver, equation, start, solver.init(equation, start), 0)
    bound = 2 * (1 - 1e3**-0.5) ** 400 * 1e3 * 60
    assert float(y @ y) <= bound
    plain = bx.GradientDescent(1.0, 400)
    slow, _, _, _ = go_on(plain, equation, start, plain.init(equation, start), 0)
    assert float(slow @ slow) > 1e3 * float(y @ y)


BATCHES = [[0, 3, 3], [7, 1, 39], [12, 12, 12], [5, 6, 8]]


def rows_gradient(A, b, c, rows, y):
    A, b, c = A[rows], b[rows], c[rows]
    return A.T @ (A @ y - b - c * 0.7) / len(rows) + 0.1 * y


@pytest.mark.parametrize(
    ("schedule", "step"),
    [
        (0.05, lambda i: 0.05),
        (bx.schedules.decreasing(2.0, 10.0), lambda i: 2 / (10 + i)),
        (bx.schedules.polynomial(0.1, 0.8), lambda i: 0.1 * (1 + i) ** -0.8),
        (
            bx.schedules.two_phase(0.1, 4, beta=1.0, gamma=20.0),
            lambda i: 0.1 if i < 4 else 1 / (20 + i - 4),
        ),
        (optax.linear_schedule(0.1, 0.0, 20), lambda i: 0.1 * (1 - i / 20)),
    ],
)
def test_sgd_on_given_batches_equals_its_transcription(schedule, step):
    """Two solves: the batches go on where they were, the schedule's index restarts."""
    equation, u, _ = equations()["inner"]
    _, A, b, c, _ = least_squares()
    solver = bx.SGD(schedule, 6, batch_size=bx.Batches(BATCHES))
    state = solver.init(equation, u)
    y, expected, drawn = u, np.asarray(u), 0
    for k in range(2):
        y, state, cost, _ = go_on(solver, equation, y, state, jnp.int32(k))
        for i in range(6):
            rows = BATCHES[drawn % 4]
            expected = expected - step(i) * rows_gradient(A, b, c, rows, expected)
            drawn += 1
        # optax computes its schedules in float32.
        ours = not callable(schedule) or isinstance(schedule, bx.schedules.Schedule)
        np.testing.assert_allclose(y, expected, rtol=1e-12 if ours else 1e-6)
        assert cost.on_host().rows.inner_gradient == 18


def test_a_schedule_of_the_outer_step():
    equation, u, _ = equations()["inner"]
    schedule = bx.schedules.decreasing(0.5, 2.0).outer()
    solver = bx.GradientDescent(schedule, 3)
    for k in (0, 4):
        y, *_ = go_on(solver, equation, u, solver.init(equation, u), jnp.int32(k))
        plain = bx.GradientDescent(0.5 / (2 + k), 3)
        expected, *_ = go_on(plain, equation, u, plain.init(equation, u), 0)
        np.testing.assert_allclose(y, expected, rtol=1e-13)


def test_stochastic_adjoint_on_given_batches_equals_its_transcription():
    equation, z0, _ = equations()["adjoint"]
    _, A, _, _, _ = least_squares()
    v = np.asarray(equation.offset)
    hessian = lambda rows: A[rows].T @ A[rows] / len(rows) + 0.1 * np.eye(M)
    batches = bx.Batches(BATCHES)

    z = np.asarray(z0)
    for i in range(6):
        z = z - 0.05 * (hessian(BATCHES[i % 4]) @ z + v)
    got = solve(bx.SGD(0.05, 6, batches), equation, z0)[0]
    np.testing.assert_allclose(got, z, rtol=1e-12)

    term = total = 0.05 * -v
    for i in range(6):
        term = term - 0.05 * hessian(BATCHES[i % 4]) @ term
        total = total + term
    got, _, cost, _ = solve(
        bx.Neumann(step_size=0.05, num_steps=6, batch_size=batches), equation, None
    )
    np.testing.assert_allclose(got, total, rtol=1e-12)
    assert cost.on_host().hvp == 6

    # Conjugate gradient: one batch for the whole solve.
    H = hessian(BATCHES[0])
    got, state, cost, _ = solve(bx.CG(M, batch_size=batches), equation, z0)
    np.testing.assert_allclose(got, -np.linalg.solve(H, v), rtol=1e-9)
    # Of rank 2 but for a multiple of the identity: three directions and a first residual.
    assert int(state.sampler) == 1 and cost.on_host().hvp in (4, 5)


def test_randomised_neumann_takes_one_term_of_the_series():
    """Given p, z = -eta N (I - eta H)^p v; its mean over p is the series of N terms."""
    equation, _, _ = equations()["adjoint"]
    H, v, eta, terms = least_squares()[-1], np.asarray(equation.offset), 0.1, 4
    by_products = {
        p: -eta * terms * np.linalg.matrix_power(np.eye(M) - eta * H, p) @ v
        for p in range(terms)
    }
    seen = {}
    for seed in range(40):
        solver = bx.Neumann(step_size=eta, num_steps=terms, randomized=True)
        z, _, cost, _ = solve(solver, equation, None, key=seed)
        products = cost.on_host().hvp
        np.testing.assert_allclose(z, by_products[products], rtol=1e-11)
        seen[products] = seen.get(products, 0) + 1
    assert sorted(seen) == list(range(terms)) and min(seen.values()) >= 3
    series, _, _, _ = solve(bx.Neumann(step_size=eta, num_steps=terms - 1), equation, None)
    np.testing.assert_allclose(np.mean(list(by_products.values()), axis=0), series, rtol=1e-11)
    assert solver.random and bx.Implicit(bx.GradientDescent(0.1), solver).random


def test_randomised_neumann_is_unbiased_with_fresh_batches():
    equation, _, _ = equations()["adjoint"]
    solver = bx.Neumann(step_size=0.1, num_steps=4, batch_size=10, randomized=True)
    state = solver.init(equation, jnp.zeros(M))
    one = lambda key: solver.solve(equation, None, state, key, 0)[0]
    samples = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 20_000))
    series, _, _, _ = solve(bx.Neumann(step_size=0.1, num_steps=3), equation, None)
    error = np.abs(samples.mean(0) - series)
    assert np.all(error < 4 * samples.std(0) / np.sqrt(20_000))


# -- samplers -----------------------------------------------------------------------------


@eqx.filter_jit
def drawn_by_a_solve(sampler, data, num, state, key):
    stream, state = sampler.stream(data, state, key, num)

    def draw(state, i):
        batch, state = stream(i, state)
        return state, (batch.indices, batch.rows)

    return jax.lax.scan(draw, state, jnp.arange(num))


def drawn(sampler, data, num, solves=1, seed=0):
    state, out = sampler.init(data), []
    for key in jax.random.split(jax.random.key(seed), solves):
        state, (indices, rows) = drawn_by_a_solve(sampler, data, num, state, key)
        np.testing.assert_array_equal(rows, data[indices])
        out.append(np.asarray(indices))
    return np.concatenate(out)


def test_epochs_visit_every_row_once():
    data = jnp.arange(12.0)
    batches = drawn(bx.Epochs(4), data, num=5, solves=3).reshape(-1, 4)
    for epoch in batches.reshape(5, 12):
        assert sorted(epoch) == list(range(12))
    assert len({tuple(epoch) for epoch in batches.reshape(5, 12)}) == 5
    # A remainder is left out, another one each time.
    batches = drawn(bx.Epochs(5), data, num=40)
    assert all(len(set(pair.ravel())) == 10 for pair in batches.reshape(20, 2, 5))
    assert set(batches.ravel()) == set(range(12))


def test_random_rows_are_uniform_and_fresh():
    batches = drawn(bx.RandomRows(5), jnp.arange(10.0), num=400, solves=2)
    counts = np.bincount(batches.ravel(), minlength=10)
    assert counts.sum() == 4000 and abs(counts - 400).max() < 100
    assert len({tuple(batch) for batch in batches}) > 700


def test_a_growing_solve_draws_in_its_loop_and_the_sampler_goes_on():
    equation, u, _ = equations()["inner"]
    _, A, b, c, _ = least_squares()
    solver = bx.SGD(0.05, lambda k: 2 + k, batch_size=bx.Batches(BATCHES))
    state, y, expected, position = solver.init(equation, u), u, np.asarray(u), 0
    step = jax.jit(lambda y, s, k: solver.solve(equation, y, s, jax.random.key(0), k))
    for k in range(3):
        y, state, cost, _ = step(y, state, k)
        for _ in range(2 + k):
            rows = BATCHES[position % 4]
            expected = expected - 0.05 * rows_gradient(A, b, c, rows, expected)
            position += 1
        assert cost.on_host().inner_gradient == 2 + k
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_a_cold_start_forgets_the_method_but_not_the_sampler():
    problem, *_ = least_squares()
    inner = bx.Descent(optax.sgd(0.05, momentum=0.9), 3, batch_size=bx.Batches(BATCHES))
    cold = bx.Implicit(inner, bx.CG(2), warm_start_inner=False)
    state = cold.init(problem, jnp.asarray(0.7), jnp.zeros(M))
    fresh = state.inner_state.solver.method
    _, state, _, _ = cold(problem, jnp.asarray(0.7), state, jax.random.key(0))
    y, solver = cold.start_inner(problem, jnp.asarray(0.7), state.inner_state)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), solver.method, fresh))
    assert int(solver.sampler) == 3 and not np.any(y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bx.Batches([[0, 1], [2]]), "all of one length"),
        (lambda: bx.Batches([]), "at least one batch"),
        (
            lambda: bx.Batches([[0, 99]]).init(jnp.ones(5)),
            "rows 0 to 99; the data have rows 0 to 4",
        ),
        (lambda: bx.Epochs(6).init(jnp.ones(5)), "needs at least that many rows"),
        (lambda: bx.Epochs(0), "batch_size must be at least 1"),
        (
            lambda: bx.GradientDescent(0.1, 3, batch_size=2, tol=0.1),
            "tolerance needs the residual",
        ),
        (lambda: bx.GradientDescent(0.1, 3, tol=-1.0), "tol must be"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unmeasured_step_says_so():
    equation, u, _ = equations()["inner"]
    with pytest.raises(ValueError, match="left to be measured"):
        solve(bx.GradientDescent(num_steps=3), equation, u)
