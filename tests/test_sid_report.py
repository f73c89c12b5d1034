"""Measured constants against the toy's own, and measured errors beside their bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from bilevax._rows.batch import take
from bilevax._rows.sampler import AbstractSampler
from bilevax._study import sid_constants, sid_report
from bilevax._study.sid_constants import _known, solution
from bilevax._study.sid_report import _runs
from bilevax._study.spectral import spectral_norm
from bilevax.theory import sid as theory
from sid_toy import N, toy


@pytest.fixture(scope="module")
def measured():
    with jax.enable_x64(True):
        t = toy()
        return bx.measure_constants(t.problem, t.x, t.y0, contraction=t.q)


def test_the_power_method_finds_the_spectral_norm():
    A = np.random.default_rng(0).standard_normal((4, 6)) @ np.diag([9, 2, 1, 1, 1, 0.1])
    start = np.random.default_rng(1).standard_normal(6)
    found = jax.jit(lambda v: spectral_norm(lambda v: jnp.asarray(A) @ v, v))(start)
    np.testing.assert_allclose(found, np.linalg.norm(A, 2), rtol=1e-8)


def test_measured_constants_are_those_of_the_toy(measured):
    t = toy()
    constants, noise = t.constants()
    everything = slice(None)
    # Along rows one by one, which are all the samples there are.
    samples = np.array([t.phi(t.y_star, [i]) for i in range(N)])
    variance = np.mean(np.sum((samples - t.y_star) ** 2, axis=1))
    pulled = np.array([t.jacobian(t.y_star, [i]).T @ t.v_star for i in range(N)])
    adjoint_variance = np.mean(np.sum((pulled - pulled.mean(axis=0)) ** 2, axis=1))
    largest = max(np.linalg.norm(t.jacobian(t.y_star, [i]), 2) for i in range(N))
    expected = {
        "cross_norm": (np.linalg.norm(t.cross(t.y_star, everything), 2), 1e-6),
        "initial_distance": (np.linalg.norm(t.y_star), 1e-8),
        "adjoint_distance": (np.linalg.norm(t.v_star), 1e-8),
        "sample_lipschitz": (largest, 1e-3),
        # Of 64 random rows.
        "noise": (variance, 0.4),
        "adjoint_noise": (adjoint_variance, 0.4),
        "cross_noise": (noise, 0.4),
    }
    for name, (value, tolerance) in expected.items():
        assert measured[name].source == "estimated"
        np.testing.assert_allclose(measured[name].value, value, rtol=tolerance, err_msg=name)
    # What holds everywhere is above what was seen at a few points.
    for name in (
        "outer_lipschitz",
        "outer_smoothness",
        "jacobian_lipschitz",
        "cross_lipschitz",
    ):
        assert 0.005 * constants[name] < measured[name].value <= 1.001 * constants[name], name
    assert measured["contraction"] == (t.q, "given")
    assert measured["adjoint_relative_noise"].value > 0


RIDGE = bx.problems.RidgeRegression(np.diag([1.0, 2.0, 3.0]), 0.5)


def test_constants_known_from_the_objective():
    problem, x = RIDGE.problem.as_fixed_point(lambda x: 0.1 * x[0]), np.ones(3)
    known = _known(problem, x, RIDGE.constants(x))
    # H = D'D / 3 + I / 2 and K = -D / 3.
    assert known["contraction"] == pytest.approx(1 - 0.1 * (1 / 3 + 0.5))
    assert known["cross_norm"] == pytest.approx(0.1 * 3 / 3)
    assert known["jacobian_lipschitz"] == known["cross_lipschitz"] == 0
    other = bx.FixedPointProblem(lambda x, y: y @ y, lambda x, y: y / 2)
    with pytest.raises(TypeError, match="not that of gradient descent"):
        _known(other, x, RIDGE.constants(x))


@pytest.mark.slow
def test_on_all_rows_there_is_no_noise():
    problem, x = RIDGE.problem.as_fixed_point(0.1), jnp.ones(3)
    found = bx.measure_constants(
        problem, x, RIDGE.y0, batch_size=None, constants=RIDGE.constants(x)
    )
    assert found["noise"] == (0.0, "estimated")
    assert found["contraction"].source == "known"
    assert "known" in repr(found) and "estimated" in repr(found)


def test_a_map_that_does_not_contract_is_told():
    t = toy()
    longer = t.objective.as_fixed_point(t.longer)
    with pytest.raises(ValueError, match=r"does not contract.* about 1\.4.*shorter step"):
        bx.measure_constants(longer, t.x, t.y0)
    with pytest.raises(ValueError, match="does not contract"):
        bx.sid_report(longer, of_decreasing(10), t.x, t.y0)


def test_faulty_input_is_told():
    t = toy()
    objective = bx.BilevelProblem(lambda x, y: y @ y, lambda x, y: y @ y)
    with pytest.raises(TypeError, match="as_fixed_point"):
        bx.measure_constants(objective, t.x, t.y0)
    with pytest.raises(TypeError, match="Unknown constant 'q'"):
        bx.measure_constants(t.problem, t.x, t.y0, q=0.5)
    with pytest.raises(TypeError, match="two iterative solvers"):
        bx.sid_report(t.problem, bx.Implicit(bx.SGD(0.1, 3, 4), bx.Direct()), t.x, t.y0)


def of_decreasing(cross):
    """SID with one row a step and steps that the toy's measured noise allows."""
    rule = theory.steps(contraction=toy().q, relative_noise=1.0)
    return bx.algorithms.sid(
        outer_step_size=0.1,
        inner_step_size=bx.schedules.decreasing(**rule.decreasing),
        batch_size=1,
        cross_batch_size=cross,
    )


