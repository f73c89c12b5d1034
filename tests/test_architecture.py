"""Dependencies between rooms point one way, and classes override hooks only."""

import collections
import importlib
import inspect
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bilevax

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")


def lint(project):
    environment = os.environ | {"PYTHONPATH": str(project / "src")}
    command = [LINTER, "--no-cache"]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contract_is_kept(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken" in done.stdout


VIOLATIONS = {
    "upwards": ("_rows/data.py", "from ..solvers import CG", "bilevax.solvers"),
    "for a type checker": (
        "_core/types.py",
        "if TYPE_CHECKING:\n    from ..problems._base import AbstractProblem",
        "bilevax.problems",
    ),
    "inside a function": (
        "hypergradients/_base.py",
        "def f():\n    from .._run import loop",
        "bilevax._run",
    ),
    "the whole library": ("problems/_base.py", "import bilevax as bx", "bilevax.algorithms"),
    "beside each other": ("_minimum/lift.py", "from .._study import noise", "bilevax._study"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_caught(copy, name):
    place, statement, imported = VIOLATIONS[name]
    file = copy / "src/bilevax" / place
    file.write_text(f"{file.read_text()}\n\n{statement}\n")
    done = lint(copy)
    assert done.returncode == 1
    room = place.split("/")[0]
    assert f"bilevax.{room} is not allowed to import {imported}" in done.stdout


def test_a_room_that_the_contract_does_not_know(copy):
    (copy / "src/bilevax/attic.py").write_text('"""Old things."""\n')
    done = lint(copy)
    assert done.returncode == 1 and "attic" in done.stdout


# What a base class does where its methods need nothing else; docs/architecture.md says why.
HOOKS = {
    "AbstractDirection": {"residual"},
    "AbstractEquation": {"cost", "data"},
    "AbstractHypergradient": {
        "drawn",
        "drawn_for",
        "estimate",
        "examine",
        "init_cost",
        "prepare",
        "samplers",
        "shortfall",
    },
    "AbstractIterativeSolver": {
        "begin",
        "converged",
        "done",
        "extra_calls",
        "init",
        "length",
        "most_steps",
        "plain_step",
        "prepare",
        "required",
        "result",
        "solve",
        "spent",
        "stops_early",
    },
    "AbstractProblem": {"adjoint_map", "inner_gradients", "inner_value_and_gradient"},
    "AbstractReducer": {"refresh_calls", "refresh_size", "starts_full"},
    "AbstractSampler": {"check", "init", "num_slots", "random", "tickets_ahead"},
    "AbstractSolver": {"drawn_for", "length_at", "random", "shortfall"},
    "AbstractSparse": {"T"},
    "AbstractTolerantSolver": {"converged", "done", "stops_early"},
    "AbstractTwoStage": {"drawn_for", "init", "random", "samplers", "shortfall"},
    "Watch": {"late", "part", "say"},
}


def own_classes():
    for found in pkgutil.walk_packages(bilevax.__path__, "bilevax."):
        for value in vars(importlib.import_module(found.name)).values():
            if inspect.isclass(value) and value.__module__ == found.name:
                yield value


def is_concrete(name, member):
    is_method = inspect.isfunction(member) or isinstance(member, property | classmethod)
    own = is_method and (name == "__call__" or not name.startswith("__"))
    return own and not getattr(member, "__isabstractmethod__", False)


def test_only_hooks_are_overridden():
    overridden = collections.defaultdict(set)
    for cls in own_classes():
        bases = [b for b in cls.__mro__[1:] if b.__module__.startswith("bilevax.")]
        for name, member in vars(cls).items():
            base = next((b for b in bases if name in vars(b)), None)
            if base and is_concrete(name, member) and is_concrete(name, vars(base)[name]):
                overridden[base.__name__].add(name)
    assert overridden == HOOKS
