"""Reducers as inner and as adjoint solvers, against NumPy transcriptions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from bilevax import reducers
from finite_sums import (
    ALL,
    OUTER_ROWS,
    REDUCERS,
    ROWS,
    SIZE,
    SLOTS,
    FiniteSums,
    block,
    counted,
    deviation,
    numbers,
    orders,
    states_equal,
)

T, N, STEPS = 3, 2, 60
ALPHA, BETA, GAMMA = 0.1, 0.15, 0.1


@pytest.fixture(scope="module")
def sums():
    with jax.enable_x64(True):
        return FiniteSums()


def algorithm(reducer, inner_order, adjoint_order):
    rows = bx.Blocks(SIZE, order=inner_order), bx.Blocks(SIZE, order=adjoint_order)
    inner = bx.ReducedDescent(ALPHA, reducer, T, rows[0])
    linear = bx.ReducedDescent(BETA, reducer, N, rows[1])
    return bx.Algorithm(bx.Implicit(inner, linear), GAMMA)


def transcription(sums, plain, inner_order, adjoint_order):
    rows = lambda b: ALL if b is None else block(b)
    inner = plain(lambda w, b: sums.residual(*w, rows(b)), SLOTS)
    adjoint = plain(lambda w, b: sums.product(w[2], rows(b)), SLOTS)
    x, y, z, trajectory = sums.x0, sums.y0, np.zeros_like(sums.y0), []
    for k in range(STEPS):
        for t in range(T):
            i = k * T + t
            y = y - ALPHA * inner((x, y), inner_order[i], i)
        offset = sums.outer_y(y)
        for n in range(N):
            i = k * N + n
            z = z - BETA * (adjoint((x, y, z), adjoint_order[i], i) + offset)
        x = x - GAMMA * (sums.outer_x(x) + sums.cross(z))
        trajectory.append(np.concatenate((x, y)))
    return np.array(trajectory), z


def test_none_is_left_out():
    exported = {
        name
        for name in reducers.__all__
        if issubclass(vars(reducers)[name], reducers.AbstractReducer)
    }
    made = {type(make()).__name__ for make, _ in REDUCERS.values()}
    assert made | {"AbstractReducer"} == exported


@pytest.fixture(scope="module")
def fed():
    return orders(STEPS * T, SLOTS, SLOTS)


# Those whose oracles count what is executed.
COUNTED = {"SAGA", "SPIDER"}


# A plain sample is SGD.
@pytest.fixture(scope="module", params=[name for name in REDUCERS if name != "Sample"])
def run(request, sums, fed):
    with jax.enable_x64(True):
        name = request.param
        problem, counts = counted(sums.problem) if name in COUNTED else (sums.problem, None)
        observed = lambda x, y: {"xy": jnp.concatenate((x, y))}
        own = algorithm(REDUCERS[name][0](), *fed)
        minimize = functools.partial(bx.minimize, problem, own, metrics=observed)
        whole = minimize(*sums.start(), num_steps=STEPS)
        made = counts() if counts else None
        first = minimize(*sums.start(), num_steps=23)
        rest = minimize(num_steps=STEPS - 23, state=first.state)
    return name, whole, rest, made


def test_it_equals_its_transcription(run, sums, fed):
    name, whole, *_ = run
    trajectory, z = transcription(sums, REDUCERS[name][1], *fed)
    assert deviation(whole.history["xy"], trajectory) < 1e-10
    assert deviation(whole.adjoint, z) < 1e-10


def test_a_run_goes_on_bit_for_bit(run):
    _, whole, rest, _ = run
    assert states_equal(whole.state, rest.state)
    assert whole.cost == rest.cost


def test_costs_are_the_counted_calls(run):
    name, whole, _, made = run
    assert (made is not None) == (name in COUNTED)
    assert made is None or made == numbers(whole.cost)


def test_svrg_reads_what_it_says(sums):
    """Refreshes read all rows; other steps read a batch at two points."""
    inner = bx.SVRG(0.1, 10, SIZE, epoch=10)
    own = bx.Algorithm(bx.Implicit(inner, bx.CG(2)), 0.1)
    key = jax.random.key(0)
    cost = bx.minimize(sums.problem, own, *sums.start(), num_steps=6, key=key).cost
    assert cost.rows.inner_gradient == 6 * (ROWS + 9 * 2 * SIZE)
    assert cost.inner_gradient == 6 * (1 + 9 * 2)
    assert cost.rows.outer_gradient == 6 * OUTER_ROWS
