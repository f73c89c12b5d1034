"""The README's session runs, and prints what the README says."""

import pathlib
import re

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
