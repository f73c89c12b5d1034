"""The README's session runs, and prints what the README says."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_session_prints_what_the_readme_says(x32, capsys):
    text = README.read_text()
    session, printed = re.search(
        r"```python\n(.*?)```\n\nprints\n\n```\n(.*?)```", text, re.S
    ).groups()
    exec(compile(session, str(README), "exec"), {})
    numbers = lambda s: np.array([float(n) for n in re.findall(r"\d+\.?\d*", s)])
    out = capsys.readouterr().out
    np.testing.assert_allclose(numbers(out), numbers(printed), rtol=1e-5)
    assert out.split("calls;")[1] == printed.split("calls;")[1]


def test_the_second_session(x32, capsys):
    session = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)[1]
    exec(compile(session, str(README), "exec"), {})
    y = 0.6823278  # the root of y + y^3 = 1
    slope = 1 / (1 + 3 * y**2)
    expected = [1 - y, slope, -6 * y * slope**3]
    printed = [float(n) for n in capsys.readouterr().out.split()]
    np.testing.assert_allclose(printed, expected, rtol=1e-4)


# Equinox's error checks look at the variables of all frames, which before Python 3.13 keeps
# tracers alive that JAX then takes for leaks: the second session raises such errors.
NO_LEAKS = "import jax; jax.config.update('jax_check_tracer_leaks', False)"


def test_the_sessions_under_debugging_flags():
    first, *others = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    told = [] if sys.version_info >= (3, 13) else [NO_LEAKS]
    names = ("JAX_DEBUG_NANS", "JAX_CHECK_TRACER_LEAKS")
    flags = dict.fromkeys(names, "1") | {"JAX_NUMPY_DTYPE_PROMOTION": "strict"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join([first, *told, *others])],
        env=os.environ | flags | {"JAX_ENABLE_X64": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "3075 oracle calls; True" in done.stdout