class OfTen(AbstractSampler):
    """Random rows, ten or the first `samples` of them over and over: one program for all J."""

    samples: np.int32

    def init(self, data):
        return ()

    def rows(self, data):
        return 10

    def tickets(self, data, state, key, num):
        rows = jax.random.randint(key, (num, 10), 0, N)
        return rows[:, jnp.arange(10) % self.samples], state

    def batch(self, data, ticket):
        return take(data, ticket)


NUM_RUNS = 500
of_ten = lambda J: OfTen(np.int32(J))
SIZES = [
    pytest.param(NUM_RUNS, 300, {1: of_ten(1), 10: of_ten(10)}, id="quick"),
    pytest.param(4000, 1000, {1: 1, 10: 10, None: None}, marks=pytest.mark.slow, id="whole"),
]
square = lambda errors: float(np.mean(np.sum(errors**2, axis=1)))


@pytest.mark.parametrize("num_runs, num_steps, samples", SIZES)
def test_t4_the_mean_square_error_is_below_its_bound(num_runs, num_steps, samples):
    """By bound, by J, and by an exact last product, with all that is exact in NumPy."""
    t, found = toy(), {}
    constants, noise = t.constants()
    keys = jax.random.split(jax.random.key(0), num_runs)
    for J, cross in samples.items():
        method, count = of_decreasing(cross).hypergradient, jnp.int32(num_steps)
        runs = _runs(t.problem, method, t.x, t.y0, count, jnp.int32(50), keys)
        gradients, y, z, limits, _ = map(np.asarray, runs)
        # Given y, that of z: its own solution moves with y.
        solutions = np.array([t.adjoint(y_i) for y_i in y])
        np.testing.assert_allclose(-limits, solutions, rtol=1e-6, atol=1e-9)
        errors = {"inner_mse": square(y - t.y_star), "adjoint_mse": square(-z - solutions)}
        bound = theory.mse_bound(**constants, **errors, cross_noise=noise, cross_samples=J)
        found[J] = square(gradients - t.gradient)
        assert found[J] <= bound.refined <= bound.mse
        assert np.linalg.norm(gradients.mean(axis=0) - t.gradient) <= bound.bias + 4 * np.sqrt(
            found[J] / num_runs
        )
    assert 7 <= found[1] / found[10] <= 13
    assert found.get(None, 0.0) < 1e-3 * found[1]


def test_a_report_sets_errors_beside_their_bounds(measured, monkeypatch):
    t, method = toy(), of_decreasing(of_ten(10))
    report = bx.sid_report(
        t.problem, method, t.x, t.y0, steps=[10, 100], num_runs=NUM_RUNS, constants=measured
    )
    found = report.columns
    assert np.all(found["mse"] < found["refined_bound"])
    assert np.all(found["refined_bound"] <= found["mse_bound"])
    assert np.all(found["bias"] < found["bias_bound"])
    np.testing.assert_allclose(found["mse"], found["bias"] ** 2 + found["variance"], rtol=0.1)
    assert found["mse"][1] < found["mse"][0] and np.all(found["failed"] == 0)
    # Ten samples of the last product divide its noise by ten.
    floor = 2 * measured["cross_noise"].value / 10 * measured["outer_lipschitz"].value ** 2
    np.testing.assert_allclose(found["floor"], floor / (1 - t.q) ** 2)
    assert "refined_bound" in repr(report)
    axes = report.picture().axes[0]
    assert axes.get_xlabel() == "steps of each level" and len(axes.lines) == 6
    # Without constants it measures them, at the solution that it knows.
    solved = []
    solve = lambda *a: solved.append(a) or solution(*a)
    monkeypatch.setattr(sid_report, "solution", solve)
    monkeypatch.setattr(sid_constants, "solution", solve)
    other = bx.sid_report(t.problem, method, t.x, t.y0, steps=[10], num_runs=NUM_RUNS)
    assert len(solved) == 1
    assert {c.source for c in other.constants.values()} == {"estimated"}
    assert other.columns["mse"][0] < other.columns["mse_bound"][0]
