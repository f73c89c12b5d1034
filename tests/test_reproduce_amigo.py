"""The figures of AmIGO: the eigenbasis, closed forms, quick forms."""

import functools
import os
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

import bilevax as bx
from bilevax import reproduce
from bilevax._core.result import Result
from bilevax.problems import quadratic
from bilevax.reproduce.amigo import (
    _adjoint,
    _distilled,
    _eigenbasis,
    _learning,
    _posts,
    _settings,
    _sweep,
    modern,
)
from bilevax.reproduce.amigo._contest import _problems, _runs, _timed
from bilevax.reproduce.amigo._side_by_side import side_by_side

FIGURES = {entry.name: entry for entry in reproduce.figures("amigo")}


@functools.cache
def quick(name):
    return reproduce.run(FIGURES[name], quick=True)[0]


@pytest.mark.parametrize("name", ["1", "2", "3", "coupled"])
def test_quick_forms_pass(name):
    outcome = quick(name)
    assert outcome.checks and not outcome.failed, outcome.checks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1d", "4", "5", "modern"])
def test_quick_forms_on_data_pass(name):
    outcome = quick(name)
    assert outcome.checks and not outcome.failed, outcome.checks


def dense_amigo_cg(q, steps, count):
    """Section 2.1 of the paper in NumPy, on the matrices, with T irrelevant."""
    A_f, A_g, B, c = (np.asarray(m) for m in (q.A_f, q.A_g, q.B_g, q.C_f))
    x, z, gaps = np.zeros(len(A_f)), np.zeros(len(c)), []
    for _ in range(steps):
        r = -(c + A_g @ z)
        p, square = r, r @ r
        for _ in range(count):
            step = square / (p @ A_g @ p)
            z, r = z + step * p, r - step * (A_g @ p)
            p, square = r + (r @ r) / square * p, r @ r
        x = x - (A_f @ x + B.T @ z)
        gaps.append(float(q.gap(x)))
    return np.array(gaps) / float(q.gap(np.zeros_like(x)))


def test_the_eigenbasis_has_the_runs_of_the_matrices():
    dense = quadratic(200, 100, inner_condition=40.0, seed=5)
    basis = _eigenbasis.Eigenbasis.rotated(dense, 40.0)
    found = _sweep.run(basis, [1.0, 40.0, 1e3], "amigo_cg", 1, 4, 12).errors[1]
    assert found == pytest.approx(dense_amigo_cg(dense, 12, 4), rel=1e-8)


def test_drawn_eigenvalues_are_those_of_the_matrices():
    drawn = _eigenbasis.Eigenbasis.of(5, (20, 10))
    rotated = _eigenbasis.Eigenbasis.rotated(
        quadratic(20, 10, inner_condition=9.0, seed=5), 9.0
    )
    assert drawn.a == pytest.approx(np.asarray(rotated.a), rel=1e-12)
    assert drawn.spectrum(50.0) == pytest.approx(np.asarray(rotated.spectrum(50.0)), rel=1e-12)


def test_costs_by_the_papers_count():
    runs = _sweep.cost("amigo_cg", np.array([5, 5]), 3)
    assert runs.tolist() == [10, 20]
    assert _sweep.cost("itd", np.array([5, 5]), 3).tolist() == [16, 32]
    growing = _sweep.cost("aid_gd", np.array([1, 1]), _sweep.GROWING)
    assert growing.tolist() == [4, 4 + 693 + 3]


def distilled_amigo_cg(task, rows, steps, T, N, alpha, gamma, c=0.5):
    """Sections 2.1 and 5.3, transcribed."""
    A, b = rows
    (X, lam), y = (np.asarray(part, float) for part in task.x0), np.zeros(task.y0.shape)
    z, (d, C) = np.zeros_like(y), y.shape
    off = lambda F, labels: soft(F) - np.eye(C)[labels]
    soft = lambda S: np.exp(S) / np.exp(S).sum(1, keepdims=True)
    labels = np.arange(C)
    for _ in range(steps):
        weight = 2 * c / (C * d) * np.exp(lam)[:, None]
        for _ in range(T):
            y = y - alpha * (X.T @ off(X @ y, labels) / C + weight * y)
        f_y, P, R = A.T @ off(A @ y, b) / len(b), soft(X @ y), off(X @ y, labels)
        curve = lambda U, P=P: P * (U - (P * U).sum(1, keepdims=True))
        hvp = lambda v, X=X, w=weight, curve=curve: X.T @ curve(X @ v) / C + w * v
        r = -(f_y + hvp(z))
        p, square = r, (r**2).sum()
        for _ in range(N):
            step = square / (p * hvp(p)).sum()
            z, r = z + step * p, r - step * hvp(p)
            p, square = r + (r**2).sum() / square * p, (r**2).sum()
        of_rows = (R @ z.T + curve(X @ z) @ y.T) / C
        X, lam = X - gamma * of_rows, lam - gamma * (weight * y * z).sum(1)
    return X, lam, y


