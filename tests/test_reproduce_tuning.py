"""The adaptive estimators beside scikit-learn's: rows, baseline, rules, and what is kept."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import train_test_split
from typer.testing import CliRunner

from bilevax._core import records
from bilevax.cli._app import app
from bilevax.reproduce import _outcome
from bilevax.reproduce.tuning import _baseline, _comparison, _kept, _rules, _runs, _sets, change
from bilevax.reproduce.tuning._comparison import Comparison
from bilevax.reproduce.tuning._parts import parts
from bilevax.reproduce.tuning._summary import Summary, summary
from bilevax.sklearn import _usual

SMALL = [name for name in _sets.SETS if name not in ("mnist", "newsgroups")]


@pytest.mark.parametrize("name", SMALL)
def test_rows_are_drawn_and_scaled_as_they_should_be(name):
    data, seed = _sets.SETS[name], 3
    features, targets = table = data.load(None)
    (learn, answers), (test, _), folds = found = parts(data, table, seed)
    sizes = {"train_size": 900} if name == "digits" else {"test_size": 0.3}
    labels = targets if data.classes else None
    pool, others = train_test_split(
        np.arange(len(targets)), stratify=labels, random_state=1000 + seed, **sizes
    )
    assert len(learn) == len(pool) and len(test) == len(others)
    assert np.mean(learn**2) == pytest.approx(1)
    if data.classes:
        assert np.array_equal(answers, targets[pool])
        least = lambda rows: np.bincount(answers[rows]).min()
        assert all(least(held) >= 0.7 * least(slice(None)) / 5 for _, held in folds)
    else:
        assert np.mean(answers) == pytest.approx(0) and np.std(answers) == pytest.approx(1)
        assert np.corrcoef(answers, targets[pool])[0, 1] == pytest.approx(1)
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(len(pool)))
    means, spreads = learn.mean(axis=0), learn.std(axis=0)
    assert means == pytest.approx(np.zeros(learn.shape[1]), abs=1e-12)
    if name == "digits":
        assert np.ptp(spreads) > 1
        assert np.corrcoef(learn[:, 20], features[pool, 20])[0, 1] == pytest.approx(1)
    else:
        assert spreads == pytest.approx(np.ones(learn.shape[1]))
    # Nothing is measured on the test rows.
    moved = features.copy()
    moved[others] = 100 - 7 * moved[others]
    again = parts(data, (moved, targets), seed)
    assert np.array_equal(again.train[0], learn)
    assert not np.allclose(again.test[0], test)
    assert not np.array_equal(parts(data, table, seed + 1).train[1], found.train[1])


def test_products_and_copies():
    features, targets = _sets.SETS["diabetes"].load(None)
    rows = np.arange(len(targets))
    made = _sets.with_products(features, rows)
    assert made.shape[1] == 10 + 55
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    product = z[:, 2] * z[:, 8]
    assert made[:, 10 + 10 + 9 + 6] == pytest.approx((product - product.mean()) / product.std())
    copies, _ = _sets.SETS["copies"].load(None)
    assert copies.shape == (442, 210) and np.array_equal(copies[:, :10], features)
    ordered = {tuple(column) for column in np.sort(features, axis=0).T}
    for column in copies[:, 10:].T:
        assert tuple(np.sort(column)) in ordered
        assert all(abs(np.corrcoef(column, feature)[0, 1]) < 0.25 for feature in features.T)


def test_images_are_averaged_and_words_are_those_of_most_posts(monkeypatch):
    random = np.random.default_rng(1)
    images, labels = random.random((8100, 784), np.float32), random.integers(0, 10, 8100)
    monkeypatch.setattr(_sets, "fetch_mnist", lambda **options: (images, labels))
    small, found = _sets.SETS["mnist"].load(None)
    drawn = np.random.default_rng(0).permutation(8100)[:8000]
    image = images[drawn[5]].reshape(28, 28)
    assert small.shape == (8000, 196) and found[5] == labels[drawn[5]]
    assert small[5, 14 + 3] == pytest.approx(image[2:4, 6:8].mean())

    counts = random.poisson(0.5, (60, 600)).astype(float)
    groups = np.tile([1, 7, 14, 18, 2], 12)
    # Often within few posts; in most posts; and in most posts of other groups.
    counts[:, 0], counts[:2, 0], counts[:, 1], counts[:, 2] = 0, 1000, 1, groups == 2

    def fetch(**options):
        assert options["subset"] == "all" and options["normalize"] is False
        return scipy.sparse.csr_matrix(counts), groups

    monkeypatch.setattr(_sets, "fetch_20newsgroups", fetch)
    words, targets = _sets.SETS["newsgroups"].load(None)
    assert words.shape == (48, 500) and set(targets) == {1, 7, 14, 18}
    assert np.array_equal(words[:, 0], np.ones(48))
    kept = {tuple(column) for column in words.T}
    posts = (counts[groups != 2] > 0).sum(axis=0)
    left_out = [i for i in range(600) if tuple(counts[groups != 2, i]) not in kept]
    assert {0, 2} <= {*left_out} and len(left_out) == 100
    assert posts[left_out].max() <= np.sort(posts)[-500]


def criterion(weights, intercept, features, targets, penalty):
    """The gradient of the summed log loss and the penalty, over the number of rows."""
    scores = features @ weights.T + intercept
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    off = odds / odds.sum(axis=1, keepdims=True) - np.eye(len(weights))[targets]
    return np.abs(features.T @ off + penalty * weights.T).max() / len(targets)


def test_the_baseline_is_the_minimum_of_its_criterion():
    """Where the default settings stop early: nearly separable classes, little penalty."""
    data = _sets.SETS["wine"]
    made = parts(data, data.load(None), 1)
    features, targets = made.train
    model, early = (_baseline.shared_logistic(made, converged=c) for c in (True, False))
    chosen = _usual.penalty(model)
    assert criterion(model.coef_, model.intercept_, *made.train, chosen) < 1e-9
    at = _usual.penalty(early)
    assert criterion(early.coef_, early.intercept_, *made.train, at) > 1e-6 and at != chosen
    losses = []
    for penalty in _usual.CLASS_GRID:
        one = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-10)
        of_fold = [
            log_loss(targets[b], one.fit(features[a], targets[a]).predict_proba(features[b]))
            for a, b in made.folds
        ]
        losses.append(np.mean(of_fold))
    assert chosen == pytest.approx(_usual.CLASS_GRID[np.argmin(losses)])


def test_the_ridge_baseline_by_dense_algebra():
    data = _sets.SETS["diabetes"]
    made = parts(data, data.load(None), 0)
    features, targets = made.train

    def fitted(rows, penalty):
        X, y = features[rows], targets[rows]
        centre, level = X.mean(axis=0), y.mean()
        gram = (X - centre).T @ (X - centre) + penalty * np.eye(X.shape[1])
        weights = np.linalg.solve(gram, (X - centre).T @ (y - level))
        return lambda A: (A - centre) @ weights + level

    losses = [
        np.mean([np.mean((fitted(a, p)(features[b]) - targets[b]) ** 2) for a, b in made.folds])
        for p in _usual.NUMBER_GRID
    ]
    model = _baseline.shared_ridge(made)
    best = _usual.NUMBER_GRID[np.argmin(losses)]
    assert _usual.penalty(model) == pytest.approx(best)
    expected = fitted(slice(None), best)(made.test[0])
    assert model.predict(made.test[0]) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "diabetes"])
def test_losses_and_scores(name):
    data = _sets.SETS[name]
    made = parts(data, data.load(None), 0)
    model = LogisticRegression() if data.classes else Ridge()
    found = _comparison._tested(lambda made: model.fit(*made.train), made)
    features, targets = made.test
    if data.classes:
        said = found.model.predict_proba(features)
        loss, score = log_loss(targets, said), accuracy_score(targets, said.argmax(axis=1))
    else:
        said = found.model.predict(features)
        loss, score = np.mean((said - targets) ** 2) / 2, r2_score(targets, said)
    assert found.predictions == pytest.approx(said, abs=1e-12)
    assert (found.loss, found.score) == pytest.approx((loss, score))


def made_up(name, changes, family="theta", **more):
    return [
        Comparison(name, i, 0.5, float(0.5 * np.exp(c)), c, family=family, **more)
        for i, c in enumerate(changes)
    ]


def test_a_summary():
    changes = [-0.03, -0.01, 0.01, -0.02]
    runs = [*made_up("a", changes), Comparison("a", 9, failure="ValueError: no")]
    found = summary("a", runs)
    of_t = scipy.stats.ttest_1samp(changes, 0)
    interval = of_t.confidence_interval(0.95)
    assert (found.seeds, found.failures, found.families) == (4, 1, "theta 4")
    assert found.change == pytest.approx(-0.0125)
    assert found.standard_error == pytest.approx(found.change / of_t.statistic)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert np.isnan(found.difference)
    runs = [*made_up("a", [0.0, 0.1]), *made_up("a", [0.0, 0.0], "shared", difference=3e-6)]
    assert summary("a", runs).difference == 3e-6
    assert summary("a", runs).families == "theta 2, shared 2"


RULES = [
    # Sets without a rule of their own: 1 %, and both 0.2 % and two standard errors.
    ("wine", [0.0, 0.0], "PASS"),
    ("wine", [0.0019, 0.0019], "PASS"),
    ("wine", [0.0021, 0.0021], "FAIL"),
    ("wine", [0.001, 0.011], "PASS"),
    ("wine", [0.005, 0.007], "FAIL"),
    ("wine", [-0.2, 0.2199], "PASS"),
    ("wine", [-0.2, 0.2201], "FAIL"),
    ("wine", [np.nan, -0.1], "FAIL"),
    ("wine", [0.009], "PASS"),
    ("wine", [0.011], "FAIL"),
    # Sets that must gain.
    ("newsgroups", [-0.049, -0.051], "PASS"),
    ("newsgroups", [-0.048, -0.051], "FAIL"),
    ("copies", [-0.2, 0.139], "PASS"),
    ("copies", [-0.029, -0.03], "FAIL"),
    ("products", [-0.0041], "PASS"),
    ("products", [-0.0039], "FAIL"),
    ("products", [0.0, 0.0], "FAIL"),
]


@pytest.mark.parametrize("name, changes, verdict", RULES)
def test_the_rule_of_changes(name, changes, verdict):
    (check,) = _rules.checks(summary(name, made_up(name, changes)))
    assert check.verdict == verdict


def test_the_other_rules():
    same = lambda off: made_up("wine", [0.0, 0.0], "shared", difference=off)
    for off, verdict in ((9e-6, "PASS"), (1.1e-5, "FAIL")):
        assert [c.verdict for c in _rules.checks(summary("wine", same(off)))] == [
            "PASS",
            verdict,
        ]
    broken = [*same(0.0), Comparison("wine", 2, failure="ValueError: no")]
    assert [c.verdict for c in _rules.checks(summary("wine", broken))][-1] == "FAIL"
    assert all(c.verdict == "FAIL" for c in _rules.checks(summary("wine", broken[-1:])))


def test_comparisons_are_kept_and_read_again(tmp_path, monkeypatch):
    run = dataclasses.replace(made_up("wine", [0.1 + 0.2])[0], gain=float("nan"))
    _kept.keep(tmp_path / "runs", run)
    read = _kept.kept(tmp_path / "runs", "wine", 0)
    assert repr(read) == repr(run)
    assert _kept.kept(tmp_path / "runs", "wine", 1) is None
    file = tmp_path / "runs" / "wine_0.json"
    whole = file.read_text()
    other = {"comparison": {"a": 1}}
    of_other_parts = json.dumps(json.loads(whole) | other)
    for broken in (whole[:-40], "[]", json.dumps({"versions": {}} | other), of_other_parts):
        file.write_text(broken)
        assert _kept.kept(tmp_path / "runs", "wine", 0) is None
    file.write_text(whole)
    monkeypatch.setattr(records, "versions", lambda: {"bilevax": "another"})
    assert _kept.kept(tmp_path / "runs", "wine", 0) is None


def test_the_command_goes_on_where_a_set_fails_or_is_missing(tmp_path, monkeypatch):
    """On made-up comparisons: what is recorded, printed and kept."""
    seen = []

    def compare(name, seed, parts, classes):
        seen.append((name, seed))
        assert classes == (name not in ("diabetes", "products", "copies"))
        if (name, seed) == ("digits", 4) and seen.count((name, seed)) == 1:
            raise FloatingPointError("it diverged")
        gains = {"copies": -0.1, "products": -0.01}
        family = "theta" if name in gains else "shared"
        (run,) = made_up(name, [gains.get(name, 0.0)], family, difference=0.0)
        return dataclasses.replace(run, seed=seed)

    monkeypatch.setattr(_runs, "compare", compare)
    empty, home = tmp_path / "empty", tmp_path / "results"
    empty.mkdir()
    monkeypatch.setenv("BILEVAX_DATA", str(empty))
    call = ["reproduce", "tuning", "--seed", "3", "--seeds", "2", "--output", str(home)]
    done = CliRunner(env={"COLUMNS": "160"}).invoke(app, call)
    assert done.exit_code == 1, done.output
    assert "mnist is left out." in done.stderr and "newsgroups is left out." in done.stderr
    assert str(empty) in done.stderr and "Download" in done.stderr
    assert "digits, seed 4, failed. FloatingPointError: it diverged" in done.stderr
    assert len(seen) == 12 and {s for _, s in seen} == {3, 4}
    with open(home / "tuning" / "figure_change_table.csv") as file:
        verdicts = {row["name"]: row["verdict"] for row in csv.DictReader(file)}
    assert verdicts.pop("digits") == "FAIL" and set(verdicts.values()) == {"PASS"}
    assert len(verdicts) == 5
    with open(home / "tuning" / "figure_change.csv") as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 12 and runs[1]["failure"] == "FloatingPointError: it diverged"
    lines = [line for line in done.stdout.splitlines() if "copies" in line]
    assert "theta 2" in lines[0] and "-0.1" in lines[0]
    # What is there is not computed again, and the one that failed is.
    done = CliRunner().invoke(app, [*call, "--resume"])
    assert done.exit_code == 0 and seen[12:] == [("digits", 4)], done.output


def test_damaged_data_fail_their_set(tmp_path, monkeypatch):
    monkeypatch.setattr(_runs, "compare", lambda name, seed, *a: Comparison(name, seed))
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(b"no")
    outcome = change.make(seeds=1, data=tmp_path)
    failed = [c.name for c in outcome.checks if c.verdict == _outcome.FAIL]
    assert "mnist: runs that failed" in failed
    assert any(
        "mnist, seed 0, failed." in note and "checksum" in note for note in outcome.notes
    )


def test_the_picture_has_a_row_a_set():
    runs = [
        *made_up("wine", [0.0, 0.001], "shared"),
        *made_up("copies", [-0.1, -0.08]),
        *made_up("mnist", [-0.01], "free"),
        Comparison("digits", 0, failure="no"),
    ]
    names = ("digits", "wine", "mnist", "copies")
    summaries = [summary(n, [r for r in runs if r.name == n]) for n in names]
    (axes,) = change.picture(summaries, runs).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        _sets.SETS[n].title for n in names
    ]
    assert "[%]" in axes.get_xlabel()
    (seeds,) = [line for line in axes.lines if "theta" in str(line.get_label())]
    assert seeds.get_xdata() == pytest.approx(100 * np.expm1([-0.1, -0.08]))
    assert np.all(seeds.get_ydata() > 3)
    (interval,) = [
        line for line in axes.lines[1:] if np.all(np.asarray(line.get_ydata()) == 3)
    ][:1]
    found = summaries[3]
    assert interval.get_xdata() == pytest.approx(100 * np.expm1([found.low, found.high]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, expected, within", [("newsgroups", 0.593, 6e-4), ("mnist", 0.534, 0.03)]
)
def test_baselines_on_real_data(name, expected, within, real_data):
    """The published losses of (c)."""
    data = _sets.SETS[name]
    table = data.load(real_data)
    found = [
        _comparison._tested(_baseline.shared_logistic, parts(data, table, s)) for s in (0, 1)
    ]
    assert np.mean([f.loss for f in found]) == pytest.approx(expected, abs=within)


def test_a_bound_needs_no_error_of_one_seed():
    assert _rules.bound(Summary("wine", 1, 0)) == 0.01
    assert _rules.bound(Summary("wine", 5, 0, standard_error=0.02)) == 0.01
