"""Processes that are interrupted or killed, and what they leave."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bilevax.cli._interruption import Interruption
from cli_cases import BY_ALGORITHM, GOOD, run, table
from cli_cases import tune_split as tune

# As a user's processes.
pytestmark = pytest.mark.usefixtures("x32")

COMMAND = (sys.executable, "-c", "from bilevax.cli import main; main()")
RUN = (*BY_ALGORITHM, "--save-every", "5", "--steps")


def bilevax(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, **options)


def started(*arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*COMMAND, *arguments], text=True, **pipes)


def hyperparameters(folder):
    with np.load(folder / "hyperparameters.npz") as file:
        return file["x"].tobytes()


def killed(data, folder, steps, seconds):
    """Kill a run after so many seconds, and say what it had written."""
    process = started("tune", data, *RUN, steps, "--output", folder)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def within(*arguments):
    """The command in this process, said as of one of its own."""
    done = run(*arguments)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


def check_what_is_left(data, features, folder, steps, reference, again=bilevax):
    """Predict explains or works, resume ends as the whole run did; where it went on."""
    rows = folder.parent / "rows.npz"
    np.savez(rows, X=np.ones((2, features)))
    predicted = run("predict", folder, rows)
    assert predicted.exit_code in (0, 2) and "Traceback" not in predicted.stderr
    assert predicted.exit_code == 0 or predicted.stderr.startswith("Error: ")
    resumed = again("tune", data, *RUN, steps, "--output", folder, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert hyperparameters(folder) == hyperparameters(reference)
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]
    words = resumed.stderr.split("Going on from step ")
    return words[1].split(".")[0] if len(words) > 1 else "0"


def test_a_killed_run_goes_on(tmp_path):
    """The quick form: once amid training, on a small table, and on in this process."""
    steps, folder = "60", tmp_path / "run"
    data = str(table(tmp_path / "a.csv", *GOOD))
    tune(data, *RUN, steps, "--output", tmp_path / "whole")
    process = started("tune", data, *RUN, steps, "--output", folder)
    while not (folder / "checkpoint.npz").exists():
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    whole = tmp_path / "whole"
    assert int(check_what_is_left(data, 2, folder, steps, whole, again=within)) >= 5


@pytest.mark.slow
def test_runs_killed_at_20_random_moments_go_on(tmp_path, capsys):
    """Uniform over a run that is long enough for most to fall into training."""
    steps, reference = "1000", tmp_path / "whole"
    began = time.perf_counter()
    done = bilevax("tune", "digits", *RUN, steps, "--output", reference)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    moments = np.sort(np.random.default_rng(0).uniform(0, seconds, 20))
    table = [f"a whole run takes {seconds:.1f} s"]
    for i, moment in enumerate(moments):
        folder = tmp_path / str(i) / "run"
        folder.parent.mkdir()
        left = killed("digits", folder, steps, moment)
        step = check_what_is_left("digits", 64, folder, steps, reference)
        row = f"{moment:6.2f} s  {len(left):2d} files  resumed from step {step:>4}"
        table.append(f"{row}  the same bits")
    with capsys.disabled():
        print("\n".join(["", *table]))


def test_an_interrupted_run_keeps_everything(tmp_path):
    folder = tmp_path / "run"
    data = str(table(tmp_path / "a.csv", *GOOD))
    many = ("tune", data, *BY_ALGORITHM, "--steps", "100000", "--output", str(folder))
    process = started(*many)
    line = ""
    while "step" not in line:
        line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "Go on with: bilevax tune --resume" in err
    result = json.loads((folder / "result.json").read_text())
    assert not result["finished"] and "interrupted" in result["ended_because"]
    assert (folder / "report.html").exists() and "has not finished" in out
    step = result["steps"]
    done = tune("--resume", "--steps", step + 5, "--output", folder)
    assert f"Going on from step {step}." in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interruption_is_not_held_back(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        signal.raise_signal(number)
        assert interruption.wanted
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_the_command_is_installed():
    path = os.path.join(os.path.dirname(sys.executable), "bilevax")
    done = subprocess.run([path, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for command in ("tune", "predict", "info"):
        assert command in done.stdout
