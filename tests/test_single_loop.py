"""Single-loop presets against plain NumPy transcriptions of their published updates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx
from bilevax._rows.epochs import permuted
from finite_sums import (
    ALL,
    OUTER_SLOTS,
    REDUCERS,
    SIZE,
    SLOTS,
    FiniteSums,
    PlainSTORM,
    block,
    counted,
    deviation,
    numbers,
    orders,
    states_equal,
)
from plain_presets import assert_calls

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


def fsla(sums):
    """y, then z at the new y, then x by momentum at both, each on rows of its own."""
    i, o = FED[0][: 3 * STEPS].reshape(STEPS, 3), FED[1][: 2 * STEPS].reshape(STEPS, 2)

    def direction(w, b):
        return sums.outer_x(w[0], block(b[1])) + sums.cross(w[2], block(b[0]))

    d = PlainSTORM(direction, None, lambda k: (1 + k) ** -0.5)
    x, y, z = sums.x0, sums.y0, np.zeros_like(sums.y0)
    for k in range(STEPS):
        y = y - ALPHA * sums.residual(x, y, block(i[k, 0]))
        z = z - ALPHA * (sums.product(z, block(i[k, 1])) + sums.outer_y(y, block(o[k, 0])))
        x = x - GAMMA * d((x, y, z), (i[k, 2], o[k, 1]), k)
        yield x, y, z


LENGTHS = [2, 0, 3]


def sustain(sums):
    """MRBO with one random term of the same length at both points."""

    def h(w, b, p):
        inner, outer = map(block, b)
        z = -ETA * Q * sums.outer_y(w[1], outer)
        for _ in range(p):
            z = z - ETA * sums.product(z, inner)
        return sums.outer_x(w[0], outer) + sums.cross(z, inner)

    c = lambda i: (1 + i) ** (-2 / 3)
    u = PlainSTORM(lambda w, b: sums.residual(*w, rows(b)), SLOTS, c)
    x, y, v, last = sums.x0, sums.y0, None, None
    for k in range(STEPS):
        w, b, p = (x, y), (FED[0][k], FED[1][k]), LENGTHS[k % 3]
        new = h(w, b, p)
        v = new if v is None else new + (1 - c(k)) * (v - h(last, b, p))
        last = w
        x, y = x - GAMMA * v, y - ALPHA * u(w, b[0], k)
        yield x, y


PRESETS = {
    "fsla": (lambda: bx.algorithms.fsla(**STEP_SIZES, **ROWS), fsla),
    "sustain": (lambda: bx.algorithms.sustain(**SERIES, **ROWS, lengths=LENGTHS), sustain),
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


# Those whose oracles count what is executed.
COUNTED = {"srba", "vrbo", "sustain"}


@pytest.fixture(scope="module", params=PRESETS)
def run(request, sums):
    with jax.enable_x64(True):
        return request.param, *cut_and_whole(sums, request.param)


def cut_and_whole(sums, name):
    problem, counts = counted(sums.problem) if name in COUNTED else (sums.problem, None)
    minimize = functools.partial(bx.minimize, problem, PRESETS[name][0](), metrics=observed)
    whole = minimize(*sums.start(), num_steps=STEPS)
    made = counts() if counts else None
    first = minimize(*sums.start(), num_steps=CUT)
    return whole, minimize(num_steps=STEPS - CUT, state=first.state), made


def test_it_equals_its_transcription(run, sums):
    name, whole, *_ = run
    columns = [np.array(column) for column in zip(*PRESETS[name][1](sums), strict=True)]
    for variable, expected in zip("xyz", columns, strict=False):
        assert deviation(whole.history[variable], expected) < 1e-10, variable


def test_a_run_goes_on_bit_for_bit(run):
    name, whole, rest, _ = run
    period = {"srba": 7, "vrbo": PERIOD}.get(name, STEPS)
    refreshed = lambda k: k % period == 0
    p = lambda k: LENGTHS[k % len(LENGTHS)]
    assert_calls(name, whole.history, refreshed, T=T, N=Q, p=p)
    assert states_equal(whole.state, rest.state)
    assert whole.cost == rest.cost
    if name == "saba":  # Its full tables are paid for.
        assert whole.cost.total == 4 * STEPS + 3 * SLOTS + OUTER_SLOTS
        assert whole.cost.rows.hvp == SIZE * (STEPS + SLOTS)
        assert whole.cost.rows.outer_gradient == SIZE * (STEPS + OUTER_SLOTS)


def test_costs_are_the_counted_calls(run):
    name, whole, _, made = run
    assert (made is not None) == (name in COUNTED)
    assert made is None or made == numbers(whole.cost)


@pytest.mark.parametrize("name", ["mrbo", "vrbo"])
def test_with_full_batches_the_estimates_are_exact(name, sums):
    more = {"inner_steps": T, "period": PERIOD} if name == "vrbo" else {"outer_momentum": 0.3}
    own, state = getattr(bx.algorithms, name)(**SERIES, **more), None
    for _ in range(9):
        start = sums.start() if state is None else (None, None)
        before = start[0] if state is None else state.loop.x
        y = sums.y0 if state is None else state.loop.hypergradient.y
        state = bx.minimize(sums.problem, own, *start, num_steps=1, state=state).state
        estimate = state.loop.hypergradient
        u, v = estimate.estimates
        # MRBO's y moves after its estimate, VRBO's before.
        y = y if name == "mrbo" else estimate.y
        for last in (u, v):
            np.testing.assert_array_equal(last.w.x, before)
            np.testing.assert_array_equal(last.w.y, y)
        w = np.asarray(before), np.asarray(y)
        assert deviation(u.estimate["y"], sums.residual(*w)) < 1e-12
        assert deviation(v.estimate["x"], hypergradient(sums, w, None)) < 1e-12


def test_in_turn_with_a_reducer_for_each(sums):
    """FSLA: y, then z at the new y, then x by momentum at both, each on rows of its own."""
    estimator = bx.Joint(
        bx.GradientDescent(BETA, 1),
        (bx.Sample(), bx.Sample(), bx.STORM(0.4)),
        ALPHA,
        num_inner_steps=T,
        order="in turn",
        **ROWS,
    )
    own = bx.Algorithm(estimator, GAMMA)
    solution = bx.minimize(sums.problem, own, *sums.start(), num_steps=STEPS, metrics=observed)
    i, o = FED[0].reshape(STEPS, T + 2), FED[1][: 2 * STEPS].reshape(STEPS, 2)

    def direction(w, b):
        return sums.outer_x(w[0], block(b[1])) + sums.cross(w[2], block(b[0]))

    x, y, z, momentum = sums.x0, sums.y0, np.zeros_like(sums.y0), None
    for k in range(STEPS):
        for t in range(T):
            y = y - ALPHA * sums.residual(x, y, block(i[k, t]))
        d_z = sums.product(z, block(i[k, T])) + sums.outer_y(y, block(o[k, 0]))
        z = z - BETA * d_z
        w, b = (x, y, z), (i[k, T + 1], o[k, 1])
        d = direction(w, b)
        if momentum is not None:
            d = d + 0.6 * (momentum[1] - direction(momentum[0], b))
        x, momentum = x - GAMMA * d, (w, d)
        for name, expected in zip("xyz", (x, y, z), strict=True):
            assert deviation(solution.history[name][k], expected) < 1e-10
    per_step = solution.cost.inner_gradient, solution.cost.hvp, solution.cost.cross
    assert per_step == (STEPS * T, STEPS, 2 * STEPS)
    assert solution.cost.outer_gradient == 3 * STEPS


@pytest.fixture(scope="module")
def drawn(sums):
    """Presets on rows that they draw, with one program each."""
    steps = {"outer_step_size": 0.05, "inner_step_size": 0.05, "adjoint_step_size": 0.05}
    made = {}
    with jax.enable_x64(True):
        for name, more in {"soba": {}, "saba": {}, "srba": {"period": 10}}.items():
            own = getattr(bx.algorithms, name)(**steps, **more, batch_size=SIZE)
            made[name] = functools.partial(bx.minimize, sums.problem, own, record_every=50)
    return made


def test_a_run_goes_on_where_rows_are_drawn(drawn, sums):
    key = jax.random.key(3)
    for name, minimize in drawn.items():
        whole = minimize(*sums.start(), num_steps=150, key=key)
        first = minimize(*sums.start(), num_steps=70, key=key)
        rest = minimize(num_steps=80, state=first.state)
        assert states_equal(whole.state, rest.state), name
        assert whole.cost == rest.cost


def test_what_reduces_variance_converges_and_what_does_not_stalls(drawn, sums):
    """Constant steps, 12,000 of them: the relative gap of the value function."""

    def gap(name):
        solution = drawn[name](*sums.start(), num_steps=12_000, key=jax.random.key(1))
        return sums.gap(solution.x) / sums.gap(sums.x0)

    assert gap("saba") < 1e-12
    assert gap("srba") < 1e-12
    assert 1e-6 < gap("soba") < 1e-1


def test_divergence_is_told_at_its_step(sums):
    """Though it is looked for now and then only: as where it is looked for at every step."""
    own = bx.algorithms.soba(
        outer_step_size=0.1, inner_step_size=1e9, adjoint_step_size=0.1, **ROWS
    )
    with pytest.warns(UserWarning):
        now_and_then = bx.minimize(sums.problem, own, *sums.start(), num_steps=200)
        always = bx.minimize(sums.problem, own, *sums.start(), num_steps=200, tol=0.0)
    assert now_and_then.result == bx.Result.inner_nonfinite
    assert always.result == bx.Result.inner_nonfinite
    assert 10 < now_and_then.state.loop.step < 60
    assert states_equal(now_and_then.state.loop.x, always.state.loop.x)
    assert np.isfinite(now_and_then.x).all() and np.isfinite(now_and_then.y).all()
    assert now_and_then.history["step"][-1] == now_and_then.state.loop.step


def test_steps_that_are_left_out_suit_batches():
    """Rank-one rows: a batch of one is a hundred times less smooth than the mean."""
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.standard_normal((500, 100)))

    def inner(x, y, rows):
        return jnp.mean((rows @ (y - x)) ** 2) / 2 + 0.005 * (y @ y)

    problem = bx.BilevelProblem(lambda x, y: y @ y / 2, inner, inner_data=rows)
    batch_size = {"inner_batch_size": 1, "hvp_batch_size": 1}
    own = bx.algorithms.amigo_gd(outer_step_size=1e-3, **batch_size)
    start, key = (jnp.ones(100), jnp.zeros(100)), jax.random.key(0)
    solution = bx.minimize(problem, own, *start, num_steps=100, key=key, record_every=50)
    assert solution.result == bx.Result.successful
    assert jnp.linalg.norm(solution.y) < 20
    step, largest = float(solution.state.step_size), float(jnp.max(jnp.sum(rows**2, axis=1)))
    assert 0.5 / (1.1 * largest) < step < 1 / (1.5 * largest)
    cost = bx.initial_state(problem, own, *start, key=key).cost
    assert cost.rows.hvp == 3 * 15 * 500 + 2 * 8 * 15
    # A single-loop method takes the same step, and does not follow it.
    single = bx.algorithms.soba(outer_step_size=1e-3, inner_batch_size=1)
    state = bx.initial_state(problem, single, *start, key=key)
    np.testing.assert_allclose(state.step_size, step, rtol=0.2)
    assert state.loop.smoothness.direction is None


def test_one_random_term_of_given_lengths(sums):
    """hia_b: z = -eta b prod (I - eta H_i) f_y with p products, and p is what it costs."""
    lengths, b = [2, 0, 3], 4
    order = FED[0]
    linear = bx.Neumann(
        step_size=ETA,
        num_steps=b,
        batch_size=bx.Blocks(SIZE, order=order),
        randomized=True,
        lengths=lengths,
    )
    own = bx.Algorithm(bx.Implicit(bx.GradientDescent(ALPHA, 1), linear), GAMMA)
    solution = bx.minimize(sums.problem, own, *sums.start(), num_steps=6, metrics=observed)
    x, y, place = sums.x0, sums.y0, 0
    for k in range(6):
        y = y - ALPHA * sums.residual(x, y)
        z = -ETA * b * sums.outer_y(y)
        for _ in range(lengths[k % 3]):
            z = z - ETA * sums.product(z, block(order[place]))
            place += 1
        x = x - GAMMA * (sums.outer_x(x) + sums.cross(z))
        assert deviation(solution.history["z"][k], z) < 1e-10
        assert deviation(solution.history["x"][k], x) < 1e-10
    assert solution.cost.hvp == 10 and solution.cost.rows.hvp == 10 * SIZE


_STEP = bx.GradientDescent(0.1, 1)
REFUSED = {
    "momentum of zero": (lambda: bx.STORM(0.0), ValueError, "above 0 and at most 1"),
    "momentum above one": (lambda: bx.STORM(1.5), ValueError, "above 0 and at most 1"),
    "no period": (lambda: bx.SPIDER(0), ValueError, "period must be at least 1"),
    "half a period": (lambda: bx.SPIDER(2.5), TypeError, "round it"),
    "no rows to refresh": (
        lambda: bx.SPIDER(3, refresh_batch_size=0),
        ValueError,
        "refresh_batch_size must be at least 1",
    ),
    "a start": (lambda: bx.SAGA(start="half"), ValueError, "'full' or 'zero'"),
    "a table with random rows": (
        lambda: bx.Joint(_STEP, bx.SAGA(), 0.1, inner_batch_size=bx.RandomRows(3)),
        TypeError,
        "RandomRows draws others: pass an int or bx.Blocks",
    ),
    "a solver's table with random rows": (
        lambda: bx.SAG(0.1, 3, bx.RandomRows(3)),
        TypeError,
        "RandomRows draws others",
    ),
    "a table with a series": (
        lambda: bx.Joint(bx.Neumann(step_size=0.1), bx.SAGA(), 0.1),
        TypeError,
        "nested",
    ),
    "a solver without rows": (lambda: bx.SAG(0.1, 3, None), TypeError, "needs a batch_size"),
    "no reducer": (lambda: bx.ReducedDescent(0.1, 0.5, 3, 2), TypeError, "must be a reducer"),
    "two reducers": (
        lambda: bx.Joint(_STEP, (bx.Sample(), bx.Sample()), 0.1),
        TypeError,
        "triple",
    ),
    "an order": (
        lambda: bx.Joint(_STEP, bx.Sample(), 0.1, order="y first"),
        ValueError,
        "'in turn'",
    ),
    "an adjoint": (lambda: bx.Joint(bx.CG(3), bx.Sample(), 0.1), TypeError, "one plain step"),
    "two adjoint steps": (
        lambda: bx.Joint(_STEP, bx.Sample(), 0.1, 0.2),
        TypeError,
        "leave adjoint_step_size out",
    ),
    "a line search": (
        lambda: bx.ReducedDescent(optax.lbfgs(), bx.Sample(), 3, 2),
        TypeError,
        "asks for the value",
    ),
    "unrolled": (
        lambda: bx.Unrolled(bx.SVRG(0.1, 10, 2)),
        TypeError,
        "solver with a reducer",
    ),
    "a weight": (
        lambda: bx.algorithms.ma_soba(outer_step_size=0.1, weight=2.0),
        ValueError,
        "weight must be above 0",
    ),
    "lengths of a series": (
        lambda: bx.Neumann(step_size=0.1, lengths=[1]),
        TypeError,
        "randomized=True",
    ),
    "an order of batches": (lambda: bx.Blocks(2, order=[]), TypeError, "at least one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_when_it_is_made(name):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"inner_batch_size": 3}, "does not divide the 20 rows.*batch size of 2 or 4"),
        ({"inner_batch_size": 40}, "batch size of 20 or 20"),
        ({"inner_batch_size": bx.Blocks(4, order=[5])}, "there are batches 0 to 4"),
    ],
)
def test_blocks_that_the_rows_do_not_have(sums, sizes, message):
    own = bx.algorithms.saba(**THREE, **sizes)
    with pytest.raises(ValueError, match=message):
        bx.minimize(sums.problem, own, *sums.start(), key=jax.random.key(0))


def test_a_preset_without_the_data_that_it_draws():
    problem = bx.BilevelProblem(lambda x, y: y @ y, lambda x, y: (y - x) @ (y - x))
    for preset in (bx.algorithms.soba, bx.algorithms.saba, bx.algorithms.srba):
        with pytest.raises(ValueError, match="a level without data"):
            own = preset(**THREE, batch_size=4)
            bx.minimize(problem, own, jnp.ones(2), jnp.ones(2), key=jax.random.key(0))


def test_blocks_are_visited_once_an_epoch():
    data, sampler = jnp.arange(12.0), bx.Blocks(3)
    state, seen = sampler.init(data), []
    draw = jax.jit(lambda state, key: sampler.tickets(data, state, key, 3))
    for k in range(8):
        tickets, state = draw(state, jax.random.key(k))
        seen += np.asarray(tickets).tolist()
    epochs = np.array(seen)[: len(seen) // 4 * 4].reshape(-1, 4)
    assert (np.sort(epochs, axis=1) == np.arange(4)).all()
    assert len(np.unique(epochs, axis=0)) > 1
    batch = sampler.batch(data, jnp.int32(2))
    np.testing.assert_array_equal(batch.rows, [6, 7, 8])
    np.testing.assert_array_equal(batch.indices, [6, 7, 8])
    assert batch.slot == 2


def test_where_a_solution_is_needed_one_step_does_not_do():
    estimator = bx.Joint(_STEP, bx.Sample(), 0.1)
    with pytest.raises(TypeError, match="one step of y for each of x"):
        bx.minimum(lambda x, y: (y - x) ** 2, 0.0, gradient=estimator)
    problem = bx.MinProblem(lambda x, y: (y - x) ** 2)
    h = bx.hypergradient(problem, estimator, 1.0, 0.0)
    assert bx.error_bound(problem, estimator, 1.0, h).value == np.inf


@pytest.mark.parametrize("num", [1, 2, 5, 9, 16, 130])
def test_permutations_are_ones_and_look_random(num):
    seeds = jax.random.bits(jax.random.key(0), (6000, 1), jnp.uint32)
    found = np.asarray(jax.jit(permuted, static_argnums=2)(seeds, jnp.arange(num)[None], num))
    assert (np.sort(found, axis=1) == np.arange(num)).all()
    if num == 1:
        return
    # Each item at each place, and which of two neighbours comes first, equally often.
    items, places = np.arange(min(num, 16)), slice(0, 16)
    share = (found[:, places, None] == items).mean(axis=0) * num
    assert np.abs(share - 1).max() < 6 * (num / len(found)) ** 0.5
    ordered = np.argsort(found, axis=1)
    first = (ordered[:, :-1] < ordered[:, 1:]).mean(axis=0)
    assert np.abs(first - 0.5).max() < 6 * 0.5 / len(found) ** 0.5


def test_epochs_of_different_seeds_and_numbers_differ():
    data, sampler = jnp.arange(50.0), bx.Epochs(10)
    drawn = jax.jit(
        lambda seed: sampler.tickets(data, sampler.init(data), jax.random.key(seed), 10)[0]
    )
    first, second = np.asarray(drawn(0)), np.asarray(drawn(1))
    assert (first != second).mean() > 0.9
    assert (first[:5] != first[5:]).mean() > 0.9
    assert (np.sort(first[5:].ravel()) == np.arange(50)).all()
