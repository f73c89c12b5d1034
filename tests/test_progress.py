"""How a run gets on: which records are shown, and what is said of the time left."""

import math

import pytest

import bilevax as bx
from bilevax._run import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(now[0]))
    return now


def seen(clock, moments, **options):
    """What is left after each (second, step) that was shown, of ten steps."""
    shown = []
    report = progress.Reporter(
        lambda row, left: (row["step"], left), shown.append, 10, **options
    )
    for clock[0], step in moments:
        report({"step": step})
    return shown


def test_the_time_left_goes_by_the_pace_since_the_first_record(clock):
    """Which does not count what was compiled before."""
    (first, *later) = seen(clock, [(60, 2), (62, 4), (70, 10)])
    assert first[0] == 2 and math.isnan(first[1])
    assert later == [(4, 6), (10, 0)]


def test_a_limit_of_time_is_the_end_if_it_comes_first(clock):
    assert seen(clock, [(0, 0), (2, 2), (5, 4)], limit=4)[1:] == [(2, 2), (4, 0)]


def test_pauses_are_kept_but_for_the_last_record(clock):
    moments = [(0, 1), (4, 2), (5, 3), (6, 4), (7, 10)]
    assert [step for step, _ in seen(clock, moments, pause=5)] == [1, 3, 10]


def test_minimize_shows_records_if_asked(capsys):
    problem = bx.MinProblem(lambda x, y: (y - x) ** 2 + y**2)
    algorithm = bx.algorithms.amigo_cg(outer_step_size=0.5)
    bx.minimize(problem, algorithm, 1.0, 1.0, num_steps=3)
    assert capsys.readouterr().err == ""
    bx.minimize(problem, algorithm, 1.0, 1.0, num_steps=3, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 1  value 0.5 ") and lines[-1].startswith("step 3  value ")
    assert lines[-1].endswith(" s left")
