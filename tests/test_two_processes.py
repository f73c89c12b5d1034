"""Two processes on the loopback address that share the rows of a problem."""

import os
import pathlib
import re
import subprocess
import sys

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "two_processes.py"


def test_two_processes_find_what_one_does():
    import two_processes

    done = subprocess.run(
        [sys.executable, EXAMPLE],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = re.findall(r"process (\d) of 2, 2 devices: value (\S+), calls (\d+)", done.stdout)
    assert sorted(line[0] for line in told) == ["0", "1"], done.stdout
    alone = two_processes.solve()
    for _, value, calls in told:
        assert abs(float(value) / float(alone.history["value"][-1]) - 1) < 1e-10
        assert int(calls) == alone.cost.total
