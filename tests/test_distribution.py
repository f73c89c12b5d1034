"""What is distributed: the wheel works away from the sources, and the sdist is complete."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import bilevax as bx

ROOT = Path(__file__).parents[1]
# Made by tools, wherever they ran.
MADE = {"__pycache__", ".pytest_cache", ".ruff_cache"}


def files_below(folder):
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path for path in found if not MADE & set(path.parts)}


def run(*command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [bx.__version__]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_the_wheel(built, tmp_path):
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = sys.executable, "-m", "pip", "install", "--disable-pip-version-check"
    run(*pip, "--no-deps", "--no-index", "--target", target, built[1])

    sources = files_below(ROOT / "src/bilevax")
    assert Path("py.typed") in sources
    assert files_below(target / "bilevax") == sources

    outside = {"cwd": elsewhere, "env": os.environ | {"PYTHONPATH": str(target)}}
    where = run(sys.executable, "-c", "import bilevax; print(bilevax.__file__)", **outside)
    assert Path(where) == target / "bilevax/__init__.py"
    version = run(target / "bin/bilevax", "--version", **outside)
    assert version == f"bilevax {bx.__version__}"


@pytest.mark.slow
def test_the_sdist(built, tmp_path):
    with tarfile.open(built[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / f"bilevax-{bx.__version__}"
    folders = "src", "tests", "docs", "examples", "benchmarks"
    for folder in folders:
        assert files_below(root / folder) == files_below(ROOT / folder)
    alone = {path.name for path in root.iterdir()} - set(folders)
    assert alone == {
        ".gitignore",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "PKG-INFO",
        "README.md",
        "pyproject.toml",
    }
