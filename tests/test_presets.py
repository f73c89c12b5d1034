"""Each preset against a plain NumPy transcription of its published update, and identities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
import test_single_loop
from cases import steps
from finite_sums import FiniteSums, deviation
from plain_presets import KEY, PRESETS, STEPS

ALPHA, BETA, GAMMA = 0.6, 0.45, 0.3


@functools.cache
def sums():
    with jax.enable_x64(True):
        return FiniteSums()


def test_none_is_left_out():
    """Single-loop presets have their transcriptions beside the tests of them."""
    here, there = set(PRESETS), set(test_single_loop.PRESETS)
    assert here | there == set(bx.algorithms.__all__)
    assert not here & there


def observed(x, y, z):
    return {"x": x, "y": y} | ({} if z is None else {"z": z})


@pytest.mark.parametrize("name", PRESETS)
def test_it_equals_its_transcription(name):
    make, transcription = PRESETS[name]
    solution = bx.minimize(
        sums().problem,
        make(),
        *sums().start(),
        num_steps=STEPS,
        metrics=observed,
        key=KEY,
    )
    assert solution.result == bx.Result.successful
    columns = [np.array(column) for column in zip(*transcription(sums()), strict=True)]
    for variable, expected in zip("xyz", columns, strict=False):
        assert deviation(solution.history[variable], expected) < 1e-10, variable


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


def descent(H, v, z, num, step):
    for _ in range(num):
        z = z - step * (H @ z + v)
    return z


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
