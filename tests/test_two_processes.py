"""Two processes on the loopback address that share the rows of a problem."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "two_processes.py"
ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
# A process that was killed closes its connections; one that is silent is given up by JAX.
SECONDS = 15


def _launched(*options):
    """What each process said in the end, by number."""
    command = [sys.executable, EXAMPLE, *map(str, options)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    told = re.findall(r"process (\d) of 2, 2 devices: value (\S+), calls (\d+)", done.stdout)
    assert sorted(number for number, *_ in told) == ["0", "1"], done.stdout
    assert told[0][1:] == told[1][1:]
    return float.fromhex(told[0][1]), int(told[0][2])


def _killed(checkpoint, early):
    """One of two processes dies a while after its first checkpoint, of which `early` is a copy:
    what the other says, and how soon."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--steps", "1000000", "--checkpoint", checkpoint]
    both = [
        subprocess.Popen(
            [sys.executable, EXAMPLE, "--process", str(i), "2", address, *options],
            env=ENVIRONMENT,
            stderr=subprocess.STDOUT if i == 0 else subprocess.DEVNULL,
            stdout=subprocess.PIPE if i == 0 else subprocess.DEVNULL,
            text=True,
        )
        for i in range(2)
    ]
    try:
        begun, written = time.monotonic(), lambda path: path.exists() and path.read_bytes()
        while not written(early) or written(early) == written(checkpoint):
            assert time.monotonic() < begun + 120 and both[0].poll() is None
            time.sleep(0.05)
            if checkpoint.exists() and not early.exists():
                shutil.copy(checkpoint, early)
        both[1].kill()
        killed = time.monotonic()
        said, _ = both[0].communicate(timeout=60)
        return both[0].returncode, said, time.monotonic() - killed
    finally:
        for process in both:
            process.kill()
            process.wait()


def test_a_killed_process_ends_the_other_and_both_go_on_as_if_nothing_was(tmp_path):
    import two_processes

    checkpoint, early = tmp_path / "run.eqx", tmp_path / "early.eqx"
    code, said, seconds = _killed(checkpoint, early)
    assert code == 1 and "process 0 ends, as it or another failed" in said, said[-3000:]
    assert seconds < SECONDS
    first, *_, steps = map(int, re.findall(r"saved step (\d+)", said))
    assert first < steps
    value, calls = _launched("--steps", steps, "--checkpoint", early)
    assert early.read_bytes() == checkpoint.read_bytes()
    alone = two_processes.solve(steps)
    assert abs(value / float(alone.history["value"][-1]) - 1) < 1e-10
    assert calls == alone.cost.total
