"""`bx.theory.amigo` against a transcription, random instances, and runs of `amigo_gd`.

`python tests/amigo_orders.py` prints how near each inequality comes.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx
from amigo_model import squares
from amigo_orders import STATEMENTS
from amigo_statements import Smooth, guaranteed, prop_4, prop_7, random_constants
from bilevax.theory import amigo

close = lambda a, b, rtol=1e-12: np.testing.assert_allclose(a, b, rtol=rtol)


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_holds_and_says_something(name):
    largest, _ = STATEMENTS[name].largest()
    assert all(1e-4 < ratio <= 1 + 1e-9 for ratio in largest.values()), largest


@pytest.mark.slow
def test_proposition_7_on_20_000_runs():
    assert max(prop_7(range(10), 20_000)) <= 1 and max(prop_4(range(10), 20_000)) <= 1


def transcribed(c):
    """The specification's formulas, written out once more."""
    mu, L_g, Lp, M = (
        c.strong_convexity,
        c.smoothness,
        c.cross_smoothness,
        c.derivative_lipschitz,
    )
    Lf, B = c.outer_smoothness, c.outer_lipschitz
    sg, syy, sxy, sf = c.inner_variance, c.hvp_variance, c.cross_variance, c.outer_variance
    Ly, Lz = Lp / mu, M * B / mu**2 + Lf / mu
    Lpsi = max(Lf + M * B / mu + Lp * Lz, Lp)
    L = (Lf + Lp * M * B / mu**2 + (Lp * Lf + M * B) / mu) * (1 + Lp / mu)
    m = c.bilevel_strong_convexity
    e, noisy = (L, False) if m is None else (m, sg + syy + sxy + sf > 0)
    wx = (1 + 2 * Lp / mu + 6 * (sxy + Lp**2) / mu**2) * sf
    wx += 2 * (sxy + Lp**2) * B**2 * syy / (L_g * mu**3) + 2 * B**2 * sxy / mu**2
    sx = 2 * sxy + 4 * Lp**2 * syy / mu**2
    zeta = 2 * L * L / e if noisy else 2 * L
    log, gamma, d = math.log, 1 / L, e / L
    C = max(
        1 + 2 * log(6 + 24 * Lpsi**2 / e),
        2 * log(1 + 4 * (Ly**2 / L**2) * max(e, 8 * zeta)),
        max(0, -2 * log(5 * Lpsi**2 / e), 2 * log(4 * Ly**2 * gamma)),
    )
    C_z = max(
        1 + 2 * log(4 + 12 * (2 * Lpsi**2 + sx) / e),
        2 * log(1 + 2 * (Lz**2 / Ly**2) * (1 + 16 * Ly**2)),
        max(0, -2 * log(Lpsi**2 / (4 * Lz**2 * e)), -2 * log(gamma * (sxy + Lp**2))),
    )
    T = math.floor(C * L_g / mu) + 1
    N = math.floor(2 * (C + C_z) * 2 * L_g / mu) + 1
    W = 3 * wx + 60 * Lpsi**2 * sg / (d * mu * L_g)
    Ry, Rz = 2 * sg / (L_g * mu), B**2 * syy / (2 * L_g * mu**3) + 3 * sf / mu**2
    return (Ly, Lz, Lpsi, L, wx, sx, W, Ry, Rz), (T, N)


@pytest.mark.parametrize("seed", range(40))
def test_formulas_are_the_specifications(seed):
    c = random_constants(np.random.default_rng(seed + 1000))
    numbers, counts = transcribed(c)
    steps, left = (
        amigo.steps(constants=c),
        amigo.contractions(constants=c, inner_steps=3, adjoint_steps=5),
    )
    close(
        [
            c.solution_lipschitz,
            c.adjoint_lipschitz,
            c.hypergradient_lipschitz,
            c.gradient_lipschitz,
            *amigo.hypergradient_noise(constants=c),
            amigo.effective_variance(constants=c),
            *left[2:],
        ],
        numbers,
    )
    assert steps[-2:] == counts
    close(left[:2], ((1 - 1 / c.inner_condition) ** 3, (1 - 1 / c.inner_condition / 4) ** 5))
    close(steps[:3], (1 / numbers[3], 1 / c.smoothness, 1 / (2 * c.smoothness)))


# T and N of the specification's quadratics, whose L is 36 and 2601 by the formula, and 1.
@pytest.mark.parametrize(
    ("condition", "counts", "formula"), [(5.0, (96, 766), 36), (50.0, (1385, 11076), 2601)]
)
def test_counts_of_the_specification(condition, counts, formula):
    q = unit_quadratic(condition)
    c = bx.problems.amigo_constants(q)
    assert amigo.steps(constants=c)[-2:] == counts
    close(c.gradient_lipschitz, formula, 1e-8)
    true = bx.problems.amigo_constants(q, bilevel_smoothness=1.0)
    assert amigo.steps(constants=true)[-2:] == counts


