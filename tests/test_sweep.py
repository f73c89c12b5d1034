"""Sweeps: each setting is run once, whatever happens, and kept."""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import threading
import time

import distributed
import jax.numpy as jnp
import joblib
import pytest

import bilevax as bx
from killed_sweeps import work

GRID = {"a": [1, 2, 3], "seed": [0, 7]}


class Counted:
    """A function that says in a file how often it was called."""

    def __init__(self, folder):
        self.log = os.fspath(folder / "log")

    def __call__(self, a, seed):
        with open(self.log, "a") as file:
            file.write(f"{a} {seed}\n")
        if a == 2 and seed == 7:
            raise ArithmeticError("two and seven")
        return {"product": a * seed}

    @property
    def calls(self):
        with open(self.log) as file:
            return file.read().splitlines()


@pytest.fixture
def store(tmp_path):
    return tmp_path / "kept" / "runs.db"


def test_each_setting_is_run_once_and_failures_have_their_reason(tmp_path, store):
    function = Counted(tmp_path)
    runs = bx.sweep(function, GRID, store=store, name="counted")
    assert [run.settings for run in runs] == [
        {"a": a, "seed": s} for a in (1, 2, 3) for s in (0, 7)
    ]
    assert [run.metrics.get("product") for run in runs] == [0, 7, 0, None, 0, 21]
    assert runs[3].status == "failed" and runs[3].reason == "ArithmeticError: two and seven"
    assert [run.seed for run in runs] == [0, 7] * 3 and all(run.seconds > 0 for run in runs)
    assert len(function.calls) == 6
    # Again, with one more, in another order of names: that one is run and no other.
    more = [{"seed": 9, "a": 1}, {"seed": 7, "a": 3}, {"seed": 7, "a": 2}]
    again = bx.sweep(function, more, store=store, name="counted")
    assert [run.metrics.get("product") for run in again] == [9, 21, None]
    assert len(function.calls) == 7
    assert (
        bx.sweep(function, more, store=store, name="counted", retry=True)[2].status == "failed"
    )
    assert len(function.calls) == 8
    assert bx.sweep(function, more[:1], store=store, name="another")[0].metrics == {
        "product": 9
    }
    assert len(function.calls) == 9
    with sqlite3.connect(store) as connection:
        (versions,) = connection.execute("SELECT DISTINCT versions FROM runs").fetchall()
    assert bx.__version__ in versions[0]


def test_a_solution_is_kept_with_cost_and_result(store):
    problem = bx.MinProblem(lambda x, y: (y - x) ** 2 + y**2)

    def run(step):
        algorithm = bx.algorithms.amigo_gd(
            outer_step_size=step,
            inner_step_size=0.2,
            inner_steps=2,
            adjoint_step_size=0.2,
            adjoint_steps=2,
        )
        return bx.minimize(
            problem, algorithm, jnp.ones(()), jnp.zeros(()), num_steps=3, tol=1e-9
        )

    (kept,) = bx.sweep(run, {"step": [0.1]}, store=store)
    solution = run(0.1)
    assert kept.result == bx.Result[bx.Result.max_steps_reached]
    assert kept.cost["total"] == solution.cost.total and kept.cost["hvp"] == solution.cost.hvp
    assert kept.metrics["value"] == pytest.approx(float(solution.history["value"][-1]))
    assert kept.metrics["step"] == 3


def test_a_recorded_run_costs_little(store):
    grid = {"a": list(range(100))}
    began, used = time.perf_counter(), time.process_time()
    bx.sweep(lambda a: a, grid, store=store, name="same")
    # Beside its own work, of which it has none; a disk is waited for far longer.
    assert (time.process_time() - used) / 100 < 0.005
    assert (time.perf_counter() - began) / 100 < 0.02
    assert os.listdir(store.parent) == [store.name]


SLEEPY = """
import sys, time
import bilevax as bx

def work(a, seed):
    time.sleep(0.02)
    open(sys.argv[2], "a").write(f"{a} {seed}\\n")
    return {"sum": a + seed}

bx.sweep(work, {"a": list(range(10)), "seed": list(range(4))}, store=sys.argv[1], name="work")
"""


def test_a_killed_sweep_goes_on_and_two_processes_share_a_store(tmp_path, store):
    script, log = tmp_path / "sleepy.py", tmp_path / "log"
    script.write_text(SLEEPY)
    start = lambda: subprocess.Popen([sys.executable, script, store, log])
    first = start()
    while not log.exists() or len(log.read_text().splitlines()) < 5:
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    both = start(), start()
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    ran = lambda a, seed: pytest.fail("it had been run")
    grid = {"a": list(range(10)), "seed": list(range(4))}
    runs = bx.sweep(ran, grid, store=store, name="work")
    assert all(run.metrics == {"sum": run.settings["a"] + run.settings["seed"]} for run in runs)
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (40,)


