"""Run on four devices: what is computed on sharded rows beside the same on one device.

Prints a line of JSON: relative differences by name, and collectives of compiled programs. With
`--table` it prints the differences of all samplers with all estimators instead, with `--table
float32` those in single precision:

    XLA_FLAGS=--xla_force_host_platform_device_count=4 python tests/sharded_rows.py --table
"""

import json
import pathlib
import re
import sys
import tempfile
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh

import bilevax as bx
from bilevax._core import kept
from bilevax._core.program import program
from bilevax._rows.sharded import ShardedRows
from bilevax._run.loop import chunk

KEY = jax.random.key(3)
# Four devices divide neither, and batches of six divide the inner rows.
INNER, OUTER = 66, 33
SAMPLERS = {
    "FullBatch": bx.FullBatch(),
    "FullBatch(16)": bx.FullBatch(16),
    "RandomRows": bx.RandomRows(6),
    "Epochs": bx.Epochs(6),
    "Blocks": bx.Blocks(6),
    "Batches": bx.Batches([[0, 17, 40, 41, 64, 65], [1, 2, 3, 33, 49, 65]]),
}
CG = bx.CG(2)
descent = lambda sampler: bx.GradientDescent(0.1, 2, batch_size=sampler)
joint = lambda reducer, sampler: bx.Joint(
    bx.GradientDescent(0.1, 1), reducer, 0.1, inner_batch_size=sampler
)
ESTIMATORS = {
    "Analytic": lambda sampler: bx.Analytic(descent(sampler)),
    "Unrolled": lambda sampler: bx.Unrolled(descent(sampler)),
    "Implicit": lambda sampler: bx.Implicit(descent(sampler), CG),
    "OneStep": lambda sampler: bx.OneStep(descent(sampler)),
    "FiniteDifference": lambda sampler: bx.FiniteDifference(descent(sampler)),
    "Penalty": lambda sampler: bx.Penalty(descent(sampler), descent(None), multiplier=5.0),
    "Joint": lambda sampler: joint(bx.Sample(), sampler),
    "Joint, SAGA": lambda sampler: joint(bx.SAGA(), sampler),
}
# Each estimator; of samplers those whose batches are no gathered rows, for which see `drawn`.
TESTED = [
    ("FullBatch", "Implicit", "dense"),
    ("FullBatch", "Unrolled", "dense"),
    ("FullBatch", "OneStep", "dense"),
    ("FullBatch", "FiniteDifference", "dense"),
    ("FullBatch", "Penalty", "dense"),
    ("FullBatch", "Joint", "dense"),
    ("FullBatch(16)", "Analytic", "dense"),
    ("RandomRows", "Analytic", "dense"),
    ("FullBatch", "Implicit", "sparse"),
]


def rows(num, dtype=np.float64, kind="dense"):
    """Features, half of which are zero, and targets."""
    rng = np.random.default_rng(num)
    features = rng.standard_normal((num, 5)) * rng.integers(0, 2, (num, 5))
    targets = (features.sum(1) + rng.standard_normal(num)).astype(dtype)
    features = features.astype(dtype)
    return (scipy.sparse.csr_array(features) if kind == "sparse" else features), targets


def loss(x, y, data):
    return jnp.mean(jnp.logaddexp(0, data[0] @ y) - 0.3 * data[1] * (data[0] @ y))


def inner(x, y, data):
    return loss(x, y, data) + jnp.sum(jnp.exp(x) * y**2) / 2


def problem_of(place, num=INNER, outer=OUTER, **of_rows):
    data = place(rows(outer, **of_rows)), place(rows(num, **of_rows))
    return bx.BilevelProblem(loss, inner, outer_data=data[0], inner_data=data[1])


def spoilt(data):
    """Sharded, with padding that would be seen."""

    def spoil(leaf):
        if not isinstance(leaf, ShardedRows):
            return leaf
        bad = jnp.arange(leaf.padded.shape[0]) >= leaf.num
        bad = bad.reshape(-1, *[1] * (leaf.ndim - 1))
        padded = jax.jit(jnp.where, out_shardings=leaf.sharding)(bad, 1e30, leaf.padded)
        return ShardedRows(padded, leaf.num, leaf.sharding)

    is_padded = lambda node: isinstance(node, ShardedRows)
    return jax.tree.map(spoil, bx.shard_rows(data), is_leaf=is_padded)


PLACES = (lambda data: data, spoilt)


def difference(compute, **of_rows):
    """Of what is computed on all devices from what is on one, relative to its size."""
    one, other = (
        np.asarray(ravel_pytree(compute(problem_of(place, **of_rows)))[0]) for place in PLACES
    )
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def estimated(sampler, estimator, dtype=np.float64):
    estimator = ESTIMATORS[estimator](SAMPLERS[sampler])
    x, y = np.full(5, 0.3, dtype), np.linspace(-1, 1, 5, dtype=dtype)

    def compute(problem):
        found = bx.hypergradient(problem, estimator, x, y, key=KEY)
        return found.gradient, found.y, found.adjoint

    return compute


def entry(sampler, estimator, kind, dtype=np.float64):
    """A difference, or `None` where the two are no combination."""
    try:
        return difference(estimated(sampler, estimator, dtype), kind=kind, dtype=dtype)
    except TypeError as error:
        assert "partition" in str(error), error
        return None


def whole_table(dtype):
    """Markdown, a line as soon as it is known."""
    print("|  |", " | ".join(ESTIMATORS), "|")
    print("|---" * (len(ESTIMATORS) + 1) + "|")
    for kind in ("dense", "sparse"):
        for sampler in SAMPLERS:
            found = [entry(sampler, estimator, kind, dtype) for estimator in ESTIMATORS]
            shown = ("-" if f is None else f"{f:.0e}" for f in found)
            print(f"| {sampler}, {kind} |", " | ".join(shown), "|", flush=True)


