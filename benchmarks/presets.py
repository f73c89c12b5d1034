"""Every preset's outer step against a bare scan of the products that it contains.

The bare scan makes as many gradients, Hessian products, cross products and outer gradients as
the preset counts, on given rows, and nothing else: on the dense quadratic of 2,000 x 1,000,
which has no rows, and on logistic regression with 20,032 rows of 100 numbers, in batches of 64.
It is what one would write in JAX, for any loss: gradients are `jax.grad` of it, products with
the Hessian `jax.jvp` of these, cross products `jax.vjp`. Where a preset reads one batch for
several products, or makes them at one point, so does the scan, and nothing that they share is
computed twice. What a single-loop method reads stands in `turns`. `ba` is left out: a dense
solve is no scan of products.

A step is the difference between two runs of one compiled program, divided by the steps that
one has more: what a call of `bx.minimize` takes by itself, some 8 ms for its checks and its
first chunks, is not part of a step. Both come after a scan: a run that follows another program
is slower for some ten milliseconds, while XLA's threads take turns on the core. On batches the
runs are long enough for that not to count. A ratio is the median over rounds, in each of which
all runs are made within a second.

Process CPU time; run it on one core and one thread:

    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" \
        taskset -c 0 python benchmarks/run.py --only presets
"""

import functools
import inspect
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, in_turn

import bilevax as bx
from bilevax.algorithms._facts import FACTS
from bilevax.hypergradients import Joint

T, N, P, SIZE = 10, 10, 4, 64
# What stands in the formulas of the table of presets; growing T and drawn p are fixed.
LETTERS = {"T": T, "N": N, "p": P, "T_k": T, "L": 5, "Q": 10}
TABLES = ("saba", "srba", "mrbo", "vrbo", "sustain", "fsla", "amigo_sag")


class Setting(NamedTuple):
    """A problem, its numbers, and its four products on some rows, of (x, y, z)."""

    problem: object
    x: jax.Array
    y: jax.Array
    num_rows: int | None
    steps: int
    gradient: object
    hvp: object
    cross: object
    outer: object


@functools.cache
def quadratic(steps: int) -> Setting:
    q = bx.problems.quadratic(inner_condition=10.0, dtype=jnp.float32)
    A_f, A_g, B, C = q.A_f, q.A_g, q.B_g, q.C_f
    return Setting(
        q.problem,
        jnp.zeros(2000),
        jnp.zeros(1000),
        None,
        steps,
        lambda x, y, z, rows: A_g @ y + B @ x,
        lambda x, y, z, rows: A_g @ z,
        lambda x, y, z, rows: z @ B,
        lambda x, y, z, rows: (A_f @ x, C),
    )


def logistic(steps: int, num=20_032, d=100) -> Setting:
    rng = np.random.default_rng(0)
    A, V = (jnp.asarray(rng.standard_normal((num, d)), jnp.float32) for _ in range(2))
    labels = [jnp.asarray(rng.choice([-1, 1], num), jnp.float32) for _ in range(2)]

    def loss(y, rows):
        a, b = rows
        return jnp.mean(jax.nn.softplus(-b * (a @ y)))

    inner = lambda x, y, rows: loss(y, rows) + jnp.mean(jnp.exp(x) * y**2) / 2
    problem = bx.BilevelProblem(
        lambda x, y, rows: loss(y, rows),
        inner,
        inner_data=(A, labels[0]),
        outer_data=(V, labels[1]),
    )

    def some(data, rows):
        return data if rows is None else tuple(read(leaf, rows) for leaf in data)

    def slope(x, y, rows):
        return jax.grad(inner, argnums=1)(x, y, some((A, labels[0]), rows))

    def gradient(x, y, z, rows):
        return slope(x, y, rows)

    def hvp(x, y, z, rows):
        return jax.jvp(lambda y: slope(x, y, rows), (y,), (z,))[1]

    def cross(x, y, z, rows):
        return jax.vjp(lambda x: slope(x, y, rows), x)[1](z)[0]

    def outer(x, y, z, rows):
        return jnp.zeros_like(x), jax.grad(loss)(y, some((V, labels[1]), rows))

    zero = jnp.zeros(d, jnp.float32)
    return Setting(problem, zero, zero, num, steps, gradient, hvp, cross, outer)