def test_distillation_is_its_transcription():
    random = np.random.default_rng(0)
    rows = random.standard_normal((12, 5)), np.arange(12) % 3
    task = bx.problems.distillation(rows, seed=2)
    algorithm = bx.algorithms.amigo_cg(
        outer_step_size=0.5, inner_step_size=0.3, inner_steps=4, adjoint_steps=3
    )
    solution = bx.minimize(task.problem, algorithm, task.x0, task.y0, num_steps=3)
    X, lam, y = distilled_amigo_cg(task, rows, 3, 4, 3, 0.3, 0.5)
    assert np.asarray(solution.x.rows) == pytest.approx(X, abs=1e-10)
    assert np.asarray(solution.x.penalties) == pytest.approx(lam, abs=1e-10)
    assert np.asarray(solution.y) == pytest.approx(y, abs=1e-10)
    with pytest.raises(ValueError, match="strength"):
        bx.problems.distillation(rows, strength=0)


def test_the_first_condition_number_is_that_of_the_dense_hessian():
    random = np.random.default_rng(1)
    rows = random.standard_normal((9, 6)).astype("float32"), np.arange(9) % 3
    images = _distilled.Images(rows, rows, (2, 3))
    task = bx.problems.distillation(rows, seed=4)
    size = task.y0.size
    flat = lambda y: task.problem.inner(task.x0, y.reshape(task.y0.shape))
    values = np.linalg.eigvalsh(np.asarray(jax.hessian(flat)(np.zeros(size))))
    found = _distilled.first_condition(images, 4)
    assert found == pytest.approx(values[-1] / values[0], rel=1e-6)


def test_the_reference_adjoint_is_that_of_the_problem():
    """By automatic differentiation of the problem's own objectives, on dense rows."""
    rows = _posts.posts(None, quick=True, seed=0)
    dense = [(X[:40].toarray(), b[:40]) for X, b in rows[:3]]
    few = _posts.Posts(*((scipy.sparse.csr_matrix(X), b) for X, b in dense), 1.0)
    problem = bx.problems.penalised_logistic(*dense[:2]).problem
    random = np.random.default_rng(2)
    x, (y, z) = random.standard_normal(64), random.standard_normal((2, 64, 10))
    found = _adjoint.Adjoint.at(few, x, y)
    slope = lambda x, y: jax.grad(problem.inner, 1)(x, y, dense[0])
    cross, product = jax.grad(lambda x, y: jnp.sum(slope(x, y) * z), (0, 1))(x, y)
    assert found.product(z) == pytest.approx(np.asarray(product), abs=1e-12)
    assert found.gradient(z) == pytest.approx(np.asarray(cross), abs=1e-12)
    of_y = jax.grad(problem.outer, 1)(x, y, dense[1])
    assert found.rhs == pytest.approx(-np.asarray(of_y), abs=1e-12)
    solved = found.conjugate_gradient(3000, tol=1e-10)
    assert np.linalg.norm(found.product(solved) - found.rhs) < 1e-9
    near = found.descent(10, 1.0)
    assert found.distance(solved, found.gradient(solved)) == 0
    assert 0 < found.distance(near, found.gradient(solved)) < 1


def test_a_run_that_fails_keeps_what_it_had_and_says_why():
    """It takes records back, and its readings of the time with them."""
    hasty = _posts.posts(None, quick=True, seed=0)._replace(step_size=1e4)
    with pytest.warns(UserWarning, match="no finite number"):
        found = _learning.learn(_learning.Job(hasty, "itd", 50, 60, 0))
    assert found.failure and not found.cut
    steps, seconds = found.history["step"], found.history["seconds"]
    assert len(seconds) == len(steps) < 60 and np.all(np.diff(seconds) >= 0)
    assert found.at(60, "loss") == np.inf and np.isnan(found.at(60, "accuracy"))
    assert np.all(np.isfinite(found.history["loss"]))
    whole = _learning.Learned({"step": np.arange(60)}, False)
    assert _learning.common_step([found, whole]) == 59
    assert _learning.common_step([found]) == found.last == steps[-1]


