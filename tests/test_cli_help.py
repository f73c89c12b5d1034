"""What the command says of itself."""

import dataclasses
import subprocess
import sys

from typer.testing import CliRunner

import bilevax as bx
from bilevax.cli import _options, _settings
from bilevax.cli._app import app


def test_help_shows_defaults_and_choices():
    environment = {"COLUMNS": "500", "TERMINAL_WIDTH": "500"}
    done = CliRunner(env=environment).invoke(app, ["tune", "--help"])
    said = done.stdout
    defaults = dataclasses.asdict(_settings.Settings("digits"))
    shown = {n: v for n, v in defaults.items() if v and n != "dataset"}
    for name, value in shown.items():
        option = f"--{name.replace('_', '-')} "
        line = next(line for line in said.splitlines() if option in line)
        number = f"{value:g}" if isinstance(value, float) else str(value)
        assert any(f"[default: {number}{end}" in line for end in "];")
    for choices in (_settings.MODELS, _settings.PENALTIES, _settings.ALGORITHMS):
        assert ", ".join(choices) in said
    for field in dataclasses.fields(_settings.Settings):
        assert _options.option(field.name).lower() in said
    assert "[default: 20]" in said and "[default: 10]" in said
    figures = CliRunner(env=environment).invoke(app, ["reproduce", "--help"]).stdout
    assert "1, 2a, 2b" in figures and "[default: results]" in figures


def test_the_version_is_said():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"bilevax {bx.__version__}\n"


def test_help_waits_for_no_package_that_it_does_not_need():
    """Each takes longer to import than all that help needs."""
    program = (
        "import sys; sys.argv = ['bilevax', '--help']\n"
        "from bilevax.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('loaded', *{'sklearn', 'pandas', 'matplotlib', 'scipy.stats'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded", done.stdout + done.stderr
