"""Run on four devices: what is computed on sharded rows beside the same on one device.

Prints a line of JSON: relative differences by name, and collectives of compiled programs.
"""

import json
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh

import bilevax as bx
from bilevax._run.loop import chunk

KEY = jax.random.key(3)
DESCENT, CG = bx.GradientDescent(0.1, 3), bx.CG(3)
TABLE = {
    ("FullBatch", "Implicit"): bx.Implicit(DESCENT, CG),
    ("Blocks of 16", "Implicit"): bx.Implicit(
        bx.GradientDescent(0.1, 3, batch_size=bx.FullBatch(16)), CG
    ),
    ("RandomRows", "Implicit"): bx.Implicit(bx.SGD(0.1, 3, 8), CG),
    ("Epochs", "Unrolled"): bx.Unrolled(bx.SGD(0.1, 3, bx.Epochs(8))),
    ("Blocks", "Implicit"): bx.Implicit(bx.SGD(0.1, 3, bx.Blocks(8)), CG),
}


def rows(num, dtype):
    rng = np.random.default_rng(num)
    features = rng.standard_normal((num, 5)).astype(dtype)
    return features, (features.sum(1) + rng.standard_normal(num)).astype(dtype)


def loss(x, y, data):
    return jnp.mean(jnp.logaddexp(0, data[0] @ y) - 0.3 * data[1] * (data[0] @ y))


def inner(x, y, data):
    return loss(x, y, data) + jnp.sum(jnp.exp(x) * y**2) / 2


def problem_of(place, num=64, dtype=np.float64):
    data = {"outer_data": place(rows(num // 2, dtype)), "inner_data": place(rows(num, dtype))}
    return bx.BilevelProblem(loss, inner, **data)


def difference(compute, dtype=np.float64):
    """Of what is computed on all devices from what is on one, relative to its size."""
    one, other = (
        np.asarray(ravel_pytree(compute(problem_of(place, dtype=dtype)))[0])
        for place in (lambda data: data, bx.shard_rows)
    )
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def estimated(estimator, dtype=np.float64):
    x, y = np.full(5, 0.3, dtype), np.linspace(-1, 1, 5, dtype=dtype)

    def compute(problem):
        found = bx.hypergradient(problem, estimator, x, y, key=KEY)
        return found.gradient, found.y, found.adjoint

    return compute


def minimized(problem):
    method = bx.algorithms.saba(
        outer_step_size=0.1, inner_step_size=0.1, adjoint_step_size=0.1, inner_batch_size=8
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


def collectives(num, devices):
    """By name, in the program of full-batch AmIGO."""
    mesh = Mesh(np.asarray(jax.devices()[:devices]), "rows", axis_types=(AxisType.Auto,))
    problem = problem_of(lambda data: bx.shard_rows(data, mesh), num)
    steps = {"outer_step_size": 0.1, "inner_step_size": 0.1, "adjoint_step_size": 0.1}
    method = bx.algorithms.amigo_gd(**steps, inner_steps=3, adjoint_steps=3)
    state = bx.initial_state(problem, method, np.zeros(5), np.zeros(5)).loop
    never, (every, *limits) = np.asarray(-np.inf), np.int32([1, 256, 3, 1])
    lowered = chunk.lower(problem, method, None, never, every, state, *limits)
    text = lowered.compile().compiled.as_text()
    names = "all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"
    return {name: len(re.findall(rf" {name}(?:-start)?\(", text)) for name in names}


def refused(place):
    try:
        place()
    except (TypeError, ValueError) as error:
        return str(error)
    return "accepted"


def main():
    devices = np.asarray(jax.devices())
    explicit = Mesh(devices, "rows", axis_types=(AxisType.Explicit,))
    onto = jax.sharding.NamedSharding(explicit, jax.sharding.PartitionSpec("rows"))
    placed = lambda: problem_of(lambda data: jax.device_put(data, onto))
    found = {
        "table": [[*names, difference(estimated(e))] for names, e in TABLE.items()],
        "single": difference(estimated(TABLE["FullBatch", "Implicit"], np.float32), np.float32),
        "others": {f.__name__: difference(f) for f in (minimized, curved, solved)},
        "collectives": [collectives(*size) for size in ((64, 4), (128, 2))],
        "refused": {
            "explicit": refused(lambda: bx.shard_rows(np.ones(8), explicit)),
            "placed": refused(placed),
            "uneven": refused(lambda: bx.shard_rows([np.ones((10, 2))])),
            "axes": refused(
                lambda: bx.shard_rows(np.ones(8), Mesh(devices.reshape(2, 2), ("a", "b")))
            ),
            "mesh": refused(lambda: bx.shard_rows(np.ones(8), 4)),
        },
    }
    print(json.dumps(found))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("error")
    main()
