"""Which gradient to take: the rule from numbers, and measured on two problems."""

import re
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx

LARGE = {"inner_size": 10_000, "outer_size": 100, "steps": 10_000, "cost_ratio": 3}
DECREASING = LARGE | {"convergence": "decreasing", "power": 0.8, "memory": 1e9, "target": 1e-3}
SUBLINEAR = {"inner_size": 50, "outer_size": 5, "steps": 400, "convergence": "sublinear"}
SUBLINEAR |= {"power": 1.5, "invertible": False}
LINEAR = {"inner_size": 100, "outer_size": 50, "steps": 700, "convergence": "linear"}
NOISE = {"outer_noise": 2.0, "outer_step_size": 0.25, "outer_smoothness": 1.0}
NOISE |= {"outer_strong_convexity": 0.5}

# From the paper's section 4.2: the numbers; then gradient, steps, rule, options.
CASES = {
    "linear": (LINEAR | {"cost_ratio": 3}, "analytic", 2100, "R3", {}),
    "small y": (
        LINEAR | {"inner_size": 10, "outer_size": 1000, "steps": 1000},
        *("implicit", 1000, "R2", {}),
    ),
    "noise": (DECREASING, "automatic", 10_000, "R4", {}),
    "noise, less memory": (
        DECREASING | {"memory": 5e6},
        *("automatic", 10_000, "R4", {"checkpoint": "sqrt"}),
    ),
    "noise, rough": (DECREASING | {"target": 0.9}, "analytic", 30_000, "R4", {}),
    # Their threshold is 3^-0.8 = 0.4152.
    "just below": (DECREASING | {"target": 0.415}, "automatic", 10_000, "R4", {}),
    "just above": (DECREASING | {"target": 0.416}, "analytic", 30_000, "R4", {}),
    # What the memory allows: 20000 floats for all, 2000 checkpointed, 500 forward.
    "reverse": (SUBLINEAR | {"memory": 20_000}, "automatic", 400, "R4", {}),
    "checkpoint": (
        SUBLINEAR | {"memory": 19_999},
        *("automatic", 400, "R4", {"checkpoint": "sqrt"}),
    ),
    "forward": (SUBLINEAR | {"memory": 1999}, "automatic", 400, "R4", {"mode": "forward"}),
    "truncated": (SUBLINEAR | {"memory": 499}, "automatic", 400, "R4", {"last": 9}),
    "truncated, many x": (
        SUBLINEAR | {"memory": 1999, "outer_size": 10},
        *("automatic", 400, "R4", {"last": 39}),
    ),
    "nothing fits": (SUBLINEAR | {"memory": 49}, "analytic", 1200, "R4", {}),
    # Sublinear: worthwhile for t > c (A_2 / A_1)^(1/a).
    "few steps": (SUBLINEAR | {"steps": 3}, "analytic", 9, "R4", {}),
    "more steps": (SUBLINEAR | {"steps": 4}, "automatic", 4, "R4", {}),
    "scales": (SUBLINEAR | {"steps": 11, "automatic_scale": 8.0}, "analytic", 33, "R4", {}),
    "scales, more": (
        SUBLINEAR | {"steps": 13, "automatic_scale": 8.0},
        "automatic",
        13,
        "R4",
        {},
    ),
    "floor reached": (
        LARGE | {"convergence": "stochastic", "step_size": 0.01, "target": 0.1},
        *("analytic", 30_000, "R4", {}),
    ),
    "below the floor": (
        LARGE | {"convergence": "stochastic", "step_size": 0.01, "target": 0.09},
        *("automatic", 10_000, "R4", {}),
    ),
    "no target": (LARGE | {"convergence": "stochastic"}, "automatic", 10_000, "R4", {}),
    "decreasing, no target": (
        DECREASING | {"target": None, "steps": 3},
        "analytic",
        9,
        "R4",
        {},
    ),
    "cheap": (LINEAR | {"cost_ratio": 1.9}, "automatic", 700, "R3", {}),
    "not so cheap": (LINEAR | {"cost_ratio": 2.0}, "analytic", 1400, "R3", {}),
    "cheap, no room": (
        LINEAR | {"cost_ratio": 1.9, "memory": 69_999},
        "analytic",
        1330,
        "R3",
        {},
    ),
    # m b t = 10 (m^3 + m^2 n) = 15e6 at t = 3000.
    "almost": (LINEAR | {"steps": 2999}, "analytic", 8997, "R3", {}),
    "enough": (LINEAR | {"steps": 3000}, "implicit", 3000, "R2", {}),
    "no matrix": (LINEAR | {"steps": 3000, "memory": 14_999}, "analytic", 9000, "R3", {}),
    "singular": (LINEAR | {"steps": 3000, "invertible": False}, "analytic", 9000, "R3", {}),
    "few rows": (LINEAR | {"steps": 3000, "batch_rows": 1}, "analytic", 9000, "R3", {}),
    "fast solve": (LINEAR | {"implicit_ratio": 1.9}, "implicit", 700, "R2", {}),
    "slow solve": (LINEAR | {"implicit_ratio": 2.0, "steps": 3000}, "analytic", 9000, "R3", {}),
    "solve or product": (
        LINEAR | {"implicit_ratio": 1.5, "cost_ratio": 1.5},
        *("automatic", 700, "R3", {}),
    ),
    "slow convergence": (
        DECREASING | {"implicit_ratio": 2.5, "target": 1e-3},
        *("implicit", 10_000, "R2", {}),
    ),
    "slow convergence, slow solve": (
        DECREASING | {"implicit_ratio": 3.0, "target": 1e-3},
        *("automatic", 10_000, "R4", {}),
    ),
    # By the clock g3 takes 2.9 (1/.9)^1.25 = 3.3, and g1 (1/.9)^2.5 = 1.3.
    "rough, slow solve": (
        DECREASING | {"implicit_ratio": 2.9, "target": 0.9},
        *("analytic", 30_000, "R4", {}),
    ),
    # The threshold is 2^-0.8 = 0.5743.
    "solve, just below": (
        DECREASING | {"implicit_ratio": 2.0, "target": 0.574},
        *("implicit", 10_000, "R2", {}),
    ),
    "solve, just above": (
        DECREASING | {"implicit_ratio": 2.0, "target": 0.575},
        *("analytic", 30_000, "R4", {}),
    ),
    "cheap solve, floor reached": (
        LARGE
        | {"convergence": "stochastic", "step_size": 0.01, "target": 0.1, "implicit_ratio": 2},
        *("analytic", 30_000, "R4", {}),
    ),
    "slow solve, few steps": (
        SUBLINEAR | {"steps": 3, "invertible": True, "implicit_ratio": 2.9, "cost_ratio": 9},
        *("implicit", 3, "R2", {}),
    ),
    "slow solve, fewer steps": (
        SUBLINEAR | {"steps": 2, "invertible": True, "implicit_ratio": 2.9, "cost_ratio": 9},
        *("analytic", 18, "R4", {}),
    ),
    # Checkpoints cost 4: their threshold is 4^-0.8 = 0.3299.
    "checkpoints, just below": (
        DECREASING | {"memory": 5e6, "target": 0.329},
        *("automatic", 10_000, "R4", {"checkpoint": "sqrt"}),
    ),
    "checkpoints, just above": (
        DECREASING | {"memory": 5e6, "target": 0.331},
        *("analytic", 40_000, "R4", {}),
    ),
    "checkpoints or solve": (
        DECREASING | {"memory": 1.1e8, "steps": 100_000, "implicit_ratio": 3.5},
        *("implicit", 100_000, "R2", {}),
    ),
    # Forward mode in five directions costs 6.
    "forward, few steps": (
        SUBLINEAR | {"steps": 30, "memory": 500, "automatic_scale": 5.0**1.5},
        *("analytic", 180, "R4", {}),
    ),
    "forward, more steps": (
        SUBLINEAR | {"steps": 31, "memory": 500, "automatic_scale": 5.0**1.5},
        *("automatic", 31, "R4", {"mode": "forward"}),
    ),
    "bilevel, checkpoints or solve": (
        LINEAR | {"bilevel": True, "implicit_ratio": 3.9, "memory": 15_000, "cost_ratio": 3},
        *("implicit", 700, "R1", {}),
    ),
    "bilevel, fast solve": (
        LINEAR | {"bilevel": True, "steps": 299, "implicit_ratio": 2.9},
        *("implicit", 299, "R1", {}),
    ),
    "bilevel, slow solve": (
        LINEAR | {"bilevel": True, "implicit_ratio": 3.0},
        *("automatic", 700, "R1", {}),
    ),
    "bilevel": (LINEAR | {"bilevel": True, "steps": 300}, "implicit", 300, "R1", {}),
    "bilevel, short": (LINEAR | {"bilevel": True, "steps": 299}, "automatic", 299, "R1", {}),
    "bilevel, little room": (
        LINEAR | {"bilevel": True, "memory": 6000},
        *("automatic", 700, "R1", {"checkpoint": "sqrt"}),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_rule(name):
    numbers, *expected = CASES[name]
    advice = bx.recommend(**numbers)
    assert [advice.gradient, advice.steps, advice.rule, advice.options] == expected
    assert advice.reason.endswith(".") and advice.reason.count(". ") == 0


def test_large_numbers():
    """NumPy's integers do not overflow, nor do powers of floats."""
    ask = lambda **known: bx.recommend(**{**LINEAR, **known})
    assert ask(inner_size=np.int64(3_000_000))[:3] == ("analytic", 2100, "R3")
    slow = ask(convergence="sublinear", power=0.003, automatic_scale=10.0)
    assert slow.gradient == "analytic" and "3.04e+304" in slow.reason
    ask(convergence="decreasing", power=0.5, target=1.0, analytic_scale=1e160)


def test_the_noise_of_the_outer_loop():
    """2 sqrt(.25 / (2 (2 + .5 + .5))) by hand."""
    hidden = 2 * np.sqrt(0.25 / (2 * (1 / 0.5 + 1 / 2 + 2 * 0.25)))
    under = bx.recommend(**DECREASING, **NOISE, analytic_error=0.999 * hidden)
    above = bx.recommend(**DECREASING, **NOISE, analytic_error=1.001 * hidden)
    assert under[:3] == ("analytic", 10_000, "R0") and above.rule == "R4"


def test_the_estimators():
    inner = bx.GradientDescent(0.1, lambda k: k + 1)
    make = lambda name: bx.recommend(**CASES[name][0]).estimator
    analytic = make("linear")(inner)
    assert isinstance(analytic, bx.Analytic) and analytic.inner.num_steps == 2100
    implicit = make("small y")(inner, bx.CG(3))
    assert isinstance(implicit, bx.Implicit) and implicit.linear.num_steps == 3
    assert isinstance(make("small y")(inner).linear, bx.Direct)
    for name in ("reverse", "checkpoint", "forward", "truncated"):
        unrolled, options = make(name)(inner), CASES[name][-1]
        assert isinstance(unrolled, bx.Unrolled) and unrolled.inner.num_steps == 400
        assert all(getattr(unrolled, key) == value for key, value in options.items())


def logistic(size=100):
    random = np.random.RandomState(9)
    D, x = random.randn(50, size), jnp.asarray(random.randn(50))
    return bx.problems.LogisticRegression(D, 0.02), x


def p_norm():
    """The spectrum of D is flat, and all residuals have sizes between .5 and 1.5."""
    random = np.random.RandomState(0)
    D = np.linalg.qr(random.randn(10, 5))[0].T
    x = random.uniform(0.5, 1.5, 5) * random.choice([-1.0, 1.0], 5)
    return bx.problems.PNormRegression(D, 4), jnp.asarray(x)


def error_and_time(loss, x, estimator):
    """The true error, and the least time of five compiled runs."""
    run = eqx.filter_jit(lambda e, x, y: bx.hypergradient(loss.problem, e, x, y).gradient)
    gradient, times = jax.block_until_ready(run(estimator, x, loss.y0)), []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(run(estimator, x, loss.y0))
        times.append(time.perf_counter() - start)
    return float(jnp.linalg.norm(gradient - loss.gradient(x))), min(times)


def check_best(loss, x, step, advice, makes):
    """No alternative in the same time is better by more than a factor of 10."""
    chosen, spent = error_and_time(loss, x, advice.estimator(bx.GradientDescent(step)))
    for make in makes:
        at = lambda num, make=make: make(bx.GradientDescent(step, num))
        _, taken = error_and_time(loss, x, at(advice.steps))
        steps = max(int(advice.steps * spent / taken), 1)
        error, _ = error_and_time(loss, x, at(steps))
        assert chosen <= 10 * error + 1e-14, (make, chosen, error, steps)


def test_a_logistic_regression():
    loss, x = logistic()
    step = float(1 / loss.constants(x).smoothness)
    inner = bx.GradientDescent(step, 300)
    where = (loss.problem, inner, x, loss.y0)
    advice = bx.recommend(*where, implicit_ratio=4)
    assert advice.rule == "R3" and "linear" in advice.reason
    assert bx.recommend(*where, cost_ratio=3, implicit_ratio=4)[:3] == ("analytic", 900, "R3")


def test_a_small_logistic_regression():
    """The time of the dense solve is measured; it decides where it is stated."""
    loss, x = logistic(size=10)
    step = float(1 / loss.constants(x).smoothness)
    where = (loss.problem, bx.GradientDescent(step, 120), x, loss.y0)
    assert bx.recommend(*where, cost_ratio=3, implicit_ratio=1.2)[:3] == ("implicit", 120, "R2")
    advice = bx.recommend(*where)
    assert "of the time of the inner run" in advice.reason or advice.rule == "R3"


def test_a_p_norm():
    """|g1| ~ t^-a with a = (p-1) / (p-2) = 1.5; the Hessian has rank 5 of 10."""
    loss, x = p_norm()
    inner = bx.GradientDescent(0.1, 3000)
    advice = bx.recommend(loss.problem, inner, x, loss.y0)
    assert advice[:3] == ("automatic", 3000, "R4") and advice.options == {}
    power = re.search(r"t\^-([\d.]+)\)", advice.reason)
    assert power is not None and abs(float(power[1]) - 1.5) < 0.1
    failed = bx.Implicit(inner, bx.Direct())
    result = bx.hypergradient(loss.problem, failed, x, loss.y0).result
    assert result != bx.Result.successful


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "small", "p-norm"])
def test_the_advice_by_the_clock(name):
    """By true errors; slow, because no test of the suite depends on the clock."""
    loss, x = (
        p_norm() if name == "p-norm" else logistic(**{"small": {"size": 10}}.get(name, {}))
    )
    step = 0.1 if name == "p-norm" else float(1 / loss.constants(x).smoothness)
    steps = {"linear": 300, "small": 120, "p-norm": 3000}[name]
    advice = bx.recommend(loss.problem, bx.GradientDescent(step, steps), x, loss.y0)
    others: dict[str, Any] = {"analytic": bx.Analytic}
    if name != "p-norm":
        others["automatic"] = bx.Unrolled
        others["implicit"] = lambda inner: bx.Implicit(inner, bx.Direct())
    others.pop(advice.gradient, None)
    check_best(loss, x, step, advice, others.values())