def minimized(problem):
    method = bx.algorithms.saba(
        outer_step_size=0.1, inner_step_size=0.1, adjoint_step_size=0.1, inner_batch_size=6
    )
    run = bx.minimize(problem, method, np.zeros(5), np.ones(5), num_steps=70, key=KEY)
    return run.x, run.y


def curved(problem):
    found = bx.curvature(problem, np.zeros(5), np.ones(5))
    return found.smoothness, found.strong_convexity


def solved(problem):
    solution = bx.argmin(
        inner, np.zeros(5), bx.GradientDescent(0.5, 200), data=problem.inner_data
    )
    fit = lambda x: jnp.sum(solution(x) ** 2)
    return jax.value_and_grad(fit)(np.zeros(5))


def drawn():
    """Whether batches have the same rows on devices as on one, by sampler."""

    @jax.jit
    def batches(data):
        found = {}
        for name, sampler in SAMPLERS.items():
            stream, state = sampler.stream(data, sampler.init(data), KEY, 3)
            found[name] = [stream(i, state)[0].rows for i in range(3)]
        return found

    one, other = (jax.tree.map(np.asarray, batches(place(rows(INNER)))) for place in PLACES)
    return {name: same(one[name], other[name]) for name in SAMPLERS}


def same(one, other):
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


def products():
    """Of sparse rows on devices, all and gathered, from NumPy's of the same dense rows."""
    matrix, dense = bx.shard_rows(rows(INNER, kind="sparse")[0]), rows(INNER)[0]
    few = [65, 0, 65, 17, 33]  # more entries than are gathered at once
    w, r = np.linspace(-1, 1, 10).reshape(5, 2), np.linspace(-2, 2, INNER)

    @jax.jit
    def multiplied(matrix, w, r):
        some = matrix.take(jnp.asarray(few))
        return matrix @ w, matrix.T @ r, some @ w, some.T @ r[:5]

    expected = dense @ w, dense.T @ r, dense[few] @ w, dense[few].T @ r[:5]
    found = multiplied(matrix, w, r)
    return [float(abs(np.asarray(a) - b).max()) for a, b in zip(found, expected, strict=True)]


def collectives(num, devices, kind="dense"):
    """By name, in the program of full-batch AmIGO."""
    mesh = Mesh(np.asarray(jax.devices()[:devices]), "rows", axis_types=(AxisType.Auto,))
    place = lambda data: bx.shard_rows(data, mesh)
    problem = problem_of(place, num, num // 2, kind=kind)
    steps = {"outer_step_size": 0.1, "inner_step_size": 0.1, "adjoint_step_size": 0.1}
    method = bx.algorithms.amigo_gd(**steps, inner_steps=3, adjoint_steps=3)
    state = bx.initial_state(problem, method, np.zeros(5), np.zeros(5)).loop
    never, (every, *limits) = np.asarray(-np.inf), np.int32([1, 256, 3, 1])
    lowered = chunk.lower(problem, method, None, never, every, state, *limits)
    text = lowered.compile().compiled.as_text()
    names = "all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"
    return {name: len(re.findall(rf" {name}(?:-start)?\(", text)) for name in names}


def beside():
    """Whether programs that are kept take rows on devices beside what is free to go there."""
    with tempfile.TemporaryDirectory() as folder:
        token = kept._folder.set(pathlib.Path(folder))
        found = program(jnp.matmul)(bx.shard_rows(rows(64)[0]).padded, jnp.ones(5))
        kept._folder.reset(token)
    return np.allclose(found, rows(64)[0].sum(1))


def refused(place):
    try:
        place()
    except (TypeError, ValueError) as error:
        return str(error)
    return "accepted"


def refusals():
    """What is said of what cannot be sharded."""
    devices = np.asarray(jax.devices())
    explicit = Mesh(devices, "rows", axis_types=(AxisType.Explicit,))
    onto = jax.sharding.NamedSharding(explicit, jax.sharding.PartitionSpec("rows"))
    on = lambda mesh: lambda: bx.shard_rows(np.ones(8), mesh)
    return {
        "explicit": refused(on(explicit)),
        "placed": refused(
            lambda: problem_of(lambda data: jax.device_put(data, onto), num=64, outer=32)
        ),
        "twice": refused(lambda: bx.shard_rows([bx.shard_rows(np.ones(6))])),
        "axes": refused(on(Mesh(devices.reshape(2, 2), ("a", "b")))),
        "devices": refused(on(Mesh(devices[:0], "rows"))),
        "mesh": refused(on(4)),
        "rows": refused(lambda: bx.shard_rows(np.ones((0, 2)))),
    }


def main():
    even = {"num": 64, "outer": 32, "dtype": np.float32}
    single = estimated("FullBatch", "Unrolled", np.float32)
    # The last has its rows in blocks too.
    sizes = (66, 4), (40000, 2)
    found = {
        "table": {", ".join(names): entry(*names) for names in TESTED},
        "single": difference(single, **even),
        "others": {f.__name__: difference(f) for f in (minimized, curved, solved)},
        "drawn": drawn(),
        "products": products(),
        "collectives": [collectives(*size) for size in sizes],
        "beside": beside(),
        "refused": refusals(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    single = sys.argv[-1] == "float32"
    jax.config.update("jax_enable_x64", not single)
    warnings.simplefilter("error")
    dtype = np.float32 if single else np.float64
    whole_table(dtype) if "--table" in sys.argv else main()
