"""Rows in a file, read by the system before, against the same rows in memory.

Inner gradients and Hessian-vector products of logistic regressions on all of 60,000 x 784
numbers in float32, and inner steps on random rows. What is read lies in the system's
cache of files: these ratios are what reading costs beside the work, not what a disk does.
Times are the processor's.
"""

import pathlib
import tempfile
import time
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx
from bilevax._rows.batch import full
from bilevax.problems._losses import scores

ROWS, FEATURES, REPEATS, STEPS = 60_000, 784, 5, 100
LIMIT = 1.5


@eqx.filter_jit
def gradients(problem, x, y):
    batch = full(problem.inner_data, "auto")
    step = lambda _, y: y - 0.1 * problem.residual(x, y, batch)
    return jax.lax.fori_loop(0, REPEATS, step, y)


@eqx.filter_jit
def products(problem, x, y):
    hvp = problem.linearize(x, y, full(problem.inner_data, "auto")).hvp
    return jax.lax.fori_loop(0, REPEATS, lambda _, v: v - 0.1 * hvp(v), y)


def drawn(size: int):
    """Steps on so many random rows each."""

    @eqx.filter_jit
    def run(problem, x, y):
        sampler, data = bx.RandomRows(size), problem.inner_data
        stream, _ = sampler.stream(data, (), jax.random.key(0), STEPS)
        step = lambda i, y: y - 0.1 * problem.residual(x, y, stream(i, ())[0])
        return jax.lax.fori_loop(0, STEPS, step, y)

    return run


def problem_of(features, labels, classes: int):
    loss = bx.problems.log_loss if classes == 2 else bx.problems.cross_entropy

    def inner(x, y, data):
        logits = scores(data[0], y)
        return loss(logits, data[1]) + jnp.exp(x) * jnp.sum(y**2) / 2

    return bx.MinProblem(inner, (features, labels))


def compare(path: pathlib.Path, features, classes: int) -> list[Row]:
    labels = np.random.default_rng(1).integers(0, classes, ROWS)
    here = problem_of(jnp.asarray(features), labels, classes)
    there = problem_of(bx.RowsOnDisk(path), labels, classes)
    y = jnp.full((FEATURES,) if classes == 2 else (FEATURES, classes), 0.01)
    jobs = {"all rows, gradient": (gradients, REPEATS), "all rows, HVP": (products, REPEATS)}
    jobs |= {f"{size} random rows": (drawn(size), STEPS) for size in (64, 512)}
    rows = []
    for name, (job, calls) in jobs.items():
        sides = {"memory": partial(job, here, 0.0, y), "disk": partial(job, there, 0.0, y)}
        np.testing.assert_allclose(sides["disk"](), sides["memory"](), rtol=1e-3, atol=1e-5)
        seconds = interleaved(sides, 7, compiled=True, clock=time.process_time)
        ratio, limit = seconds["disk"] / seconds["memory"], LIMIT if "all" in name else None
        title = f"rows on disk, {classes} classes"
        rows.append(Row(title, name, "rows in memory", seconds["disk"] / calls, ratio, limit))
    return rows


def measure() -> list[Row]:
    features = np.random.default_rng(0).standard_normal((ROWS, FEATURES), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "rows.npy"
        np.save(path, features)
        return compare(path, features, 2) + compare(path, features, 10)
