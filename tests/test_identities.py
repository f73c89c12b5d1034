"""What holds between presets, and of them, on quadratics whose solution is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from cases import steps
from finite_sums import deviation

DX, DY, N, STEPS, LONG = 9, 7, 5, 30, 600
ALPHA = 0.9


@pytest.fixture(scope="module")
def q():
    """No gradient of f in y depends on y: the adjoint is the same at every x."""
    with jax.enable_x64(True):
        return bx.problems.quadratic(
            DX, DY, inner_condition=20.0, outer_condition=5.0, coupling=0.0, seed=4
        )


@functools.cache
def _algorithm(name, number, T):
    more = {} if name in ("itd", "reverse") else {"adjoint_steps": number}
    if name in ("amigo_gd", "aid_gd", "aid_n"):
        more["adjoint_step_size"] = ALPHA
    return getattr(bx.algorithms, name)(
        outer_step_size=1.0, inner_step_size=ALPHA, inner_steps=T, **more
    )


def path(q, name, number=N, T=N, num_steps=STEPS):
    """All x and z of a run from x = 0 and y = 0."""
    observed = lambda x, y, z: {"x": x} | ({} if z is None else {"z": z})
    start = jnp.zeros(DX), jnp.zeros(DY)
    algorithm = _algorithm(name, number, T)
    run = bx.minimize(q.problem, algorithm, *start, num_steps=num_steps, metrics=observed)
    assert run.result == bx.Result.successful
    return run.history


def test_y_does_not_matter(q):
    """(i) AID-CG-WS is AmIGO-CG; (ii) one step of y does what a hundred do."""
    once, often = steps(1), steps(100)
    x = path(q, "amigo_cg", T=once)["x"]
    assert np.abs(x).max() > 1
    assert deviation(path(q, "amigo_cg", T=often)["x"], x) < 1e-12
    assert deviation(path(q, "aid_cg_ws", T=once)["x"], x) < 1e-12


def test_cold_starts_are_one_series(q):
    """(iii) of N terms: AID-GD, AID-FP, AID-N, ITD and Reverse; (iv) where it ends."""
    x = path(q, "aid_gd", num_steps=LONG)["x"]
    for name, number in {"aid_fp": N, "aid_n": N - 1, "itd": None, "reverse": None}.items():
        assert deviation(path(q, name, number)["x"], x[:STEPS]) < 1e-12, name
    z = np.asarray(q.adjoint_solution(jnp.zeros(DX)))
    A_f, A_g, B_g = map(np.asarray, (q.A_f, q.A_g, q.B_g))
    left = np.linalg.matrix_power(np.eye(DY) - ALPHA * A_g, N) @ z
    d = np.linalg.solve(A_f, B_g.T @ left)
    assert deviation(x[-1] - np.asarray(q.minimiser()), d) < 1e-12
    plateau = float(q.gap(x[-1]) / q.gap(jnp.zeros(DX)))
    solution = np.asarray(q.minimiser())
    np.testing.assert_allclose(plateau, d @ A_f @ d / (solution @ A_f @ solution), rtol=1e-11)
    assert plateau > 1e-6


def test_errors_of_amigo_gd(q):
    """(v) $z_k - z^* = -(I - \\beta A_g)^{N(k+1)} z^*$, and what that makes of x."""
    history = path(q, "amigo_gd")
    A_f, A_g, B_g = map(np.asarray, (q.A_f, q.A_g, q.B_g))
    z = np.asarray(q.adjoint_solution(jnp.zeros(DX)))
    x, solution = np.zeros(DX), np.asarray(q.minimiser())
    factor = np.linalg.matrix_power(np.eye(DY) - ALPHA * A_g, N)
    error = -z
    for k in range(STEPS):
        error = factor @ error
        assert deviation(history["z"][k] - z, error) < 1e-12
        x = x - (A_f @ (x - solution) + B_g.T @ error)
        assert deviation(history["x"][k], x) < 1e-12


def test_f2sa_follows_the_penalised_minimiser():
    """With the published powers: to 1 % of it at the last multiplier, and of nothing else."""
    q = bx.problems.quadratic(
        6, 5, inner_condition=3.0, outer_condition=2.0, coupling=0.5, seed=2
    )
    gamma = 1 / float(jnp.linalg.eigvalsh(q.hessian())[-1])
    power = bx.schedules.polynomial
    algorithm = bx.algorithms.f2sa(
        outer_step_size=power(gamma, 5 / 7),
        penalised_step_size=power(0.5, 5 / 7).outer(),
        inner_step_size=power(1.0, 4 / 7).outer(),
        inner_steps=10,
    )
    start = jnp.ones(6), jnp.zeros(5)
    solution = bx.minimize(q.problem, algorithm, *start, num_steps=20_000, record_every=20_000)
    weight = float(solution.state.loop.hypergradient.multiplier)
    growth = np.arange(1.0, 20_001) ** (-6 / 7)
    np.testing.assert_allclose(weight, 1 + growth.sum(), rtol=1e-12)
    A_f, A_g, B_g, C_f, rho = (np.asarray(a) for a in (q.A_f, q.A_g, q.B_g, q.C_f, q.coupling))
    # y = -P (C + weight B x), w = -A^-1 B x: A_f x + weight B'(y - w) = 0.
    P = np.linalg.inv(weight * A_g + rho * np.eye(5))
    matrix = A_f + weight * B_g.T @ (np.linalg.inv(A_g) - weight * P) @ B_g
    penalised = np.linalg.solve(matrix, weight * B_g.T @ P @ C_f)
    error = lambda x: np.linalg.norm(solution.x - x) / np.linalg.norm(x)
    assert error(penalised) < 0.01
    assert error(np.asarray(q.minimiser())) > 0.01
