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