@pytest.mark.slow
def test_runs_in_processes_of_their_own_are_those_of_this_one():
    """And the environment of the present one is as before."""
    rows, before = _posts.posts(None, quick=True, seed=0), dict(os.environ)
    run = lambda name: functools.partial(_learning.learn, _learning.Job(rows, name, 50, 30, 0))
    tasks = {name: run(name) for name in ("amigo_cg", "aid_fp")}
    here, there = (side_by_side(tasks, processes) for processes in (1, 2))
    assert dict(os.environ) == before and list(here) == list(there) == list(tasks)
    for name in tasks:
        for what in ("step", "rows", "calls", "loss", "accuracy", "test accuracy"):
            some, other = (of[name].history[what] for of in (here, there))
            np.testing.assert_allclose(some, other, rtol=1e-5, err_msg=f"{name}, {what}")


def test_the_grid_keeps_the_least_loss_and_never_what_diverged():
    def run(*losses):
        history = {"step": np.arange(len(losses)), "loss": np.array(losses)}
        history |= {name: np.zeros(len(losses)) for name in ("accuracy", "test accuracy")}
        return _learning.Learned(history, False)

    job = functools.partial(_learning.Job, rows=None, batch_size=8, steps=2, seed=0)
    tried = _settings.jobs(job, ("itd", "amigo_cg"), complete=True, budget=1.0)
    assert len(tried) == 2 + 4 and all(one.budget == np.inf for one in tried.values())
    first, second, third = run(3.0, 2.0), run(1.0, np.nan), run(3.0, 1.0)
    found = dict(zip(tried, (first, third, second, first, second, first), strict=True))
    assert _settings.best(found) == {"itd": third, "amigo_cg": first}
    table = _settings.table(tried, found)
    assert table["inner_steps"].tolist() == ["10", "20", "10", "10", "20", "20"]
    assert table["adjoint_steps"].tolist() == ["-", "-", "5", "10", "5", "10"]
    within = _settings.jobs(job, ("itd", "amigo_cg"), complete=False, budget=1.0)
    assert [(one.budget, one.options) for one in within.values()] == [(1.0, {})] * 2
    assert len(_settings.choices("amigo_gd")) == 8 and len(_settings.choices("aid_cg")) == 4


# How far each method is from l* at its best step, and that step.
FAKE = {"soba": (0.1, 1.0), "amigo_gd": (0.3, 0.01), "vrbo": (0.2, 0.1)}


def fake_run(calls):
    """Values that are least at a method's best step, and fall with the seconds."""

    def one(problem, method, step, seconds, points, seed, *, data, quick):
        calls.append((method, step, seconds, seed))
        off, best = FAKE[method]
        if step > best:
            return {name: [] for name in ("seconds", "rows", "steps", "values")}
        last = (1 + off + (seed == 4) / 100 + np.log10(best / step)) * (1 + 1 / seconds)
        values = [last * 2**i for i in reversed(range(points))]
        times = [seconds / 2**i for i in reversed(range(points))]
        return {"seconds": times, "rows": times, "steps": times, "values": values}

    return one


