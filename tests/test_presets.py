"""Each preset against a plain NumPy transcription of its published update, and identities."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
import test_single_loop
from bilevax.algorithms._catalogue import example
from bilevax.cli._algorithms import markdown
from cases import steps
from finite_sums import FiniteSums, deviation
from plain_presets import (
    DY,
    KEY,
    LENGTHS,
    PRESETS,
    STEPS,
    N,
    Q,
    T,
    assert_calls,
    ba_steps,
    growing,
)

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
    assert_calls(name, solution.history, **LETTERS | OF_ONE.get(name, {}))


# What stands in the table's formulas.
LETTERS = {"T": T, "N": N, "m": DY, "Q": Q, "L": 2}
_TERMS = {"p": lambda k: LENGTHS[k % len(LENGTHS)], "T_k": lambda k: growing(k - 1)}
OF_ONE = {"ba": {"T_k": ba_steps}, "bsa": _TERMS, "ttsa": _TERMS}


def test_the_page_is_what_the_code_makes():
    """`bilevax info --algorithms --markdown` writes it."""
    page = pathlib.Path(__file__).parents[1] / "docs" / "algorithms.md"
    assert page.read_text() == markdown()
    rows = {row.preset: row for row in bx.algorithms.table()}
    assert list(rows) == sorted(bx.algorithms.__all__)
    first_order = {name for name, row in rows.items() if row.second_order == "no"}
    assert first_order == {"bome", "f2sa", "pzobo"}


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


def logarithmic(k):
    return jnp.maximum(1, 3 * jnp.log(k + 1)).astype(int)


@pytest.mark.parametrize("name", ["aid_gd", "itd"])
def test_a_growing_number_of_steps(name):
    """T_k and N_k as functions of k; ITD's series has as many terms as y had steps."""
    q = bx.problems.quadratic(8, 6, inner_condition=8.0, coupling=0.2, seed=3)
    A_f, A_g, B_g, C_f, rho = (np.asarray(a) for a in (q.A_f, q.A_g, q.B_g, q.C_f, q.coupling))
    more = {"adjoint_step_size": BETA, "adjoint_steps": lambda k: 2 + k // 2}
    more = {"max_inner_steps": 8} if name == "itd" else more
    algorithm = getattr(bx.algorithms, name)(
        outer_step_size=GAMMA, inner_step_size=ALPHA, inner_steps=logarithmic, **more
    )
    x, y, z = np.ones(8), np.zeros(6), np.zeros(6)
    solution = bx.minimize(q.problem, algorithm, jnp.asarray(x), jnp.asarray(y), num_steps=9)
    lengths = [max(1, int(3 * np.log(k + 1))) for k in range(9)]
    assert len(set(lengths)) > 4
    for k, T_k in enumerate(lengths):
        y = descent(A_g, B_g @ x, y, T_k, ALPHA)
        num, step = (T_k, ALPHA) if name == "itd" else (2 + k // 2, BETA)
        z = descent(A_g, C_f + rho * y, z if name == "amigo_gd" else 0 * z, num, step)
        x = x - GAMMA * (A_f @ x + B_g.T @ z)
    np.testing.assert_allclose(solution.x, x, rtol=1e-11)
    assert solution.cost.inner_gradient == sum(lengths)
    products = {"itd": sum(lengths), "amigo_gd": 34, "aid_gd": 25}
    assert solution.cost.hvp == products[name]


_TWO = {"outer_step_size": 0.1, "inner_step_size": 0.1}
_PENALTY = _TWO | {"penalised_step_size": 0.1}
REFUSED = {
    "no inner step": (
        lambda: bx.algorithms.stocbio(**_TWO, inner_steps=0),
        ValueError,
        "inner_steps must be at least 1",
    ),
    "no product": (
        lambda: bx.algorithms.bsa(**_TWO, adjoint_steps=0),
        ValueError,
        "adjoint_steps must be at least 1",
    ),
    "no step of f2sa": (
        lambda: bx.algorithms.f2sa(**_PENALTY, inner_steps=0),
        ValueError,
        "inner_steps must be at least 1",
    ),
    "half a step": (
        lambda: bx.algorithms.amigo_sag(**_TWO, inner_steps=2.5),
        TypeError,
        "round it",
    ),
    "momentum": (
        lambda: bx.algorithms.fsla(**_TWO, outer_momentum=1.5),
        ValueError,
        "above 0 and at most 1",
    ),
    "averaging": (
        lambda: bx.algorithms.amigo_gd(**_TWO, averaging=0.0),
        ValueError,
        "averaging must be above 0 and at most 1",
    ),
    "period": (
        lambda: bx.algorithms.vrbo(**_TWO, period=0),
        ValueError,
        "period must be at least 1",
    ),
    "terms": (
        lambda: bx.algorithms.sustain(**_TWO, adjoint_steps=0),
        ValueError,
        "adjoint_steps must be at least 1",
    ),
    "directions": (
        lambda: bx.algorithms.pzobo(**_TWO, num_directions=0),
        ValueError,
        "num_directions must be at least 1",
    ),
    "distance": (
        lambda: bx.algorithms.pzobo(**_TWO, distance=0.0),
        ValueError,
        "distance must be positive",
    ),
    "multiplier": (
        lambda: bx.algorithms.f2sa(**_PENALTY, multiplier=-1.0),
        ValueError,
        "multiplier must be positive",
    ),
    "growth of a barrier": (
        lambda: bx.Penalty(_STEP, _STEP, bx.DynamicBarrier(), 0.1),
        TypeError,
        "leave `growth` out",
    ),
    "steps of a barrier": (
        lambda: bx.Penalty(_STEP, bx.GradientDescent(0.1, 3), bx.DynamicBarrier()),
        ValueError,
        "num_steps=1, got 3",
    ),
    "a penalty's missing step": (
        lambda: bx.algorithms.f2sa(**_TWO, penalised_step_size=None),
        TypeError,
        "must be given",
    ),
    "a penalty by conjugate gradient": (
        lambda: bx.Penalty(_STEP, bx.CG(3)),
        TypeError,
        "along the gradient",
    ),
    "where to start": (
        lambda: bx.Penalty(_STEP, _STEP, start="y"),
        ValueError,
        "'last' or 'penalised'",
    ),
    "no column": (lambda: bx.Nystrom(0), ValueError, "rank must be at least 1"),
    "no regularisation": (
        lambda: bx.Nystrom(2, 0.0),
        ValueError,
        "regularisation must be positive",
    ),
    "no strong convexity": (
        lambda: bx.algorithms.accbio(
            **_TWO, outer_strong_convexity=0.0, inner_strong_convexity=1.0
        ),
        ValueError,
        "outer_strong_convexity must be positive",
    ),
    "a schedule for AccBiO": (
        lambda: bx.algorithms.accbio(
            outer_step_size=bx.schedules.polynomial(0.1, 0.5),
            outer_strong_convexity=1.0,
            inner_strong_convexity=1.0,
        ),
        TypeError,
        "outer_step_size must be a positive number",
    ),
    "a preset's name": (
        lambda: bx.algorithms.amigo_gc,
        AttributeError,
        "no preset 'amigo_gc'. Did you mean 'amigo_",
    ),
    "batches of AID-BiO": (
        lambda: bx.algorithms.aid_bio(**_TWO, batch_size=3),
        TypeError,
        "batch_size",
    ),
}
_STEP = bx.GradientDescent(0.1, 1)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_when_it_is_made(name):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        make()


_DRAWING = [name for name in bx.algorithms.__all__ if name not in ("accbio", "aid_bio", "bome")]


@pytest.mark.parametrize("name", _DRAWING)
def test_rows_that_are_not_there(name):
    """Each that draws rows says so where there are none, or too few."""
    without = bx.BilevelProblem(lambda x, y: y @ y, lambda x, y: (y - x) @ (y - x))
    start = jnp.ones(2), jnp.ones(2)
    with pytest.raises(ValueError, match="a level without data"):
        bx.minimize(without, example(name, 4), *start, key=KEY)
    with pytest.raises(ValueError, match=r"rows|does not divide"):
        bx.minimize(sums().problem, example(name, 500), *sums().start(), key=KEY)


def test_estimators_where_they_have_no_meaning():
    fixed = bx.FixedPointProblem(lambda x, y: y @ y, lambda x, y: 0.5 * y + x)
    start = jnp.ones(2), jnp.ones(2)
    for estimator in (bx.Penalty(_STEP, _STEP), bx.Implicit(_STEP, bx.Nystrom(1))):
        with pytest.raises(TypeError, match=r"objective|not symmetric"):
            bx.hypergradient(fixed, estimator, *start, key=KEY)
    estimator = bx.Implicit(_STEP, bx.Nystrom(7))
    with pytest.raises(ValueError, match="at most 4"):
        bx.hypergradient(sums().problem, estimator, *sums().start(), key=KEY)
