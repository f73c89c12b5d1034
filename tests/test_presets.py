"""Each preset against a plain NumPy transcription of its published update."""

import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from cases import steps

T, N, STEPS = 4, 3, 20
ALPHA, BETA, GAMMA = 0.6, 0.45, 0.3


@pytest.fixture
def q():
    return bx.problems.quadratic(8, 6, inner_condition=8.0, coupling=0.2, seed=3)


def cg(H, v, z, num):
    r = -(v + H @ z)
    p = r
    for _ in range(num):
        a = (r @ r) / (p @ H @ p)
        z = z + a * p
        r_new = r - a * H @ p
        p = r_new + (r_new @ r_new) / (r @ r) * p
        r = r_new
    return z


def descent(H, v, z, num, step):
    for _ in range(num):
        z = z - step * (H @ z + v)
    return z


def neumann(H, v, num, eta):
    term, total = v, v
    for _ in range(num):
        term = term - eta * H @ term
        total = total + term
    return -eta * total


def fixed_point(H, v, num, alpha):
    w = np.zeros_like(v)
    for _ in range(num):
        w = (np.eye(len(v)) - alpha * H) @ w + v
    return -alpha * w


ADJOINTS = {
    "amigo_gd": lambda H, v, z: descent(H, v, z, N, BETA),
    "amigo_cg": lambda H, v, z: cg(H, v, z, N),
    "aid_gd": lambda H, v, z: descent(H, v, 0 * z, N, BETA),
    "aid_cg": lambda H, v, z: cg(H, v, 0 * z, N),
    "aid_cg_ws": lambda H, v, z: cg(H, v, z, N),
    "aid_fp": lambda H, v, z: fixed_point(H, v, N, ALPHA),
    "aid_n": lambda H, v, z: neumann(H, v, N, BETA),
}
NEEDS_STEP = ("amigo_gd", "aid_gd", "aid_n")


def transcription(q, name, x, y0):
    A_f, A_g, B_g, C_f, rho = (np.asarray(a) for a in (q.A_f, q.A_g, q.B_g, q.C_f, q.coupling))
    y, z, trajectory = y0, np.zeros_like(y0), []
    for _ in range(STEPS):
        y = y0 if name == "aid_cg_ws" else y
        for _ in range(T):
            y = y - ALPHA * (A_g @ y + B_g @ x)
        z = ADJOINTS[name](A_g, C_f + rho * y, z)
        x = x - GAMMA * (A_f @ x + B_g.T @ z)
        trajectory.append(x)
    return np.array(trajectory), y, z


@pytest.mark.parametrize("name", ADJOINTS)
def test_preset_equals_its_transcription(q, name):
    x0, y0 = np.linspace(-1, 2, 8), np.linspace(1, 2, 6)
    steps = {"adjoint_step_size": BETA} if name in NEEDS_STEP else {}
    algorithm = getattr(bx.algorithms, name)(
        outer_step_size=GAMMA,
        inner_step_size=ALPHA,
        inner_steps=T,
        adjoint_steps=N,
        **steps,
    )
    solution = bx.minimize(
        q.problem,
        algorithm,
        jnp.asarray(x0),
        jnp.asarray(y0),
        num_steps=STEPS,
        metrics=lambda x, y: {"x": x},
    )
    trajectory, y, z = transcription(q, name, x0, y0)
    scale = np.abs(trajectory).max()
    np.testing.assert_allclose(solution.history["x"], trajectory, atol=1e-10 * scale, rtol=0)
    np.testing.assert_allclose(solution.y, y, atol=1e-10 * np.abs(y).max(), rtol=0)
    np.testing.assert_allclose(solution.adjoint, z, atol=1e-10 * np.abs(z).max(), rtol=0)


LONG = [pytest.param(seed, number, marks=pytest.mark.slow) for seed, number in
        ((0, 100), (1, 1), (1, 10), (1, 100))]  # fmt: skip


@pytest.mark.parametrize("seed, number", [(0, 1), (0, 10), *LONG])
def test_warm_starts_decide_the_accuracy(seed, number):
    """Spec amigo 5.1, coupled variant: who converges, and where the others stall."""
    q = bx.problems.quadratic(200, 100, inner_condition=10.0, coupling=0.01, seed=seed)
    gamma = 1 / float(jnp.linalg.eigvalsh(q.hessian())[-1])
    x0, y0 = jnp.zeros(200), jnp.zeros(100)

    def error(name, **adjoint):
        algorithm = getattr(bx.algorithms, name)(
            outer_step_size=gamma, inner_step_size=1.0, inner_steps=steps(number), **adjoint
        )
        x = bx.minimize(q.problem, algorithm, x0, y0, num_steps=2000, record_every=100).x
        return float(q.gap(x) / q.gap(x0))

    assert error("amigo_cg") < 1e-20
    assert error("amigo_gd", adjoint_step_size=1.0) < 1e-20
    assert 1e-9 < error("aid_cg") < 1e-5
    assert 1e-4 < error("aid_gd", adjoint_step_size=1.0) < 1e-1


def test_a_growing_number_of_steps():
    """num_steps as a function of k: T_k = 1 + k against the transcription."""
    q = bx.problems.quadratic(8, 6, inner_condition=8.0, coupling=0.2, seed=3)
    A_f, A_g, B_g, C_f, rho = (np.asarray(a) for a in (q.A_f, q.A_g, q.B_g, q.C_f, q.coupling))
    algorithm = bx.algorithms.amigo_gd(
        outer_step_size=GAMMA,
        inner_step_size=ALPHA,
        adjoint_step_size=BETA,
        inner_steps=lambda k: 1 + k,
        adjoint_steps=lambda k: 2 + k // 2,
    )
    x, y, z = np.ones(8), np.zeros(6), np.zeros(6)
    solution = bx.minimize(q.problem, algorithm, jnp.asarray(x), jnp.asarray(y), num_steps=9)
    for k in range(9):
        y = descent(A_g, B_g @ x, y, 1 + k, ALPHA)
        z = descent(A_g, C_f + rho * y, z, 2 + k // 2, BETA)
        x = x - GAMMA * (A_f @ x + B_g.T @ z)
    np.testing.assert_allclose(solution.x, x, rtol=1e-11)
    assert solution.cost.inner_gradient == sum(1 + k for k in range(9))
    assert solution.cost.hvp == sum(2 + k // 2 for k in range(9))
