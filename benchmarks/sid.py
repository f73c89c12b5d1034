"""SID against a bare scan of the same products with its rows given.

3,000 steps of y and 3,000 of z on batches of 50 of 5,000 x 784 numbers, float32: a logistic
regression with a ridge. The bare scans gather the same rows and make the same products: two a
step of y, three a step of z, one of which is for the curvature at the frozen y.

Process CPU time on one core and one thread:

    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" \
        taskset -c 0 python benchmarks/run.py --only sid
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx
from bilevax._core.numbers import always

ROWS, FEATURES, SIZE, STEPS, REPEATS = 5000, 784, 50, 3000, 7
ALPHA, LAMBDA, LAMBDAS, RUNS = 0.1, 0.1, 4, 5


def inner(x, y, rows):
    return outer(x, y, rows) + x * jnp.sum(y**2) / 2


def outer(x, y, rows):
    del x
    features, labels = rows
    return jnp.mean(jax.nn.softplus(-labels * (features @ y)))


def data(seed):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((ROWS, FEATURES)) / 10
    return jnp.asarray(features, jnp.float32), jnp.asarray(
        rng.choice([-1, 1], ROWS), jnp.float32
    )


def problem():
    return bx.BilevelProblem(
        outer, inner, outer_data=data(0), inner_data=data(1)
    ).as_fixed_point(ALPHA)


def estimator(num_steps=STEPS, batch_size=SIZE):
    return bx.algorithms.sid(
        outer_step_size=1.0,
        inner_step_size=1.0,
        inner_steps=num_steps,
        adjoint_steps=num_steps,
        batch_size=batch_size,
        cross_batch_size=None,
    ).hypergradient


@jax.jit
def bare(train, valid, inner_rows, adjoint_rows, x):
    """The products of both loops on given rows."""
    (X, b), (V, c) = train, valid

    def of_y(y, rows):
        A, s = X[rows], b[rows]
        slope = -s * jax.nn.sigmoid(-s * (A @ y))
        return y - ALPHA * (slope @ A / SIZE + x * y), None

    y = jax.lax.scan(of_y, jnp.zeros(FEATURES, jnp.float32), inner_rows)[0]
    f_y = (-c * jax.nn.sigmoid(-c * (V @ y))) @ V / ROWS

    def of_z(z, rows):
        A = X[rows]
        p = jax.nn.sigmoid(A @ y)
        return z - ALPHA * ((p * (1 - p) * (A @ z)) @ A / SIZE + x * z) - f_y, None

    z = jax.lax.scan(of_z, jnp.zeros(FEATURES, jnp.float32), adjoint_rows)[0]
    return ALPHA * y @ z


@eqx.filter_jit
def gradient(p, e, x, key):
    return bx.hypergradient(p, e, x, jnp.zeros(FEATURES, jnp.float32), key=key).gradient


@eqx.filter_jit
def together(p, e, xs, keys):
    """All penalties side by side on the same rows, the runs one after another."""
    one = lambda x, key: gradient(p, e, x, key)
    return jax.lax.map(lambda key: jax.vmap(lambda x: one(x, key))(xs), keys)


def measure() -> list[Row]:
    p, key, rng = problem(), jax.random.key(0), np.random.default_rng(2)
    rows = [jnp.asarray(rng.integers(0, ROWS, (STEPS, SIZE)), jnp.int32) for _ in range(2)]
    x, changing = jnp.float32(LAMBDA), always(jnp.int32(STEPS))
    xs = jnp.asarray([0.01, 0.03, 0.1, 0.3], jnp.float32)
    keys = jax.random.split(key, RUNS)
    lone = estimator()
    jobs = {
        "bare": lambda: bare(p.inner_data, p.outer_data, *rows, x),
        "fixed count": lambda: gradient(p, lone, x, key),
        "epochs": lambda: gradient(p, estimator(batch_size=bx.Epochs(SIZE)), x, key),
        "count of k": lambda: gradient(p, estimator(changing), x, key),
        "together": lambda: together(p, lone, xs, keys),
    }
    seconds = interleaved(jobs, REPEATS, clock=time.process_time)
    limits = {"fixed count": 1.2, "epochs": 1.3, "count of k": None}
    found = [
        Row("sid", name, "bare", seconds[name], seconds[name] / seconds["bare"], limit)
        for name, limit in limits.items()
    ]
    each = seconds["together"] / (LAMBDAS * RUNS)
    share = each / seconds["fixed count"]
    title = f"each of {LAMBDAS} penalties x {RUNS} runs"
    return [*found, Row("sid", title, "a lone run", each, share, 0.7)]
