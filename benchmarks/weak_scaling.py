"""Weak scaling: as many rows on each of 1, 2 and 4 host devices, 8,192 x 256 in float32.

One outer step of full-batch AmIGO-GD with T = N = 10 on a logistic loss. Host devices share the
cores of a machine: more devices than cores take turns, and the ratio to expect is their number
over that of the cores.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved
from jax.sharding import AxisType, Mesh

import bilevax as bx
from bilevax._run.loop import RECORDS, chunk

ROWS, FEATURES, DEVICES, STEPS = 8192, 256, (1, 2, 4), 5


def measure() -> list[Row]:
    """In a process of its own, which has the devices."""
    flags = f"--xla_force_host_platform_device_count={max(DEVICES)}"
    environment = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"}
    command = [sys.executable, pathlib.Path(__file__)]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True).stdout
    return [Row(*row) for row in json.loads(printed.splitlines()[-1])]


def _rows() -> list[Row]:
    jobs = {str(num): _steps_on(num) for num in DEVICES}
    clocks = {"": time.perf_counter, ", processor time a device": time.process_time}
    return [row for name, clock in clocks.items() for row in _of(jobs, name, clock)]


def _of(jobs, clock_name: str, clock) -> list[Row]:
    """A line for each number of devices."""
    seconds = interleaved(jobs, repeats=9, clock=clock)
    shared = DEVICES if clock is time.process_time else (1, 1, 1)
    each = {
        num: seconds[str(num)] / by / STEPS for num, by in zip(DEVICES, shared, strict=True)
    }
    job = f"AmIGO-GD on {{}} devices of {os.cpu_count()} cores{clock_name}"
    what = f"a step, {ROWS} x {FEATURES} rows a device"
    return [
        Row(what, job.format(num), "one device", each[num], each[num] / each[1])
        for num in DEVICES
    ]


def _steps_on(num: int):
    """A few outer steps on so many devices, each with as many rows."""
    mesh = Mesh(np.asarray(jax.devices()[:num]), "rows", axis_types=(AxisType.Auto,))
    rng = np.random.default_rng(num)

    def rows(count):
        features = rng.standard_normal((count, FEATURES), np.float32)
        return bx.shard_rows((features, np.sign(features[:, 0])), mesh)

    problem = bx.BilevelProblem(
        _loss, _penalised, outer_data=rows(num * ROWS // 8), inner_data=rows(num * ROWS)
    )
    algorithm = bx.algorithms.amigo_gd(
        outer_step_size=0.1,
        inner_step_size=0.1,
        adjoint_step_size=0.1,
        inner_steps=10,
        adjoint_steps=10,
    )
    start = np.zeros(FEATURES, np.float32), np.zeros(FEATURES, np.float32)
    state = bx.initial_state(problem, algorithm, *start).loop
    never, (every, *limits) = np.asarray(-np.inf), np.int32([STEPS, RECORDS, STEPS, 1])
    return lambda: chunk(problem, algorithm, None, never, every, state, *limits)[0].x


def _loss(x, y, data):
    del x
    return jnp.mean(jnp.logaddexp(0, -data[1] * (data[0] @ y)))


def _penalised(x, y, data):
    return _loss(x, y, data) + jnp.sum(jnp.exp(x) * y**2) / 2


if __name__ == "__main__":
    print(json.dumps(_rows()))
