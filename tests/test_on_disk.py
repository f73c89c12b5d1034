"""Rows on disk: the same numbers as in memory, and memory for blocks only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import bilevax as bx

KEY = jax.random.key(3)
NUM, SIZE = 64, 5
DESCENT, CG = bx.GradientDescent(0.1, 3), bx.CG(3)
# Blocks that leave a rest, and a batch for each draw.
WALKED = bx.FullBatch(24)
TABLE = {
    "all rows, implicit": bx.Implicit(DESCENT, CG),
    "in blocks, implicit": bx.Implicit(
        bx.GradientDescent(0.1, 3, batch_size=WALKED),
        bx.CG(3, batch_size=WALKED),
        outer_batch_size=WALKED,
        cross_batch_size=WALKED,
    ),
    "random rows, implicit": bx.Implicit(
        bx.SGD(0.1, 3, 8), bx.Neumann(step_size=0.1, num_steps=3, batch_size=8)
    ),
    "epochs, unrolled": bx.Unrolled(bx.SGD(0.1, 3, bx.Epochs(8))),
    "blocks, table": bx.Implicit(bx.SAG(0.1, 3, bx.Blocks(8)), CG),
    "all rows, unrolled": bx.Unrolled(DESCENT),
    "all rows, analytic": bx.Analytic(DESCENT),
}


def rows(num=NUM):
    rng = np.random.default_rng(num)
    features = rng.standard_normal((num, SIZE))
    return features, features.sum(1) + rng.standard_normal(num)


def loss(x, y, data):
    return jnp.mean(jnp.logaddexp(0, data[0] @ y) - 0.3 * data[1] * (data[0] @ y))


def inner(x, y, data):
    return loss(x, y, data) + jnp.sum(jnp.exp(x) * y**2) / 2


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """Puts the features of some rows into a file, behind others."""
    folder = tmp_path_factory.mktemp("rows")

    def place(data):
        features, labels = data
        path = folder / f"{len(features)}.npy"
        np.save(path, np.concatenate([np.full((3, SIZE), np.nan), features]))
        return bx.RowsOnDisk(np.load(path, mmap_mode="r")[3:]), labels

    return place


def problem_of(place):
    outer_data, inner_data = place(rows(NUM // 2)), place(rows())
    return bx.BilevelProblem(loss, inner, outer_data=outer_data, inner_data=inner_data)


def agree(compute, place):
    here, there = (ravel_pytree(compute(problem_of(p)))[0] for p in (lambda data: data, place))
    np.testing.assert_allclose(there, here, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", TABLE)
def test_estimates_are_those_of_rows_in_memory(name, on_disk):
    def compute(problem):
        h = bx.hypergradient(
            problem, TABLE[name], np.full(SIZE, 0.3), np.linspace(-1, 1, SIZE), key=KEY
        )
        return h.value, h.gradient, h.y, h.adjoint

    agree(compute, on_disk)