def test_batches_divide_variances():
    c = random_constants(np.random.default_rng(3))
    c = dataclasses.replace(c, inner_variance=1.0, hvp_variance=0.0, cross_variance=3.0)
    d = c.with_batches(inner_batch_size=2, cross_batch_size=3)
    assert (d.inner_variance, d.cross_variance, d.outer_variance) == (0.5, 1, c.outer_variance)


def test_halving_the_variance_halves_the_plateau():
    for convex in (True, False):
        plateaus = []
        for noise in (0.1, 0.05):
            found = guaranteed(0, convex, noise, num_steps=40)[1]
            plateaus.append(np.mean((found.energy + convex * found.shown)[20:]))
        assert 2 / 1.5 <= plateaus[0] / plateaus[1] <= 2 * 1.5


def test_lemma_1_is_wrong_between_0_and_1():
    """Theorem 1 has u in [0, 1]; its lemma needs 0 or 1. On l = |x| with x >= 0."""
    delta, u, xs = 1e-6, 0.5, (0.0, 9.0, 0.0)
    average, energy, kept = xs[0], 10.0, 1.0
    for before, x in itertools.pairwise(xs):
        energy = (1 - delta) * (energy + (1 - u) * before) - (1 - u * (1 - delta)) * x
        assert energy >= 0  # (21) with equality
        average = u * (1 - delta) * average + (1 - u * (1 - delta)) * x
        kept *= 1 - delta
    assert average + energy > 1.2 * kept * (10.0 + xs[0])


@pytest.mark.parametrize("seed", range(2))
def test_proposition_1_is_the_derivative_of_the_solution(seed):
    p = Smooth(seed)

    def g(x, y):
        bend = jnp.log(jnp.cosh(p.P @ y + p.Q @ x))
        return y @ p.A @ y / 2 + y @ p.B @ x + p.weight * jnp.sum(bend)

    def value(x):
        newton = lambda _, y: (
            y - jnp.linalg.solve(jax.hessian(g, 1)(x, y), jax.grad(g, 1)(x, y))
        )
        y = jax.lax.fori_loop(0, 20, newton, jnp.zeros(p.dim))
        return jnp.sum(jnp.log(jnp.cosh(p.R @ y + p.S @ x)))

    x = np.random.default_rng(seed).standard_normal(p.dim)
    exact = jax.jit(jax.jacfwd(value))(x)
    assert np.linalg.norm(p.gradient(x) - exact) <= 1e-10 * np.linalg.norm(exact)


def unit_quadratic(condition, coupling=0.0, sizes=(20, 10)):
    q = bx.problems.quadratic(*sizes, inner_condition=condition, coupling=coupling)
    return bx.problems.Quadratic(
        q.A_f, q.A_g, q.B_g / jnp.linalg.norm(q.B_g, 2), q.C_f, coupling=coupling
    )


def energies(q, num_steps, **known):
    """Of a run with the steps of Prop. 10, the start's first; and the constants."""
    c = bx.problems.amigo_constants(q, **known)
    energy, (dy, dx) = bx.problems.total_energy(q, c), q.B_g.shape
    solution = bx.minimize(
        q.problem,
        bx.algorithms.amigo_gd(constants=c),
        jnp.zeros(dx),
        jnp.zeros(dy),
        num_steps=num_steps,
        metrics=energy,
    )
    start = energy(jnp.zeros(dx), jnp.zeros(dy), jnp.zeros(dy))
    found = {n: np.r_[float(start[n]), solution.history[n]] for n in start}
    steps = amigo.steps(constants=c)
    calls = amigo.paper_cost(
        outer_steps=num_steps, inner_steps=steps.inner_steps, adjoint_steps=steps.adjoint_steps
    )
    assert solution.cost.total == calls
    return c, found


@pytest.fixture(scope="module")
def coupled():
    """A coupled quadratic, whose z* depends on y, and its energies by the formula's L."""
    with jax.enable_x64(True):
        q = unit_quadratic(5.0, coupling=0.05)
        return q, *energies(q, 40, radius=10.0)


def check_falls(c, total):
    ratios = total / amigo.energy_bound(
        constants=c, outer_steps=np.arange(len(total)), initial_energy=total[0]
    )
    assert np.argmax(ratios) == 0 and ratios[0] == pytest.approx(1)
    return ratios


