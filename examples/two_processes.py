"""Two processes on this machine that share the rows of one problem.

    python examples/two_processes.py --checkpoint run.eqx

It starts itself twice and waits. Each process has all functions and half of the rows; sums over
rows go through the network, here the loopback address. One process writes the checkpoint, from
which all go on when they are started again. On several hosts start it on each with its number,
the number of all, and the address of the first:

    python examples/two_processes.py --process 0 2 first-host:12345 --checkpoint run.eqx

Where one process ends with an error or is killed, the others end too, with a message.
"""

import argparse
import os
import pathlib
import socket
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

ROWS, FEATURES = 1001, 20
# Who is silent for so long is given up; the default of JAX is 100.
SECONDS = 20


def loss(x, y, data):
    del x
    features, targets = data
    return jnp.mean((features @ y - targets) ** 2) / 2


def penalised(x, y, data):
    return loss(x, y, data) + jnp.sum(jnp.exp(x) * y**2) / 2


def solve(steps: int, checkpoint: pathlib.Path | None = None):
    """The same call on every process, which each end with the same numbers."""
    import bilevax as bx

    rng = np.random.default_rng(0)
    features = rng.standard_normal((2 * ROWS, FEATURES))
    targets = features @ (np.arange(FEATURES) < 5) + rng.standard_normal(2 * ROWS)
    train, valid = bx.shard_rows(
        [(features[:ROWS], targets[:ROWS]), (features[ROWS:], targets[ROWS:])]
    )
    problem = bx.BilevelProblem(loss, penalised, outer_data=valid, inner_data=train)
    algorithm = bx.algorithms.amigo_cg(
        outer_step_size=0.5, inner_step_size=0.3, inner_steps=5, adjoint_steps=5
    )
    start = np.full(FEATURES, -2.0), np.zeros(FEATURES)
    state = bx.initial_state(problem, algorithm, *start)
    if checkpoint and checkpoint.exists():
        state = eqx.tree_deserialise_leaves(checkpoint, state)
    return bx.minimize(
        problem,
        algorithm,
        num_steps=steps - int(state.loop.step),
        state=state,
        record_every=10,
        callback=(lambda solution: save(checkpoint, solution.state)) if checkpoint else None,
    )


def save(path: pathlib.Path, state) -> None:
    """Written by one process beside its place and renamed, so that what is there is whole."""
    state = jax.tree.map(_whole, state)  # by all processes: parts are sent
    if jax.process_index() == 0:
        part = path.with_name(path.name + ".part")
        with open(part, "wb") as file:
            eqx.tree_serialise_leaves(file, state)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        print(f"saved step {int(state.loop.step)}", flush=True)


def _whole(leaf):
    """An array that may have parts on other processes."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_replicated:
        return leaf
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(leaf, tiled=True)


def work(process: int, processes: int, address: str, steps: int, checkpoint) -> None:
    """One process: join the others, then solve."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        address,
        processes,
        process,
        initialization_timeout=60,
        heartbeat_timeout_seconds=SECONDS,
    )
    try:
        solution = solve(steps, checkpoint)
    except Exception as error:
        # The others may be gone, for whom an orderly end would wait.
        reason = str(error).splitlines()[0]
        print(f"process {process} ends, as it or another failed: {reason}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
    print(
        f"process {process} of {processes}, {jax.device_count()} devices: "
        f"value {float(solution.history['value'][-1]).hex()}, calls {solution.cost.total}",
        flush=True,
    )
    jax.distributed.shutdown()


def start(options: list[str], processes: int = 2) -> int:
    """All of them on this machine; their exit code. Where one fails, the others are ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    of = lambda i: ["--process", str(i), str(processes), address, *options]
    started = [subprocess.Popen([sys.executable, __file__, *of(i)]) for i in range(processes)]
    while any(process.poll() is None for process in started):
        failed = [i for i, process in enumerate(started) if process.poll()]
        if failed:
            print(f"process {failed[0]} failed, and so all end", file=sys.stderr)
            for process in started:
                process.kill()
                process.wait()
            return 1
        time.sleep(0.05)
    return max(abs(process.returncode) for process in started)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rows shared by processes")
    parser.add_argument("--process", nargs=3, metavar=("NUMBER", "OF", "ADDRESS"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--checkpoint", type=pathlib.Path)
    told = parser.parse_args()
    if told.process is None:
        sys.exit(start(sys.argv[1:]))
    number, of, address = told.process
    work(int(number), int(of), address, told.steps, told.checkpoint)
