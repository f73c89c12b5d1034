"""Single-loop steps against a bare scan of the same products with given rows.

A rank-one quadratic, d = 100, batches of 64 rows, float32: the bare scan gathers the same
rows and makes the same products, and nothing else. A table's step must not depend on how
many slots the table has.

Process CPU time, since a step takes microseconds; run it on one core and one thread:

    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" \
        taskset -c 0 python benchmarks/run.py --only single_loop
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx
from bilevax._run.loop import chunk

D, ROWS, SIZE, RHO, PERIOD = 100, 6400, 64, 0.1, 100
# Products of a series, and steps of y for one of x.
Q, T = 10, 3
STEPS, REPEATS = 20_000, 7
ALPHA = 1e-3


def data(rows=ROWS, d=D):
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
    return (normal(rows, d), normal(rows, d)), (normal(rows, d), normal(rows))


def inner(x, y, rows):
    a, b = rows
    return jnp.mean((a @ y - b @ x) ** 2) / 2


def outer(x, y, rows):
    c, d = rows
    return jnp.mean((c @ y - d) ** 2) / 2 + RHO * (x @ x) / 2


def problem(rows=ROWS, d=D):
    inner_data, outer_data = data(rows, d)
    return bx.BilevelProblem(outer, inner, inner_data=inner_data, outer_data=outer_data)


@jax.jit
def bare(inner_data, outer_data, inner_rows, outer_rows, start):
    """The products of SOBA's step on given rows."""
    (A, B), (C, target) = inner_data, outer_data

    def step(carry, rows):
        x, y, z = carry
        a, b, c, t = A[rows[0]], B[rows[0]], C[rows[1]], target[rows[1]]
        image = a @ z
        direction_y = (a @ y - b @ x) @ a / SIZE
        direction_z = image @ a / SIZE + (c @ y - t) @ c / SIZE
        direction_x = RHO * x - image @ b / SIZE
        moved = (x - ALPHA * direction_x, y - ALPHA * direction_y, z - ALPHA * direction_z)
        return moved, None

    return jax.lax.scan(step, start, (inner_rows, outer_rows))[0]


@jax.jit
def bare_recursive(inner_data, outer_data, inner_rows, outer_rows, start):
    """The products of SRBA: the same rows at this point and at the last, or all of them."""
    (A, B), (C, target) = inner_data, outer_data

    def directions(w, a, b, c, t):
        (x, y, z), size = w, len(a)
        image = a @ z
        direction_y = (a @ y - b @ x) @ a / size
        direction_z = image @ a / size + (c @ y - t) @ c / size
        return RHO * x - image @ b / size, direction_y, direction_z

    move = lambda w, d: jax.tree.map(lambda w, d: w - ALPHA * d, w, d)

    def step(carry, rows):
        w, last, d = carry
        batch = A[rows[0]], B[rows[0]], C[rows[1]], target[rows[1]]
        new, old = directions(w, *batch), directions(last, *batch)
        d = jax.tree.map(lambda d, n, o: d + n - o, d, new, old)
        return (move(w, d), w, d), None

    def epoch(w, rows):
        d = directions(w, A, B, C, target)
        rows = jax.tree.map(lambda rows: rows[1:], rows)
        return jax.lax.scan(step, (move(w, d), w, d), rows)[0][0], None

    split = lambda rows: rows.reshape(-1, PERIOD, SIZE)
    return jax.lax.scan(epoch, start, (split(inner_rows), split(outer_rows)))[0]


def series_directions(w, a, b, c, t):
    """Of y, and of x with a Neumann series of Q products."""
    (x, y), size = w, len(a)
    term = (c @ y - t) @ c / size

    def add(carry, _):
        term, total = carry
        term = term - ALPHA * ((a @ term) @ a / size)
        return (term, total + term), None

    z = -ALPHA * jax.lax.scan(add, (term, term), None, length=Q)[0][1]
    return RHO * x - (a @ z) @ b / size, (a @ y - b @ x) @ a / size


def corrected(d, w, last, batch, keep):
    """(d - D(last)) times `keep`, plus D(w), on one batch."""
    new, old = series_directions(w, *batch), series_directions(last, *batch)
    return jax.tree.map(lambda d, n, o: n + keep * (d - o), d, new, old)