def test_what_is_stated_overrides():
    loss, x = p_norm()
    inner = bx.GradientDescent(0.1, lambda k: k + 1)
    where = (loss.problem, inner, x, loss.y0)
    advice = bx.recommend(*where, steps=1000, cost_ratio=2.5, convergence="linear")
    assert advice[:3] == ("analytic", 2500, "R3")
    known = {"steps": 1000, "cost_ratio": 3}
    assert bx.recommend(*where, **known, invertible=True, implicit_ratio=2).rule == "R2"
    assert bx.recommend(*where, **known, memory=9000).options == {"checkpoint": "sqrt"}
    assert bx.recommend(*where, **known, power=2.25).reason.count("t^-2.25") == 1
    assert bx.recommend(*where, **known, bilevel=True).rule == "R1"


def test_random_solvers():
    """A constant step and one that decreases; b is the batch size."""
    loss, x = logistic()
    kinds = {"constant": 0.05, "t^-0.8": bx.schedules.polynomial(0.1, 0.8)}
    for kind, step in kinds.items():
        inner = bx.SGD(step, 400, batch_size=1)
        known = {"target": 1e-3, "cost_ratio": 3}
        advice = bx.recommend(loss.problem, inner, x, loss.y0, key=jax.random.key(0), **known)
        assert advice[:3] == ("automatic", 400, "R4") and kind in advice.reason
    inner = bx.Descent(bx.SGD(0.05, 1, 1).transformation, 50, batch_size=1)
    with pytest.raises(ValueError, match="pass a key"):
        bx.recommend(loss.problem, inner, x, loss.y0)


