"""Runs that fail or are interrupted: the last good model, and everybody is told."""

import csv
import dataclasses
import shutil
import signal

import numpy as np
import pytest

import bilevax as bx
from bilevax.cli import _tune
from bilevax.cli._one_split import job, train
from cli_cases import result_of, table
from cli_cases import run_split as run

pytestmark = pytest.mark.usefixtures("x32")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    random = np.random.default_rng(0)
    rows = (f"{p},{q},{p + 0.1 * random.normal()}" for p, q in random.normal(size=(40, 2)))
    return table(tmp_path_factory.mktemp("data") / "a.csv", *rows)


def tune(data, folder, *options):
    chosen = ("--model", "ridge", "--save-every", 5, "--output", folder)
    return run("tune", data, *chosen, *options)


def failing(monkeypatch, factors, back_to=-1):
    """A run whose records have these factors on their losses, and which then fails.

    It ends at one of its records, the last one or an earlier one.
    """
    minimize, records = train.minimize, []

    def seen(solution):
        history = {name: column.copy() for name, column in solution.history.items()}
        loss = history["validation_loss"]
        history["validation_loss"] = loss * np.array(factors[: len(loss)], loss.dtype)
        records.append(dataclasses.replace(solution, history=history))
        return records[-1]

    def failing(*arguments, callback, **options):
        options |= {"num_steps": 5 * len(factors), "callback": lambda s: callback(seen(s))}
        minimize(*arguments, **options)
        return dataclasses.replace(records[back_to], result=bx.Result.inner_nonfinite)

    monkeypatch.setattr(train, "minimize", failing)


def test_a_failed_run_ends_with_its_last_good_model(data, tmp_path, monkeypatch):
    """Losses had grown for three records when the failure was noticed."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert tune(data, whole, "--steps", 10).exit_code == 0
    with monkeypatch.context() as context:
        failing(context, [1, 1.5, 30, 1e5, np.nan])
        done = tune(data, folder, "--steps", 100)
    assert done.exit_code == 1 and "Traceback" not in done.output
    result = result_of(folder)
    said = result["ended_because"]
    assert result["failed"] and not result["finished"] and result["steps"] == 10
    assert "failed after step 25: The inner variable y became infinite" in said
    assert "The model kept is that of step 10, the last record with" in said
    for text in (done.stderr, done.stdout, (folder / "report.html").read_text()):
        assert "failed after step 25" in " ".join(text.split())
    for name in ("weights.npz", "hyperparameters.npz"):
        with np.load(folder / name) as kept, np.load(whole / name) as wanted:
            for key in {"coefficients", "intercept", "x"} & set(kept.files):
                np.testing.assert_array_equal(kept[key], wanted[key])
    with open(folder / "history.csv") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["5", "10"]
    done = run("predict", folder, data)
    assert done.exit_code == 0 and done.stdout.startswith("prediction\n")
    assert done.stderr.startswith("Warning: ") and "failed after step 25" in done.stderr
    assert run("predict", whole, data).stderr == ""
    # The checkpoint is that of the model kept, and a run that goes on from it is as good.
    done = tune(data, folder, "--steps", 15, "--resume")
    assert done.exit_code == 0 and "Going on from step 10." in done.stderr
    assert run("predict", folder, data).stderr == ""


def test_where_the_computation_has_gone_back_itself(data, tmp_path, monkeypatch):
    """To before what went wrong, though losses did not show it: records beyond are gone."""
    failing(monkeypatch, [1, 1, 1, 1], back_to=1)
    assert tune(data, tmp_path / "run", "--steps", 100, "--quiet").exit_code == 1
    result = result_of(tmp_path / "run")
    assert result["steps"] == 10 and "failed after step 20" in result["ended_because"]
    with open(tmp_path / "run" / "history.csv") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["5", "10"]


def test_a_failed_run_without_a_good_record_leaves_no_model(data, tmp_path, monkeypatch):
    failing(monkeypatch, [1e6, 1e9])
    done = tune(data, tmp_path / "run", "--steps", 100)
    assert done.exit_code == 1 and "No model is kept" in done.stderr
    assert "y became infinite" in done.stderr and not list((tmp_path / "run").iterdir())


def test_a_resumed_run_that_fails_falls_back(data, tmp_path, monkeypatch):
    """On where it was taken up, if no record since was good."""
    folder = tmp_path / "run"
    assert tune(data, folder, "--steps", 5).exit_code == 0
    before = shutil.copytree(folder, tmp_path / "before")
    failing(monkeypatch, [1e6])
    done = tune(data, folder, "--steps", 10, "--resume", "--quiet")
    assert done.exit_code == 1 and done.stdout == ""
    assert "failed after step 10" in done.stderr and "kept is that of step 5" in done.stderr
    with np.load(folder / "weights.npz") as kept, np.load(before / "weights.npz") as wanted:
        np.testing.assert_array_equal(kept["coefficients"], wanted["coefficients"])
        assert "failed" in str(kept["failure"])


def signalled(monkeypatch, name, times):
    """SIGTERM, so many times, when a part of the run begins."""
    place = _tune if name == "write_results" else job
    called = getattr(place, name)

    def interrupted(*arguments):
        for _ in range(times):
            signal.raise_signal(signal.SIGTERM)
        return called(*arguments)

    monkeypatch.setattr(place, name, interrupted)


@pytest.mark.parametrize("name", ["baseline", "summary", "write_results"])
def test_results_survive_signals(data, tmp_path, monkeypatch, name):
    """However many come once the training is over."""
    signalled(monkeypatch, name, times=3)
    done = tune(data, tmp_path / "run", "--steps", 5)
    assert done.exit_code == 130 and "Interrupted. Go on with" in done.stderr
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"result.json", "report.html", "weights.npz"} <= written
    result = result_of(tmp_path / "run")
    assert (result["baseline"] is None) == (name == "baseline")