@jax.jit
def bare_momentum(inner_data, outer_data, inner_rows, outer_rows, start):
    """The products of MRBO: the same rows at this point and at the last."""
    (A, B), (C, target) = inner_data, outer_data

    def step(carry, rows):
        w, last, d = carry
        d = corrected(d, w, last, (A[rows[0]], B[rows[0]], C[rows[1]], target[rows[1]]), 0.9)
        return (jax.tree.map(lambda w, d: w - ALPHA * d, w, d), w, d), None

    x, y, z = start
    start = (x, y), (x, y), (z, z)
    return jax.lax.scan(step, start, (inner_rows, outer_rows))[0][0]


@jax.jit
def bare_refreshed(inner_data, outer_data, inner_rows, outer_rows, start):
    """The products of VRBO: T + 1 corrections a step of x, all rows every `PERIOD` steps."""
    (A, B), (C, target) = inner_data, outer_data

    def correct(carry, rows):
        (x, y), last, d = carry
        d = corrected(d, (x, y), last, (A[rows[0]], B[rows[0]], C[rows[1]], target[rows[1]]), 1)
        return ((x, y - ALPHA * d[1]), (x, y), d), None

    def step(carry, rows):
        (x, y), last, d = carry
        return jax.lax.scan(correct, ((x - ALPHA * d[0], y), last, d), rows)[0], None

    def epoch(w, rows):
        d = series_directions(w, A, B, C, target)
        return jax.lax.scan(step, (w, w, d), rows)[0][0], None

    split = lambda rows: rows.reshape(-1, PERIOD, T + 1, SIZE)
    return jax.lax.scan(epoch, start[:2], (split(inner_rows), split(outer_rows)))[0]


class Ours:
    """A preset's run, which goes on from where it was compiled."""

    def __init__(self, problem, algorithm, d=D, steps=STEPS):
        self.run = lambda **start: bx.minimize(
            problem, algorithm, num_steps=steps, record_every=10_000, **start
        )
        start = {"x0": jnp.zeros(d), "y0": jnp.zeros(d), "key": jax.random.key(0)}
        self.state = self.run(**start).state

    def __call__(self):
        return self.run(state=self.state).x


def microseconds(jobs, steps=STEPS, repeats=REPEATS):
    """Median CPU time a step of each job, run in turn."""
    seconds = interleaved(jobs, repeats, clock=time.process_time)
    return {name: 1e6 * spent / steps for name, spent in seconds.items()}


def measure() -> list[Row]:
    p, rng = problem(), np.random.default_rng(1)
    start = tuple(jnp.zeros(D) for _ in range(3))
    given = [jnp.asarray(rng.integers(0, ROWS, (STEPS, SIZE)), jnp.int32) for _ in range(2)]
    steps = dict.fromkeys(("inner_step_size", "adjoint_step_size", "outer_step_size"), ALPHA)
    make = {
        "SOBA": (bx.algorithms.soba, {}, "bare", 1.6),
        "SABA": (bx.algorithms.saba, {}, "bare", 1.8),
        "SRBA": (bx.algorithms.srba, {"period": PERIOD}, "bare recursive", 1.8),
    }
    jobs = {
        name: Ours(p, preset(**steps, batch_size=SIZE, **more))
        for name, (preset, more, *_) in make.items()
    }
    jobs["bare"] = lambda: bare(p.inner_data, p.outer_data, *given, start)
    jobs["bare recursive"] = lambda: bare_recursive(p.inner_data, p.outer_data, *given, start)
    spent = microseconds(jobs)
    rows = [
        Row("single loop", f"{name} step", against, spent[name] / 1e6, ratio, limit)
        for name, (_, _, against, limit) in make.items()
        for ratio in [spent[name] / spent[against]]
    ]
    return [*rows, *series(), *table_sizes(1), *table_sizes(16), *simulated()]