def test_theorem_1_on_runs_of_the_preset(coupled):
    q, c, found = coupled
    check_falls(c, found["total_energy"])
    largest = float(np.linalg.eigvalsh(q.hessian())[-1])
    other, fast = energies(q, 40, bilevel_smoothness=largest)
    # Two-sided: at that step descent itself is not much faster.
    assert check_falls(other, fast["total_energy"])[-1] > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("known", [{}, {"bilevel_smoothness": 1.0}])
def test_theorem_1_at_11_076_adjoint_steps(known):
    c, found = energies(unit_quadratic(50.0), 60, **known)
    assert amigo.steps(constants=c).adjoint_steps == 11076
    check_falls(c, found["total_energy"])


def test_the_total_energy_is_what_the_theorem_has(coupled):
    """A run in NumPy, errors taken before each solve."""
    q, c, found = coupled
    A, B = np.asarray(q.A_g), np.asarray(q.B_g)
    hessian, x_star = np.asarray(q.hessian()), np.asarray(q.minimiser())
    gamma, alpha, beta, T, N = amigo.steps(constants=c)
    mu_g, mu = c.strong_convexity, np.linalg.eigvalsh(hessian)[0]
    x, y, z = np.zeros(20), np.zeros(10), np.zeros(10)
    for k in range(7):
        away = x - x_star
        outer = mu / 2 * squares(away) + away @ hessian @ away / 2
        inner = squares(y + np.linalg.solve(A, B @ x))
        for _ in range(T):
            y = y - alpha * (A @ y + B @ x)
        v = np.asarray(q.C_f) + 0.05 * y
        adjoint = squares(z + np.linalg.solve(A, v))
        for _ in range(N):
            z = z - beta * (A @ z + v)
        x = x - gamma * (np.asarray(q.A_f) @ x + B.T @ z)
        weights = (1 - alpha * mu_g) ** (T / 2), (1 - beta * mu_g / 2) ** (N / 2)
        total = outer + mu * gamma * (weights[0] * inner + weights[1] * adjoint)
        names = "outer_energy", "inner_mse", "adjoint_mse", "total_energy"
        close([found[n][k] for n in names], (outer, inner, adjoint, total), 1e-8)


def test_a_preset_given_constants_has_the_steps_of_the_theorem():
    c = amigo.Constants(
        strong_convexity=0.5, smoothness=1.0, cross_smoothness=1.0, derivative_lipschitz=0.0,
        outer_smoothness=1.0, outer_lipschitz=1.0, bilevel_strong_convexity=0.1,
        outer_variance=0.1,
    )  # fmt: skip
    algorithm = bx.algorithms.amigo_gd(constants=c, batch_size=3)
    explicit = bx.algorithms.amigo_gd(**amigo.steps(constants=c)._asdict(), batch_size=3)
    leaves = lambda a: jax.tree.leaves((a.hypergradient, a.outer))
    assert leaves(algorithm) == leaves(explicit)
    assert algorithm.hypergradient.inner.num_steps == amigo.steps(constants=c).inner_steps
    assert explicit.output is None and float(algorithm.output.weight) == c.delta
    quiet = dataclasses.replace(c, outer_variance=0.0)
    assert bx.algorithms.amigo_gd(constants=quiet).output is None
    for given in ({"outer_step_size": optax.adam(0.1)}, {"inner_steps": 3}):
        with pytest.raises(
            TypeError, match=r"constants= sets all step sizes, counts and averages"
        ):
            bx.algorithms.amigo_gd(constants=c, **given)


# At eps = 0.01, kappa_g = 10 and kappa_L = 100: the cost and the order of Table 1.
LOG = math.log(100)
TABLE = {
    (100.0, False): {
        "AccBiO": 1000**0.5 * LOG**2,
        "AmIGO, accelerated": 100 * 10**0.5 * LOG,
        "AmIGO": 1000 * LOG,
        "BA": 1e4 * LOG**2,
    },
    (100.0, True): {
        "AmIGO with SAG": 100 * (7 / 100 + 10 + 2) * 100 * LOG,
        "AmIGO": 100 * (1e5 + 10 + 2) * 100 * LOG,
        "BSA": 1e8 * 1e4,
        "TTSA": 10 * (10**8.5 + 1e6) * 1e3 * LOG,
    },
    (None, False): {
        "BA": 1e5 * 100**1.25,
        "AID-BiO": 1e4 * 100,
        "AmIGO": 1e4 * 100,
    },
    (None, True): {
        "AmIGO with SAG": 1e4 * (7 + 1e3 + 20) * 1e4,
        "AmIGO": 1e5 * (1e4 + 100 + 2) * 1e4,
        "stocBiO": (1e9 + 1e6 * LOG) * 1e4,
        "BSA": 1e9 * 1e6 + 1e6 * 1e4,
        "TTSA": (1e11 + 1e16) * 1e5 * LOG,
        "MRBO, VRBO": math.inf,
    },
}


