"""Rows on disk: the same numbers as in memory, and memory for blocks only."""

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import bilevax as bx
from bilevax._rows.on_disk import File

KEY = jax.random.key(3)
NUM, SIZE = 64, 5
# Blocks that divide the rows and blocks that leave a rest; rows that are drawn.
EVEN, UNEVEN = bx.FullBatch(16), bx.FullBatch(24)
TABLE = {
    "implicit": bx.Implicit(
        bx.SGD(0.1, 3, bx.Epochs(8)),
        bx.CG(3, batch_size=EVEN),
        outer_batch_size=bx.Blocks(4),
        cross_batch_size=EVEN,
    ),
    "unrolled": bx.Unrolled(bx.GradientDescent(0.1, 3, batch_size=UNEVEN)),
}


def rows(num=NUM):
    rng = np.random.default_rng(num)
    features = rng.standard_normal((num, SIZE))
    return features, features.sum(1) + rng.standard_normal(num)


def loss(x, y, data):
    return jnp.mean(jnp.logaddexp(0, data[0] @ y) - 0.3 * data[1] * (data[0] @ y))


def inner(x, y, data):
    penalty = jnp.sum(jnp.exp(x) * y**2) / 2
    return loss(x, y, data) + penalty + jnp.mean(data[0] @ (x * y)) / 10


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


def estimated(problem, estimator):
    x, y = np.full(SIZE, 0.3), np.linspace(-1, 1, SIZE)
    return bx.hypergradient(problem, estimator, x, y, key=KEY)


@pytest.mark.parametrize("name", TABLE)
def test_estimates_are_those_of_rows_in_memory(name, on_disk):
    def compute(problem):
        h = estimated(problem, TABLE[name])
        return h.value, h.gradient, h.y, h.adjoint

    agree(compute, on_disk)


def test_what_is_read_is_what_is_counted(on_disk, monkeypatch):
    read, fill = [], File._fill

    def watched(self, file, rows):
        read.append(rows.shape)
        fill(self, file, rows)

    problem = problem_of(on_disk)
    monkeypatch.setattr(File, "_fill", watched)
    estimated(problem, TABLE["implicit"])
    read.clear()  # a few rows, on which means were checked, among them
    rows = estimated(problem, TABLE["implicit"]).cost.rows
    # Linearised once, and still a walk for each product; drawn rows are read elsewhere.
    assert rows.hvp + rows.cross == 5 * NUM and rows.outer_gradient == 4
    assert sorted(read) == [(4, SIZE)] + [(16, SIZE)] * (5 * NUM // 16)


def test_solution_maps_have_their_derivatives(on_disk):
    def compute(problem):
        descent, data = bx.GradientDescent(0.5, 30), problem.inner_data
        solution = bx.argmin(inner, np.zeros(SIZE), descent, data=data)
        return jax.value_and_grad(lambda x: jnp.sum(solution(x) ** 2))(np.zeros(SIZE))

    agree(compute, on_disk)


def test_a_file_of_another_kind_of_number(tmp_path):
    array = np.arange(24, dtype=">i2").reshape(4, 3, 2)
    np.save(tmp_path / "rows.npy", array)
    whole = bx.RowsOnDisk(tmp_path / "rows.npy", dtype=np.float32)
    part = bx.RowsOnDisk(np.load(tmp_path / "rows.npy", mmap_mode="r")[1:][1:])
    assert (whole.shape, whole.dtype) == ((4, 3, 2), np.float32) and part.dtype == np.int16
    np.testing.assert_array_equal(whole.cut(1, 2), array[1:3])
    np.testing.assert_array_equal(part.cut(0, 2), array[2:])
    several = jax.vmap(lambda start: part.cut(start, 1))(np.array([1, 0]))
    np.testing.assert_array_equal(several, array[[[3], [2]]])
    np.testing.assert_array_equal(
        jax.jit(whole.take)(np.array([3, 0, 9, -1])), array[[3, 0, 3, 0]]
    )


def beyond_memory(folder, megabytes):
    """What a process says that has worked on so many rows."""
    script = pathlib.Path(__file__).with_name("rows_beyond_memory.py")
    command = [sys.executable, script, folder, str(megabytes)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    return json.loads(told.stdout.splitlines()[-1])


def test_memory_is_that_of_blocks(tmp_path):
    found = beyond_memory(tmp_path, 200)
    assert found["peak"] - found["before"] < 60, found
    assert 0.4 < found["value"] < 0.5, found


@pytest.mark.slow
def test_twenty_gigabytes(tmp_path):
    found = beyond_memory(tmp_path, 20480)
    assert found["peak"] < 2048, found


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        (lambda path: np.ones((3, 2)), TypeError, "numpy.save"),
        (lambda path: np.load(path, mmap_mode="r").T, ValueError, "one after another"),
        (lambda path: np.load(path, mmap_mode="r")[::2], ValueError, "consecutive"),
        (lambda path: np.save(path, ["a"]) or path, TypeError, "real numbers"),
        (lambda path: path.with_name("none.npy"), FileNotFoundError, "none.npy"),
    ],
)
def test_what_cannot_be_read_is_refused(made, error, words, tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(12.0).reshape(6, 2))
    with pytest.raises(error, match=words):
        bx.RowsOnDisk(made(tmp_path / "rows.npy"))


def test_what_needs_all_rows_at_once_is_refused(on_disk):
    data = on_disk(rows())
    total = bx.MinProblem(lambda x, y, data: jnp.sum((data[0] @ y - x) ** 2), data)
    with pytest.raises(ValueError, match=r"not a mean .* read in blocks"):
        bx.hypergradient(total, bx.Analytic(bx.GradientDescent(0.1, 1)), 0.0, np.ones(SIZE))
    swept = bx.MinProblem(
        lambda x, y, data: loss(x, y, data) + x, data, update=lambda x, y, d: y
    )
    with pytest.raises(TypeError, match="sees all rows at once"):
        bx.hypergradient(swept, bx.Analytic(bx.FixedPointIteration(1)), 0.0, np.ones(SIZE))

    with pytest.raises(TypeError, match="needed as one array"):
        bx.problems.RidgeRegression(data[0], 0.1)


def test_a_file_that_got_shorter_is_said(on_disk):
    features, _ = on_disk(rows(48))
    with open(features.file.path, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(Exception, match="ends before the last of its 48 rows"):
        jax.block_until_ready(jax.jit(lambda: features.cut(40, 8))())
