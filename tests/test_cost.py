"""Costs equal the calls counted by a double."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from bilevax._core.cost import Wide
from doubles import ORACLES, Counted, Counter

DESCENT = bx.GradientDescent(0.1, 4)

ESTIMATORS = {
    "warm cg": bx.Implicit(DESCENT, bx.CG(3)),
    "cold cg": bx.Implicit(DESCENT, bx.CG(3), warm_start_adjoint=False),
    "warm descent": bx.Implicit(DESCENT, bx.GradientDescent(0.1, 3)),
    "cold descent": bx.Implicit(DESCENT, bx.GradientDescent(0.1, 3), warm_start_adjoint=False),
    "neumann": bx.Implicit(DESCENT, bx.Neumann(step_size=0.1, num_steps=3)),
    "direct": bx.Implicit(DESCENT, bx.Direct()),
    "cold inner": bx.Implicit(DESCENT, bx.CG(3), warm_start_inner=False),
    "growing": bx.Implicit(
        bx.GradientDescent(0.1, lambda k: 1 + k), bx.GradientDescent(0.1, lambda k: 2 + k)
    ),
    "batches": bx.Implicit(
        bx.GradientDescent(0.1, 4, batch_size=5),
        bx.GradientDescent(0.1, 3, batch_size=6),
        outer_batch_size=7,
        cross_batch_size=8,
    ),
    "cg batch": bx.Implicit(DESCENT, bx.CG(3, batch_size=6), cross_batch_size=8),
    "neumann batches": bx.Implicit(
        DESCENT, bx.Neumann(step_size=0.1, num_steps=3, batch_size=6)
    ),
}


def task():
    rng = np.random.default_rng(0)
    train = rng.standard_normal((30, 4)), rng.integers(0, 3, 30)
    valid = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    return bx.problems.penalised_logistic(train, valid)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_cost_equals_the_calls_that_were_made(name):
    t, counter = task(), Counter()
    estimator, key = ESTIMATORS[name], jax.random.key(0)
    problem = Counted(t.problem, counter)
    state = estimator.init(problem, t.x0, t.y0)
    step = jax.jit(lambda state: estimator(problem, t.x0, state, key))
    total = bx.Cost()
    for _ in range(3):
        _, state, cost, result = step(state)
        total = total + cost.on_host()
        assert result == bx.Result.successful
    jax.effects_barrier()
    for oracle in ORACLES:
        # Direct assembles its matrix in one vectorised call, which fires once.
        if name == "direct" and oracle == "hvp":
            assert total.hvp == 3 * t.y0.size and total.rows.hvp == 3 * t.y0.size * 30
            continue
        assert getattr(total, oracle) == counter.calls[oracle], oracle
        assert getattr(total.rows, oracle) == counter.rows[oracle], oracle
    # One linearisation serves all products of a fixed batch.
    if name in ("warm cg", "cold descent", "neumann", "direct"):
        assert counter.calls["linearize"] == 3


PER_STEP = {
    "amigo_gd": (5, 3),
    "amigo_cg": (5, 3 + 1),
    "aid_gd": (5, 3 - 1),
    "aid_cg": (5, 3),
    "aid_cg_ws": (5, 3 + 1),
    "aid_fp": (5, 3 - 1),
    "aid_n": (5, 3),
}


@pytest.mark.parametrize("name", PER_STEP)
def test_presets_cost_what_their_table_says(name):
    t = task()
    needs = {"adjoint_step_size": 0.1} if name in ("amigo_gd", "aid_gd", "aid_n") else {}
    algorithm = getattr(bx.algorithms, name)(
        outer_step_size=0.1, inner_step_size=0.1, inner_steps=5, adjoint_steps=3, **needs
    )
    cost = bx.minimize(t.problem, algorithm, t.x0, t.y0, num_steps=7).cost
    gradients, products = PER_STEP[name]
    assert (cost.inner_gradient, cost.hvp) == (7 * gradients, 7 * products)
    assert (cost.cross, cost.outer_gradient) == (7, 7)
    assert cost.total == 7 * (gradients + products + 2)
    assert cost.rows.total == 7 * (30 * (gradients + products + 1) + 20)


def test_counts_do_not_overflow_32_bits():
    total = bx.Cost().wide()
    for _ in range(5):
        total = total + bx.Cost.of("hvp", jnp.int32(5000), 1_000_003)
    assert total.on_host().rows.hvp == 5 * 5000 * 1_000_003
    assert total.on_host().hvp == 25_000


@pytest.mark.parametrize("calls", [0, 1, 65_535, 65_536, 2**31 - 1])
@pytest.mark.parametrize("rows", [1, 65_537, 10**8, 2**31 - 1])
def test_wide_arithmetic_is_exact(calls, rows):
    assert Wide.product(jnp.int32(calls), rows).on_host() == calls * rows
    doubled = Wide.product(jnp.int32(calls), rows) + Wide.of(2**32 - 1) + rows
    assert doubled.on_host() == calls * rows + 2**32 - 1 + rows


def test_many_rows_in_one_solve():
    data = jnp.zeros((100_000, 1))
    problem = bx.BilevelProblem(
        lambda x, y: y**2,
        lambda x, y, batch: (y - x) ** 2 + jnp.mean(batch[:1]),
        inner_data=data,
    )
    steps = lambda k: 30_000 + k
    estimator = bx.Analytic(bx.GradientDescent(0.1, steps))
    assert bx.hypergradient(problem, estimator, 1.0, 1.0).cost.rows.inner_gradient == 3 * 10**9


def test_history_and_solution_count_alike():
    t = task()
    algorithm = bx.algorithms.amigo_cg(outer_step_size=0.1, inner_step_size=0.1)
    solution = bx.minimize(t.problem, algorithm, t.x0, t.y0, num_steps=5)
    assert solution.history["calls"][-1] == solution.cost.total
    assert solution.history["rows"][-1] == solution.cost.rows.total
    assert np.all(np.diff(solution.history["calls"]) == solution.history["calls"][0])
