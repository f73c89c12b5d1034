"""What a type checker says to those who use the library."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bilevax as bx

ROOT = Path(__file__).parents[1]
USER = Path(__file__).with_name("user_types.py")
PYRIGHT = Path(sys.executable).with_name("pyright")
# An error that is expected and does not come is an error.
SETTINGS = {"typeCheckingMode": "basic", "reportUnnecessaryTypeIgnoreComment": "error"}


def test_a_users_types(tmp_path):
    """From outside: in a folder of its own, with the library among what is installed."""
    shutil.copy(USER, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(SETTINGS))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [PYRIGHT, "--pythonpath", sys.executable, USER.name]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


MODULES = {
    "bx": bx,
    "bx.algorithms": bx.algorithms,
    "bx.datasets": bx.datasets,
    "problems": bx.problems,
}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_used(module):
    text = USER.read_text()
    assert [n for n in MODULES[module].__all__ if f"{module}.{n}" not in text] == []