def test_the_comparison_tunes_reports_two_seeds_and_makes_no_run_twice(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(_runs, "one", fake_run(calls))
    plan = _runs.Plan(
        ("pixels",), tuple(FAKE), (0.01, 0.1, 1.0), 2.0, 3, 3, tmp_path / "runs.db", None, True
    )
    found = _runs.compared(plan, "pixels")
    assert found.steps == {method: best for method, (_, best) in FAKE.items()}
    assert set(found.runs) == {(method, seed) for method in FAKE for seed in (4, 5)}
    assert _runs.ranked(found.runs) == ["soba", "vrbo", "amigo_gd"]
    # Ten times as long, by the two best, on the first reported seed.
    assert calls[-2:] == [("soba", 1.0, 20.0, 4), ("vrbo", 0.1, 20.0, 4)]
    assert found.least == pytest.approx(1.11 * 1.05)
    assert len(calls) == 9 + 6 + 2
    assert _runs.compared(plan, "pixels") == found and len(calls) == 17
    # What fails before its first look is worse than anything.
    assert _runs.end(found.runs["soba", 4] | {"values": []}) == np.inf


def test_the_quick_comparison_is_drawn_and_says_where_its_grid_ends(monkeypatch, tmp_path):
    monkeypatch.setattr(_runs, "one", fake_run([]))
    outcome = modern.make(quick=True, folder=tmp_path, seconds=1.0)
    assert {check.verdict for check in outcome.checks} == {"REPORTED"}
    assert outcome.table["method"].tolist() == ["AmIGO-GD", "SOBA"]
    assert outcome.notes == ["Tuned to an end of the grid: SOBA (pixels), AmIGO-GD (pixels)."]
    values = outcome.columns["values"]
    assert outcome.columns["suboptimality"] == pytest.approx(values - values.min())
    first = outcome.figure.axes[0]
    # Two seeds a method, and one entry of the legend for both.
    assert len(first.lines) == 4 and len(first.get_legend_handles_labels()[1]) == 2
    assert (tmp_path / "contest.db").exists()


def test_runs_of_the_comparison_that_fail_on_the_way_are_named(monkeypatch, tmp_path):
    whole = fake_run([])

    def one(problem, method, step, seconds, points, seed, **more):
        found = whole(problem, method, step, seconds, points, seed, **more)
        fails = points > 1 and (method, seed) == ("soba", 2)
        return {name: numbers[:1] if fails else numbers for name, numbers in found.items()}

    monkeypatch.setattr(_runs, "one", one)
    outcome = modern.make(quick=True, folder=tmp_path, seconds=1.0)
    assert any("SOBA (pixels, seed 2, after step 0.5)" in note for note in outcome.notes)
    first = outcome.figure.axes[0]
    assert [line.get_marker() for line in first.lines].count("x") == 1


def test_a_timed_run_is_looked_at_as_its_seconds_double(monkeypatch):
    """A step takes a hundredth of a second, half of that after a while, and may fail."""

    def runs(fails_at):
        def part(contest, algorithm, state, steps):
            pace = 0.01 if state < 100 else 0.005
            failed = state + steps >= fails_at
            result = Result.outer_nonfinite if failed else Result.successful
            told = types.SimpleNamespace(state=state + steps, result=result)
            return steps * pace, told

        monkeypatch.setattr(_timed, "initial_state", lambda *args, **more: 0)
        monkeypatch.setattr(_timed, "_part", part)
        contest = _problems.Contest(None, None, None, 1.0, 1.0, 0.0, None)
        algorithm = bx.algorithms.amigo_gd(outer_step_size=1.0)
        return list(_timed.timed(contest, algorithm, 4.0, 4, 0))

    seen = runs(np.inf)
    assert [one.seconds for one in seen] == pytest.approx([0.5, 1, 2, 4], rel=0.02)
    assert [one.solution.state for one in seen] == pytest.approx([50, 100, 300, 700], rel=0.02)
    assert [round(one.seconds, 1) for one in runs(120)] == [0.5, 1.0]


@pytest.mark.slow
def test_the_value_function_of_the_comparison_is_that_of_scipy():
    with jax.enable_x64(False):
        found = _problems.contest("pixels", None, True)
        (A, b), (V, c) = (
            tuple(np.asarray(part, float) for part in data)
            for data in (found.problem.inner_data, found.problem.outer_data)
        )
        x, start = np.asarray(found.x, float), np.zeros(found.y0.shape)
    weight = 0.5 / start.size * np.exp(x)[:, None]

    def loss(rows, labels, y):
        scores = rows @ y
        chosen = scores[np.arange(len(labels)), labels.astype(int)]
        return np.mean(scipy.special.logsumexp(scores, axis=1) - chosen)

    def objective(flat):
        y = flat.reshape(start.shape)
        off = scipy.special.softmax(A @ y, axis=1) - np.eye(y.shape[1])[b.astype(int)]
        slope = A.T @ off / len(b) + 2 * weight * y
        return loss(A, b, y) + np.sum(weight * y**2), slope.ravel()

    options = {"maxiter": 5000, "gtol": 1e-8, "ftol": 1e-15}
    end = scipy.optimize.minimize(
        objective, start.ravel(), jac=True, method="L-BFGS-B", options=options
    )
    assert found.value == pytest.approx(loss(V, c, end.x.reshape(start.shape)), rel=1e-3)