def read(leaf, rows):
    """Rows by their numbers, or a block of them by its own."""
    if rows.ndim:
        return leaf[rows]
    return jax.lax.dynamic_slice_in_dim(leaf, rows * SIZE, SIZE)


def bare(setting: Setting, name: str, counts: tuple[int, ...], algorithm):
    """A program of a scan over steps of so many products, each moving what it is of."""
    if isinstance(algorithm.hypergradient, Joint):
        step, batches = single_loop_step(setting, turns(name, counts))
    else:
        linear = getattr(algorithm.hypergradient, "linear", None)
        one = getattr(linear, "one_batch_per_solve", False)
        step, batches = two_stage_step(setting, counts, one)
    rows = None
    if setting.num_rows is not None and draws(name):
        rng = np.random.default_rng(1)
        shape = setting.steps, batches, SIZE
        if name == "saba":  # which reads blocks
            shape = setting.steps, batches
        num = setting.num_rows if len(shape) == 3 else setting.num_rows // SIZE
        rows = jnp.asarray(rng.integers(0, num, shape), jnp.int32)
    w = setting.x, setting.y, setting.y
    start = (w, w) if isinstance(algorithm.hypergradient, Joint) else w
    run = jax.jit(lambda rows: jax.lax.scan(step, start, rows, length=setting.steps)[0])
    return functools.partial(run, rows)


def move(u, d):
    return u - 1e-4 * d


def two_stage_step(setting: Setting, counts: tuple[int, ...], one: bool):
    """Products on a batch each; with `one`, the Hessian products on one batch together."""
    num_g, num_h, num_j, num_f = counts
    place = (lambda i: num_g) if one else (lambda i: num_g + i)

    def step(w, rows):
        x, y, z = w
        some = lambda i: None if rows is None else rows[i]
        y = jax.lax.fori_loop(
            0, num_g, lambda i, y: move(y, setting.gradient(x, y, z, some(i))), y
        )
        z = jax.lax.fori_loop(
            0, num_h, lambda i, z: move(z, setting.hvp(x, y, z, some(place(i)))), z
        )
        for i in range(num_j):
            x = move(x, setting.cross(x, y, z, some(num_g + num_h + i)))
            z = 0.999 * z  # so that no two of them are one
        for i in range(num_f):
            f_x, f_y = setting.outer(x, y, z, some(num_g + num_h + num_j + i))
            x, z = move(x, f_x), move(z, f_y)
        return (x, y, z), None

    return step, sum(counts)


class Turn(NamedTuple):
    """So many products at one point on one batch; 2 `points` where the last one counts too."""

    gradients: int
    products: int
    crosses: int
    outers: int
    points: int