def test_a_sweep_killed_ten_times_equals_one_that_ran_through(tmp_path, store):
    script = pathlib.Path(__file__).with_name("killed_sweeps.py")
    told = subprocess.run(
        [sys.executable, script, store, "10"], capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, told.stderr[-2000:]
    kept = json.loads(told.stdout.splitlines()[-1])
    # It went on each time, and was killed before it was done.
    assert len(kept) == 10 and kept == sorted(kept) and len(set(kept)) > 5, kept
    assert 5 <= kept[-1] < 100, kept
    grid = {"a": list(range(25)), "seed": list(range(4))}
    names = "settings", "status", "reason", "result", "seed", "cost", "metrics"
    told = lambda runs: [[getattr(run, name) for name in names] for run in runs]
    ran = lambda a, seed: pytest.fail("it had been run")
    through = bx.sweep(work, grid, store=tmp_path / "through.db", name="work")
    assert told(bx.sweep(ran, grid, store=store, name="work")) == told(through)
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (100,)


class FullDisk(sqlite3.Connection):
    """A connection to a file on a disk without room for a third run."""

    written = 0

    def execute(self, sql, *arguments):
        if sql.startswith("INSERT"):
            FullDisk.written += 1
            if FullDisk.written > 2:
                raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *arguments)


def test_a_full_disk_is_said_and_loses_nothing(tmp_path, store, monkeypatch):
    function, connect = Counted(tmp_path), sqlite3.connect
    full = lambda *args, **options: connect(*args, **options, factory=FullDisk)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", full)
        with pytest.raises(sqlite3.OperationalError, match="disk is full") as caught:
            bx.sweep(function, GRID, store=store, name="counted")
    assert len(caught.value.__notes__) == 1 and str(store) in caught.value.__notes__[0]
    assert len(function.calls) == 3
    runs = bx.sweep(function, GRID, store=store, name="counted")
    assert [run.metrics.get("product") for run in runs] == [0, 7, 0, None, 0, 21]
    # The third is run again, the first two are not.
    assert len(function.calls) == 7


def test_runs_go_where_joblib_is_told_to_send_them(tmp_path, store):
    function = Counted(tmp_path)
    with joblib.parallel_config(backend="threading"):
        runs = bx.sweep(function, GRID, store=store, name="counted", jobs=2)
    assert [run.metrics.get("product") for run in runs] == [0, 7, 0, None, 0, 21]


def test_dask_takes_the_runs(tmp_path, store):
    function = Counted(tmp_path)
    with (
        distributed.Client(processes=False, dashboard_address=None),
        joblib.parallel_config(backend="dask"),
    ):
        runs = bx.sweep(function, GRID, store=store, name="counted", jobs=-1)
    assert [run.metrics.get("product") for run in runs] == [0, 7, 0, None, 0, 21]
    assert len(function.calls) == 6


def test_several_processes_take_the_runs(tmp_path, store):
    function = Counted(tmp_path)
    runs = bx.sweep(function, GRID, store=store, name="counted", jobs=2)
    assert [run.metrics.get("product") for run in runs] == [0, 7, 0, None, 0, 21]
    assert sorted(function.calls) == sorted(f"{a} {s}" for a in (1, 2, 3) for s in (0, 7))


def test_what_cannot_be_sent_is_said_before_any_work(store):
    lock = threading.Lock()

    def locked(a):
        with lock:
            return a

    with pytest.raises(TypeError, match="cannot be sent to other processes"):
        bx.sweep(locked, {"a": [1]}, store=store, jobs=2, name="locked")
    assert not store.exists()


def test_other_files_are_refused_and_left_as_they_are(tmp_path):
    text, other, newer = tmp_path / "a.txt", tmp_path / "other.db", tmp_path / "newer.db"
    text.write_text("not a database, and longer than the header of one: " + 100 * "x")
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (a)")
    bx.sweep(lambda a: a, {"a": [1]}, store=newer, name="same")
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    for path, words in ((text, "no store"), (other, "no store"), (newer, "version 99")):
        before = path.read_bytes()
        with pytest.raises(ValueError, match=words):
            bx.sweep(lambda a: a, {"a": [1]}, store=path, name="same")
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("grid", "options", "error", "words"),
    [
        ({"a": [object()]}, {}, TypeError, "not JSON serializable"),
        ([1, 2], {}, TypeError, "dict of keyword arguments"),
        ({"a": [1]}, {"jobs": 0}, ValueError, "jobs must be at least 1"),
        ({"a": [1]}, {"name": None}, ValueError, "needs name="),
    ],
)
def test_what_is_faulty_is_named(store, grid, options, error, words):
    with pytest.raises(error, match=words):
        bx.sweep(lambda a: a, grid, **{"store": store, "name": "same"} | options)
    assert not store.exists()
