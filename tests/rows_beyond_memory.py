"""A process that learns from more rows than it may hold; prints what it took, as JSON.

    python rows_beyond_memory.py FOLDER MEGABYTES

The file has holes: it reads as zeros, of which a few rows are overwritten.
"""

import json
import pathlib
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import bilevax as bx

SIZE = 256
ESTIMATOR = bx.Implicit(bx.GradientDescent(0.1, 2), bx.CG(2))


def loss(x, y, data):
    return jnp.mean((data[0] @ y - data[1]) ** 2) / 2


def inner(x, y, data):
    return loss(x, y, data) + jnp.exp(x) * jnp.sum(y**2) / 2


def made(path: pathlib.Path, num: int) -> np.ndarray:
    """So many rows, of which every thousandth is not zero."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (num, SIZE)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        begin = file.tell()
        for row in range(0, num, max(num // 1000, 1)):
            file.seek(begin + 4 * SIZE * row)
            file.write(np.linspace(0, 1, SIZE, dtype=np.float32).tobytes())
        file.truncate(begin + 4 * SIZE * num)
    return np.load(path, mmap_mode="r")


def run(features, labels) -> bx.Hypergradient:
    problem = bx.BilevelProblem(
        loss, inner, outer_data=(features, labels), inner_data=(features, labels)
    )
    return bx.hypergradient(problem, ESTIMATOR, jnp.zeros(()), jnp.zeros(SIZE))


def peak() -> int:
    """Megabytes of memory that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main():
    folder, megabytes = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    num = megabytes * 2**20 // (4 * SIZE)
    few = made(folder / "few.npy", 20_000)
    # The same programs on few rows: what is left is what rows take.
    run(bx.RowsOnDisk(few), np.ones(len(few), np.float32))
    before = peak()
    many = bx.RowsOnDisk(made(folder / "many.npy", num))
    start = time.perf_counter()
    h = run(many, jax.device_put(np.ones(num, np.float32)))
    jax.block_until_ready(h.gradient)
    seconds = time.perf_counter() - start
    told = {"before": before, "peak": peak(), "seconds": seconds}
    print(json.dumps(told | {"value": float(h.value)}))


if __name__ == "__main__":
    main()
