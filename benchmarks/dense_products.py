"""Products with the Hessian of logistic regressions on 60,000 x 784 numbers, float32.

Linearised once, as in a conjugate gradient solve, and multiplied ten times; against
as many products `X @ v` of the same v, the weights of one or of ten classes.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx
from bilevax._rows.batch import full

ROWS, FEATURES, REPEATS = 60_000, 784, 10


@jax.jit
def bare(X, v):
    return jax.lax.fori_loop(0, REPEATS, lambda _, v: v + 1e-9 * jnp.sum(X @ v), v)


def products(block_size):
    @eqx.filter_jit
    def run(problem, x, y):
        hvp = problem.linearize(x, y, full(problem.inner_data, block_size)).hvp

        def step(_, v):
            product = hvp(v)
            return product / jnp.linalg.norm(product)

        return jax.lax.fori_loop(0, REPEATS, step, y)

    return run


def compare(classes: int, make, limit: float | None) -> list[Row]:
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.standard_normal((ROWS, FEATURES), dtype=np.float32))
    labels = rng.integers(0, classes, ROWS)
    task = make((X, labels), (X[:10], labels[:10]))
    x, y = task.x0, task.y0 + 0.01
    runs = {"auto": "auto", "all rows at once": None, "1000 in turn": 1000}
    jobs = {name: partial(products(size), task.problem, x, y) for name, size in runs.items()}
    seconds = interleaved({"bare": partial(bare, X, y), **jobs}, 7)
    return [
        Row(
            f"logistic HVP, {classes} classes",
            f"blocks: {name}",
            "bare X @ v",
            seconds[name] / REPEATS,
            seconds[name] / seconds["bare"],
            limit if name == "auto" else None,
        )
        for name in runs
    ]


def measure() -> list[Row]:
    binary = compare(2, bx.problems.penalised_binary_logistic, 2.5)
    return binary + compare(10, bx.problems.penalised_logistic, None)
