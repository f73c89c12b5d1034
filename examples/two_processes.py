"""Two processes on this machine that share the rows of one problem.

    python examples/two_processes.py

Started without a number, it starts itself twice and waits. Each process has all functions and
half of the rows; sums over rows go through the network, here the loopback address. On several
hosts start it on each with its number, the number of all, and the address of the first:

    python examples/two_processes.py 0 2 first-host:12345

Where one process ends with an error, the other is ended too.
"""

import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

ROWS, FEATURES = 1000, 20


def loss(x, y, data):
    del x
    features, targets = data
    return jnp.mean((features @ y - targets) ** 2) / 2


def penalised(x, y, data):
    return loss(x, y, data) + jnp.sum(jnp.exp(x) * y**2) / 2


def solve():
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
        outer_step_size=0.5, inner_step_size=0.3, inner_steps=10, adjoint_steps=10
    )
    start = np.full(FEATURES, -2.0), np.zeros(FEATURES)
    return bx.minimize(problem, algorithm, *start, num_steps=100)


def work(process: int, processes: int, address: str) -> None:
    """One process: join the others, then solve."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, processes, process, initialization_timeout=60)
    solution = solve()
    print(
        f"process {process} of {processes}, {jax.device_count()} devices: "
        f"value {solution.history['value'][-1]:.12g}, calls {solution.cost.total}",
        flush=True,
    )
    jax.distributed.shutdown()


def start(processes: int = 2) -> int:
    """All of them on this machine; their exit code. Where one fails, the others are ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = lambda i: [sys.executable, __file__, str(i), str(processes), address]
    started = [subprocess.Popen(command(i)) for i in range(processes)]
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
    if len(sys.argv) == 1:
        sys.exit(start())
    work(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
