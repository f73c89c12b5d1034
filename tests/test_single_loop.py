"""Single-loop presets against plain NumPy transcriptions of their published updates."""

import functools

import jax
import numpy as np
import pytest

import bilevax as bx
from finite_sums import (
    ALL,
    OUTER_SLOTS,
    REDUCERS,
    SIZE,
    SLOTS,
    FiniteSums,
    PlainSTORM,
    block,
    deviation,
    orders,
    states_equal,
)

STEPS, CUT = 60, 23
ALPHA, BETA, ETA, GAMMA, Q, T, PERIOD = 0.1, 0.15, 0.12, 0.08, 3, 2, 4
FED = orders(STEPS * (T + 2))
ROWS = {
    "inner_batch_size": bx.Blocks(SIZE, order=FED[0]),
    "outer_batch_size": bx.Blocks(SIZE, order=FED[1]),
}
STEP_SIZES = {"outer_step_size": GAMMA, "inner_step_size": ALPHA}
THREE = STEP_SIZES | {"adjoint_step_size": BETA}
SERIES = STEP_SIZES | {"adjoint_step_size": ETA, "adjoint_steps": Q}


def rows(b):
    return ALL if b is None else block(b)


def soba(sums, plain):
    """SOBA, SABA and SRBA: five terms, each with its reducer, all at the same point."""
    inner = [
        plain(lambda w, b: sums.residual(w[0], w[1], rows(b)), SLOTS),
        plain(lambda w, b: sums.product(w[2], rows(b)), SLOTS),
        plain(lambda w, b: sums.cross(w[2], rows(b)), SLOTS),
    ]
    outer = [
        plain(lambda w, b: sums.outer_y(w[1], rows(b)), OUTER_SLOTS),
        plain(lambda w, b: sums.outer_x(w[0], rows(b)), OUTER_SLOTS),
    ]
    x, y, z = sums.x0, sums.y0, np.zeros_like(sums.y0)
    for k in range(STEPS):
        w = (x, y, z)
        g, h, j = (term(w, FED[0][k], k) for term in inner)
        f_y, f_x = (term(w, FED[1][k], k) for term in outer)
        x, y, z = x - GAMMA * (f_x + j), y - ALPHA * g, z - BETA * (h + f_y)
        yield x, y, z


def ma_soba(sums):
    x, y, z, average = sums.x0, sums.y0, np.zeros_like(sums.y0), np.zeros_like(sums.x0)
    for k in range(STEPS):
        i, o = block(FED[0][k]), block(FED[1][k])
        d = sums.outer_x(x, o) + sums.cross(z, i)
        y_new = y - ALPHA * sums.residual(x, y, i)
        z_new = z - BETA * (sums.product(z, i) + sums.outer_y(y, o))
        x, average = x - GAMMA * average, 0.7 * average + 0.3 * d
        y, z = y_new, z_new
        yield x, y, z


def series(sums, y, inner, outer):
    """z = -eta sum of Q + 1 terms, with Q products."""
    term = sums.outer_y(y, outer)
    total = term
    for _ in range(Q):
        term = term - ETA * sums.product(term, inner)
        total = total + term
    return -ETA * total


def hypergradient(sums, w, b):
    inner, outer = (ALL, ALL) if b is None else map(block, b)
    return sums.outer_x(w[0], outer) + sums.cross(series(sums, w[1], inner, outer), inner)


def mrbo(sums, batches=True):
    c_y, c_x = (lambda i: 0.3), (lambda i: (1 + i) ** (-2 / 3))
    u = PlainSTORM(lambda w, b: sums.residual(*w, rows(b)), SLOTS, c_y)
    v = PlainSTORM(lambda w, b: hypergradient(sums, w, b), None, c_x)
    x, y = sums.x0, sums.y0
    for k in range(STEPS):
        i, o = (FED[0][k], FED[1][k]) if batches else (None, None)
        d_y, d_x = u((x, y), i, k), v((x, y), (i, o) if batches else None, k)
        x, y = x - GAMMA * d_x, y - ALPHA * d_y
        yield x, y


def vrbo(sums):
    """As published: the refresh overwrites the last correction of the step before."""
    G = lambda w, b: sums.residual(*w, rows(b))
    h = functools.partial(hypergradient, sums)
    x, y, place = sums.x0, sums.y0, T
    for k in range(STEPS):
        if k % PERIOD == 0:
            u, v = G((x, y), None), h((x, y), None)
            ref = (x, y)
        before = y
        x = x - GAMMA * v
        yield x, before
        for t in range(T + 1):
            place += 1
            w, i, o = (x, y), FED[0][place], FED[1][place]
            u = u + G(w, i) - G(ref, i)
            v = v + h(w, (i, o)) - h(ref, (i, o))
            ref = w
            if t < T:
                y = y - ALPHA * u


PRESETS = {
    "soba": (lambda: bx.algorithms.soba(**THREE, **ROWS), lambda s: soba(s, plain("Sample"))),
    "ma_soba": (lambda: bx.algorithms.ma_soba(**THREE, **ROWS, weight=0.3), ma_soba),
    "saba": (lambda: bx.algorithms.saba(**THREE, **ROWS), lambda s: soba(s, plain("SAGA"))),
    "srba": (
        lambda: bx.algorithms.srba(**THREE, **ROWS, period=7),
        lambda s: soba(s, plain("SPIDER")),
    ),
    "mrbo": (lambda: bx.algorithms.mrbo(**SERIES, **ROWS, inner_momentum=0.3), mrbo),
    "vrbo": (
        lambda: bx.algorithms.vrbo(**SERIES, **ROWS, inner_steps=T, period=PERIOD),
        vrbo,
    ),
}


def plain(name):
    return REDUCERS[name][1]


def observed(x, y, z):
    return {"x": x, "y": y, "z": z}


@pytest.fixture(scope="module")
def sums():
    with jax.enable_x64(True):
        return FiniteSums()


@pytest.fixture(scope="module", params=PRESETS)
def run(request, sums):
    with jax.enable_x64(True):
        return request.param, *cut_and_whole(sums, PRESETS[request.param][0]())


def cut_and_whole(sums, own):
    minimize = functools.partial(bx.minimize, sums.problem, own, metrics=observed)
    whole = minimize(*sums.start(), num_steps=STEPS)
    first = minimize(*sums.start(), num_steps=CUT)
    return whole, minimize(num_steps=STEPS - CUT, state=first.state)


def test_it_equals_its_transcription(run, sums):
    name, whole, _ = run
    columns = [np.array(column) for column in zip(*PRESETS[name][1](sums), strict=True)]
    for variable, expected in zip("xyz", columns, strict=False):
        assert deviation(whole.history[variable], expected) < 1e-10, variable


def test_a_run_goes_on_bit_for_bit(run):
    _, whole, rest = run
    assert states_equal(whole.state, rest.state)
    assert whole.cost == rest.cost
