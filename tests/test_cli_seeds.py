"""`bilevax tune --seeds`: the same run with several seeds, each once."""

import json
import sqlite3

import pytest

from bilevax.cli import _seeds
from cli_cases import flowers, refused, result_of, run, tune

OPTIONS = ("--penalty", "shared", "--cv", "2", "--baseline-seconds", "0", "--seed", "3")


def events(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_several_seeds_are_runs_of_their_own(tmp_path):
    data, output = tmp_path / "flowers.csv", tmp_path / "out"
    flowers(data)
    whole = (data, *OPTIONS, "--seeds", 2, "--output", output, "--json")
    *runs, last = events(tune(*whole))
    assert [run["seed"] for run in runs] == [3, 4]
    losses = [result_of(output / f"seed_{seed}")["test_loss"] for seed in (3, 4)]
    assert [run["test_loss"] for run in runs] == losses and losses[0] != losses[1]
    assert last["mean"]["test_loss"] == pytest.approx(sum(losses) / 2)
    assert last["sd"]["test_loss"] == pytest.approx(abs(losses[0] - losses[1]) / 2**0.5)
    # Each is what it is by itself.
    tune(data, *OPTIONS, "--output", tmp_path / "alone")
    assert result_of(tmp_path / "alone")["test_loss"] == losses[0]


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """Runs that are not made, with what they were asked; those of seed 1 fail at first."""
    asked = []

    def tune_dataset(given, call):
        asked.append(given["seed"])
        failed = given["seed"] == 1 and asked.count(1) == 1
        call.output.mkdir(exist_ok=True)
        found = {"test_loss": 1.0 + given["seed"], "ended_because": "so", "failed": failed}
        (call.output / "result.json").write_text(json.dumps(found))
        return int(failed)

    monkeypatch.setattr(_seeds, "tune_dataset", tune_dataset)
    flowers(tmp_path / "a.csv")
    return asked


def test_what_has_finished_is_not_run_again(pretended, tmp_path):
    command = (tmp_path / "a.csv", "--seeds", 3, "--output", tmp_path / "out")
    done = tune(*command, code=1)
    assert pretended == [0, 1, 2] and "seed 1 has failed: FailedError: so" in done.stdout
    table = tune(*command).stdout.split()
    assert pretended == [0, 1, 2, 1] and {"3.0000", "2.0000", "1.0000"} <= set(table)
    tune(*command[:2], 4, *command[3:])
    assert pretended == [0, 1, 2, 1, 3]
    # Other data, and other settings, are other runs.
    flowers(tmp_path / "a.csv", rows=60)
    tune(*command)
    tune(*command, "--cv", 3)
    assert pretended == [0, 1, 2, 1, 3, 0, 1, 2, 0, 1, 2]
    with sqlite3.connect(tmp_path / "out" / "runs.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (10,)


def test_what_is_faulty_is_said(tmp_path):
    data = tmp_path / "a.csv"
    flowers(data)
    assert "--jobs is for several runs" in refused("tune", data, "--jobs", 2)
    assert "--seeds must be at least 1" in refused("tune", data, "--seeds", 0)
    assert "goes on by itself" in refused("tune", data, "--seeds", 2, "--resume")
    assert "There is no file" in refused("tune", tmp_path / "b.csv", "--seeds", 2)
    (tmp_path / "file").write_text("")
    words = refused("tune", data, "--seeds", 2, "--output", tmp_path / "file")
    assert "Cannot write in" in words
    assert run("tune", "--help").exit_code == 0