def series() -> list[Row]:
    """MRBO and VRBO, whose directions take a series, against the same products."""
    p, rng, num = problem(), np.random.default_rng(2), 2_000
    steps = dict.fromkeys(("inner_step_size", "adjoint_step_size", "outer_step_size"), ALPHA)
    steps |= {"adjoint_steps": Q, "batch_size": SIZE}
    given = lambda each: [
        jnp.asarray(rng.integers(0, ROWS, (num * each, SIZE)), jnp.int32) for _ in range(2)
    ]
    start, once, often = tuple(jnp.zeros(D) for _ in range(3)), given(1), given(T + 1)
    momenta = {"inner_momentum": 0.1, "outer_momentum": 0.1}
    vrbo = bx.algorithms.vrbo(**steps, inner_steps=T, period=PERIOD)
    spent = microseconds(
        {
            "MRBO": Ours(p, bx.algorithms.mrbo(**steps, **momenta), steps=num),
            "VRBO": Ours(p, vrbo, steps=num),
            "bare MRBO": lambda: bare_momentum(p.inner_data, p.outer_data, *once, start),
            "bare VRBO": lambda: bare_refreshed(p.inner_data, p.outer_data, *often, start),
        },
        num,
    )
    return [
        Row("single loop", f"{name} step", against, spent[name] / 1e6, ratio, 1.8)
        for name in ("MRBO", "VRBO")
        for against in [f"bare {name}"]
        for ratio in [spent[name] / spent[against]]
    ]


def table_sizes(size: int) -> list[Row]:
    """SABA's step with many slots against few, on batches of so many rows.

    10,000 steps in one chunk.

    A chunk copies its input once, the tables too, so that a failed one can be taken again.
    """
    steps = dict.fromkeys(("inner_step_size", "adjoint_step_size", "outer_step_size"), 1e-5)
    algorithm, num = bx.algorithms.saba(**steps, batch_size=size, start="zero"), 10_000

    def job(slots: int):
        p = problem(slots * size)
        start = jnp.zeros(D), jnp.zeros(D)
        loop = bx.initial_state(p, algorithm, *start, key=jax.random.key(0)).loop
        numbers = np.asarray([num, 1, num, algorithm.hypergradient.ahead], np.int32)
        fixed = p, algorithm, None, np.asarray(-np.inf), numbers[0], loop
        return lambda: chunk(*fixed, *numbers[1:])

    jobs = {str(slots): job(slots) for slots in (1_000, num)}
    spent = microseconds(jobs, num)
    many = spent["10000"]
    name, title = "single loop", f"SABA step, 10,000 slots, batch {size}"
    return [Row(name, title, "1,000 slots", many / 1e6, many / spent["1000"], 1.5)]


def rank_one_terms(rng, num: int, d: int, smallest: float, cross: float, flat: bool):
    """Factors of samples (a'y)^2/2 + (b'x)^2/2 + (u'x)(v'y) + c'y + e'x.

    The mean of a a' has a spectrum from `smallest` to 1, spread evenly in the logarithm; so
    has that of b b', but for a zero where `flat`; the mean of u v' one up to `cross`.
    """

    def rows(roots):
        basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
        return rng.standard_normal((num, d)) @ (basis * roots) @ basis.T

    roots = np.logspace(np.log10(smallest) / 2, 0, d)
    a, b = rows(roots), rows(np.r_[0, roots[1:]] if flat else roots)
    left, right = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
    common = rng.standard_normal((num, d))
    u = common * np.logspace(np.log10(smallest), np.log10(cross), d) @ left.T
    c, e = rng.standard_normal((2, num, d))
    return [jnp.asarray(m, jnp.float32) for m in (a, b, u, common @ right.T, c, e)]


def quadratic_mean(x, y, rows):
    a, b, u, v, c, e = rows
    squares = (a @ y) ** 2 / 2 + (b @ x) ** 2 / 2 + (u @ x) * (v @ y)
    return jnp.mean(squares + c @ y + e @ x)


def simulated() -> list[Row]:
    """The simulated quadratic of benchopt's benchmark of bilevel methods, from its description.

    1,024 rank-one samples a level, 100 numbers in x and y, inner spectrum from 0.1 to 1,
    cross terms up to 0.1, batches of 64. Steps a CPU second, reported.
    """
    rng = np.random.default_rng(2442)
    data = [rank_one_terms(rng, 1024, D, 0.1, 0.1, flat=True) for _ in range(2)]
    p = bx.BilevelProblem(
        quadratic_mean, quadratic_mean, inner_data=data[0], outer_data=data[1]
    )
    steps = dict.fromkeys(("inner_step_size", "adjoint_step_size", "outer_step_size"), ALPHA)
    presets = {"SOBA": bx.algorithms.soba, "SABA": bx.algorithms.saba}
    jobs = {name: Ours(p, make(**steps, batch_size=SIZE)) for name, make in presets.items()}
    spent = microseconds(jobs)
    return [
        Row(
            "simulated quadratic",
            f"{name}, thousand steps a CPU second",
            "",
            us / 1e6,
            1e3 / us,
        )
        for name, us in spent.items()
    ]