def test_other_kinds_of_problems():
    """Bilevel with a small y; a step left to be measured."""
    problem = bx.BilevelProblem(
        outer=lambda x, y: jnp.sum((y - 1) ** 2),
        inner=lambda x, y: jnp.sum((y - x[:3]) ** 4 + y**2),
    )
    inner = bx.GradientDescent(None, 40)
    x, y0 = jnp.arange(1.0, 9.0), jnp.zeros(3)
    # Stated, since no test of the suite depends on the clock.
    advice = bx.recommend(problem, inner, x, y0, cost_ratio=3, implicit_ratio=1.5)
    assert advice[:3] == ("implicit", 40, "R1")
    assert bx.recommend(problem, inner, x, y0).rule == "R1"
    h = bx.hypergradient(problem, advice.estimator(inner), x, y0)
    assert h.result == bx.Result.successful
    # Rounding is reached within three steps.
    easy = bx.MinProblem(lambda x, y: jnp.sum((y - x) ** 2) / 2)
    advice = bx.recommend(easy, bx.GradientDescent(1.0, 3), x, x + 1, memory=16)
    assert advice.rule == "R3"


FAULTS = {
    "nothing": ({}, "Not known: inner_size, outer_size, steps, convergence. State them"),
    "no power": (SUBLINEAR | {"power": None}, "Not known: power"),
    "no step": (LARGE | {"convergence": "stochastic", "target": 0.1}, "Not known: step_size"),
    "kind": (LINEAR | {"convergence": "sublinaer"}, "Did you mean 'sublinear'"),
    "far kind": (LINEAR | {"convergence": "xyz"}, "one of 'linear', .* got 'xyz'.$"),
    "power": (DECREASING | {"power": 1.5}, "power must be at most 1"),
    "negative power": (SUBLINEAR | {"power": -1.0}, "power must be positive"),
    "size": (LINEAR | {"inner_size": 0}, "inner_size must be at least 1, got 0"),
    "steps": (LINEAR | {"steps": -5}, "steps must be at least 1, got -5"),
    "rows": (LINEAR | {"batch_rows": 0}, "batch_rows must be at least 1"),
    "memory": (LINEAR | {"memory": 0.0}, "memory must be positive"),
    "target": (LINEAR | {"target": float("nan")}, "target must be positive"),
    "scale": (LINEAR | {"analytic_scale": 0.0}, "analytic_scale must be positive"),
    "solve ratio": (LINEAR | {"implicit_ratio": 0.5}, "implicit_ratio must be at least 1"),
    "ratio": (LINEAR | {"cost_ratio": 0.5}, "cost_ratio must be at least 1"),
    "noise": (LINEAR | {"outer_noise": 1.0}, "state outer_step_size, .*analytic_error too"),
    "error": (LINEAR | NOISE | {"analytic_error": -1.0}, "analytic_error must be finite"),
    "outer step": (LINEAR | NOISE | {"analytic_error": 1.0, "outer_step_size": 2.0}, "at most"),
    "bilevel": (LINEAR | {"bilevel": True, "memory": 99}, "allow at least inner_size"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_numbers(name):
    numbers, message = FAULTS[name]
    with pytest.raises(ValueError, match=message):
        bx.recommend(**numbers)


def test_faulty_problems():
    loss, x = p_norm()
    ask = lambda inner, **known: bx.recommend(loss.problem, inner, x, loss.y0, **known)
    with pytest.raises(ValueError, match="pass inner, x, y0 too"):
        bx.recommend(loss.problem)
    with pytest.raises(TypeError, match="must be an iterative solver"):
        ask(bx.Direct())
    with pytest.raises(ValueError, match="leave out its tol"):
        ask(bx.GradientDescent(0.1, 10, tol=1e-6))
    with pytest.raises(ValueError, match="state steps="):
        ask(bx.GradientDescent(0.1, lambda k: k + 1))
    with pytest.raises(ValueError, match="too short"):
        ask(bx.GradientDescent(0.1, 3))
    # Growing slowly, fast, and swinging to and fro.
    for step in (2.1, 10.0, 2.0):
        with pytest.raises(ValueError, match="does not decrease"):
            bx.recommend(
                bx.MinProblem(lambda x, y: y**2 / 2), bx.GradientDescent(step, 50), 0.0, 1.0
            )
    with pytest.raises(ValueError, match="NaN or infinite"):
        ask(bx.GradientDescent(1e3, 50))


def test_a_step_that_falls_to_zero():
    loss, x = logistic()
    inner = bx.SGD(lambda k: jnp.maximum(0.1 - 0.001 * k, 0.0), 400, 5)
    with pytest.raises(ValueError, match="falls to zero within the run"):
        bx.recommend(loss.problem, inner, x, loss.y0, key=jax.random.key(0))


def test_faulty_solvers_of_an_estimator():
    advice = bx.recommend(**SUBLINEAR)
    with pytest.raises(ValueError, match="leave out its tol"):
        advice.estimator(bx.GradientDescent(0.1, 10, tol=1e-6))
    with pytest.raises(TypeError, match="must be an iterative solver"):
        advice.estimator(bx.Direct())