def turns(name: str, counts: tuple[int, ...]) -> list[Turn]:
    """What an outer step of a single-loop method evaluates, a batch after the other."""
    if name == "fsla":
        return [Turn(1, 0, 0, 0, 1), Turn(0, 1, 0, 1, 1), Turn(0, 0, 1, 1, 2)]
    batches = T + 1 if name == "vrbo" else 1
    points = counts[0] // batches
    return [Turn(*(count // (batches * points) for count in counts), points)] * batches


def single_loop_step(setting: Setting, turns: list[Turn]):
    """All products of a turn at the same point, and for a difference at the last one too."""

    def directions(turn: Turn, w, rows):
        x, y, z = w
        d_x, d_y, d_z = (jnp.zeros_like(u) for u in w)
        if turn.gradients:
            d_y = setting.gradient(x, y, z, rows)
        if turn.outers:
            d_x, d_z = setting.outer(x, y, z, rows)
        product = lambda _, z: move(z, setting.hvp(x, y, z, rows))
        if turn.products:
            d_z = d_z + jax.lax.fori_loop(0, turn.products, product, z)
        if turn.crosses:
            d_x = d_x + setting.cross(x, y, z, rows)
        return d_x, d_y, d_z

    def taken(turn: Turn, carry, rows):
        w, last = carry
        d = directions(turn, w, rows)
        if turn.points == 2:
            d = jax.tree.map(jnp.subtract, d, directions(turn, last, rows))
        return jax.tree.map(move, w, d), w

    def step(carry, rows):
        some = lambda i: None if rows is None else rows[i]
        if len(turns) > 1 and len(set(turns)) == 1:
            # As a loop: where there are no rows, XLA would see in turns that follow each other
            # that two share a point, and make its products once. The preset makes them twice.
            one = lambda i, carry: taken(turns[0], carry, some(i))
            return jax.lax.fori_loop(0, len(turns), one, carry), None
        for i, turn in enumerate(turns):
            carry = taken(turn, carry, some(i))
        return carry, None

    return step, len(turns)


def preset(name: str, setting: Setting):
    """The preset with T and N steps, small ones, and batches where there are rows."""
    make = getattr(bx.algorithms, name)
    accepted = inspect.signature(make).parameters
    options = {"outer_step_size": 1e-4, **dict(FACTS[name].example)}
    wanted = {
        "inner_step_size": 1e-4,
        "adjoint_step_size": 1e-4,
        "penalised_step_size": 1e-4,
        "inner_steps": T,
        "adjoint_steps": N,
        "lengths": [P],
        "period": 10**6,
        "batch_sizes": None,
    }
    for option, value in wanted.items():
        if option not in accepted:
            continue
        if option == "batch_sizes":
            size = None if setting.num_rows is None else SIZE
            options["batch_size"] = size
            if "outer_batch_size" in accepted:  # which is apart, and all rows by default
                options["outer_batch_size"] = size
        else:
            options[option] = value
    if name == "amigo_sag":
        options["inner_batch_size"] = SIZE
    return make(**options)


class Ours:
    """Runs of one program that go on from where it was compiled."""

    def __init__(self, setting: Setting, algorithm):
        self.run = lambda num, **start: bx.minimize(
            setting.problem, algorithm, num_steps=num, record_every=10**6, **start
        )
        start = {"x0": setting.x, "y0": setting.y, "key": jax.random.key(0)}
        self.state = self.run(1, **start).state

    def __call__(self, num: int):
        return self.run(num, state=self.state).x


def measure_one(name: str, setting: Setting, label: str, rounds: int) -> Row:
    algorithm = preset(name, setting)
    letters = LETTERS | {"m": setting.y.size}
    counts = tuple(eval(formula, {}, letters) for formula in FACTS[name].calls)
    ours, few = Ours(setting, algorithm), setting.steps // 4
    scan = bare(setting, name, counts, algorithm)
    jobs = {
        "few": lambda: ours(few),
        "bare": scan,
        "many": lambda: ours(few + setting.steps),
        "bare again": scan,
    }
    spent = in_turn(jobs, rounds, clock=time.process_time)
    limit = 1.8 if name in TABLES else 1.6
    more = spent["many"] - spent["few"]
    seconds = float(np.median(more)) / setting.steps
    ratio = float(np.median(2 * more / (spent["bare"] + spent["bare again"])))
    return Row(f"presets, {label}", name, "bare scan", seconds, ratio, limit)


def draws(name: str) -> bool:
    """Whether a preset takes batch sizes."""
    return "batch_sizes" in inspect.signature(getattr(bx.algorithms, name)).parameters


def measure(steps=(16, 2000), rounds=(9, 15)) -> list[Row]:
    """All presets, over so many outer steps; of those on all rows, the fewer."""
    few, many = steps
    on_batches, on_all = logistic(many), logistic(few)
    rows = []
    for name in FACTS:
        if name == "ba":
            continue
        if name not in ("amigo_sag", "saba"):  # whose tables need rows
            rows.append(measure_one(name, quadratic(few), "quadratic", rounds[0]))
        if draws(name):
            rows.append(measure_one(name, on_batches, "logistic", rounds[1]))
        else:
            rows.append(measure_one(name, on_all, "logistic", rounds[0]))
    return rows