@pytest.mark.parametrize(("outer_condition", "stochastic"), TABLE)
def test_the_table_of_costs(outer_condition, stochastic):
    found = amigo.table(
        accuracy=0.01,
        inner_condition=10.0,
        outer_condition=outer_condition,
        stochastic=stochastic,
        num_rows=7,
    )
    expected = TABLE[outer_condition, stochastic]
    assert {row.method for row in found} == expected.keys()
    close([row.cost for row in found], [expected[row.method] for row in found])
    close([row.cost for row in found], sorted(expected.values()))
    assert all(row.reference and "e" in row.order for row in found)


def test_corollaries_with_noise_are_their_own_product():
    """Cor. 2 and 4 as printed, against k (T |D_g| + N |D_gyy| + |D_gxy| + |D_f|)."""
    s, eps, kg, kl, start = amigo.Variances(2.0, 3.0, 5.0, 7.0), 0.2, 30.0, 4.0, 1.5
    known = {"accuracy": eps, "inner_condition": kg, "variances": s, "initial_energy": start}
    last = s.cross + s.outer
    convex = (
        kl * (kl * kg**3 * 2 + kg * max(1, eps * kg) * 3 + last) / eps * math.log(start / eps)
    )
    other = kg**5 / eps**2 * (kg**4 * 2 + kg**2 * max(1, eps / kg**2) * 3 + last) * start
    for outer, cost in ((kl, convex), (None, other)):
        plan = amigo.amigo_plan(**known, outer_condition=outer)
        close(plan.cost, cost)
        close(
            amigo.paper_cost(**{n: v for n, v in plan._asdict().items() if n != "cost"}), cost
        )


def test_outer_steps_are_the_fewest():
    c = bx.problems.amigo_constants(unit_quadratic(5.0), bilevel_smoothness=1.0)
    k = amigo.outer_steps(constants=c, reduction=1e-6)
    bound = amigo.energy_bound(
        constants=c, outer_steps=np.array([k - 1, k]), initial_energy=1.0
    )
    assert bound[1] <= 1e-6 < bound[0]


KNOWN = {
    "strong_convexity": 0.5, "smoothness": 1.0, "cross_smoothness": 1.0,
    "derivative_lipschitz": 0.0, "outer_smoothness": 1.0, "outer_lipschitz": 1.0,
}  # fmt: skip
CONVEX = KNOWN | {"bilevel_strong_convexity": 0.1}
of = lambda **more: amigo.Constants(**KNOWN | more)
BAD = {
    "strong_convexity must be at most smoothness": lambda: of(strong_convexity=2.0),
    "cross_smoothness must be finite and above 0": lambda: of(cross_smoothness=0.0),
    "hvp_variance must be finite and at least 0": lambda: of(hvp_variance=-1.0),
    "bilevel_strong_convexity must be at most": lambda: of(bilevel_strong_convexity=99.0),
    "hvp_variance must be at most .* hvp_batch_size at least 4 times": lambda: amigo.steps(
        constants=of(hvp_variance=2.0)
    ),
    "inner_batch_size must be at least 1": lambda: of().with_batches(inner_batch_size=0),
    "inner_step_size must be at most": lambda: amigo.contractions(
        constants=of(), inner_steps=1, adjoint_steps=1, inner_step_size=1.1
    ),
    "adjoint_step_size must be at most": lambda: amigo.contractions(
        constants=of(hvp_variance=1.0), inner_steps=1, adjoint_steps=1, adjoint_step_size=0.45
    ),
    "bilevel_strong_convexity must be known": lambda: amigo.energy_bound(
        constants=of(), outer_steps=1, initial_energy=1.0
    ),
    "bilevel_strong_convexity must be None here": lambda: amigo.mean_energy_bound(
        constants=of(**CONVEX), outer_steps=1, initial_gap=1.0, inner_mse=1.0, adjoint_mse=1.0
    ),
    "accuracy must be between": lambda: amigo.table(accuracy=1.0, inner_condition=2.0),
    "inner_condition must be": lambda: amigo.table(accuracy=0.1, inner_condition=0.5),
    "reduction must be between": lambda: amigo.outer_steps(
        constants=of(**CONVEX), reduction=2.0
    ),
    "that of deterministic runs": lambda: bx.problems.total_energy(
        unit_quadratic(2.0, sizes=(3, 2)), of(**CONVEX, outer_variance=1.0)
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_out_of_range_is_told(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
