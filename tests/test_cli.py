"""The command line on one split, in this process."""

import dataclasses
import inspect
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils import Bunch

import bilevax as bx
from bilevax.cli import _settings, _tables
from bilevax.cli._one_split.scaling import Scaling
from bilevax.datasets._known import KNOWN
from bilevax.problems import cross_entropy
from cli_cases import arrays, flowers, result_of, run
from cli_cases import tune_split as tune

pytestmark = pytest.mark.usefixtures("x32")


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "seconds"}
    return value


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run of the main job, of its default length."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    tune("digits", "--output", folder)
    return folder


@pytest.fixture(scope="module")
def garden(tmp_path_factory):
    """A small table."""
    path = tmp_path_factory.mktemp("garden") / "flowers.csv"
    flowers(path)
    return path


def rows_of(dataset):
    table = _tables.load(_settings.Settings(str(dataset), algorithm="amigo-cg"), None)
    return table, Scaling.of(table, named=True)


def test_digits_validate_better_than_the_best_shared_penalty(digits):
    result = result_of(digits)
    assert result["validation_loss"] < result["baseline"]["validation_loss"]
    assert result["finished"] and result["steps"] == 200
    assert result["baseline"]["fits"] == result["baseline"]["grid"] == 10
    assert result["hyperparameters"] == 65 and result["test_accuracy"] > 0.85
    written = {path.name for path in digits.iterdir()}
    files = {"report.html", "weights.npz", "checkpoint.npz", "history.csv", "penalties.png"}
    assert files <= written
    assert not [name for name in written if name.endswith(".part")]


def test_the_saved_weights_have_the_scores_reported(digits):
    """On features as they came, with nothing but NumPy and scikit-learn's loss."""
    table, _ = rows_of("digits")
    result, model = result_of(digits), arrays(digits / "weights.npz")
    for part in ("validation", "test"):
        features, labels = table.parts[part]
        scores = features @ model["coefficients"] + model["intercept"]
        shares = np.exp(scores - scores.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        assert np.mean(scores.argmax(1) == labels) == pytest.approx(result[f"{part}_accuracy"])
        assert log_loss(labels, shares) == pytest.approx(result[f"{part}_loss"], rel=1e-4)


def test_the_penalties_are_in_the_units_they_are_said_to_be(garden, tmp_path):
    """With them fixed, scikit-learn on rescaled columns finds the same model."""
    tune(garden, "--steps", 2, "--inner-steps", 6000, "--output", tmp_path / "run")
    table, scaling = rows_of(garden)
    (train, labels), (valid, valid_labels), _ = map(scaling.rows, table.parts.values())
    learned = arrays(tmp_path / "run" / "hyperparameters.npz")
    assert learned["names"][-1] == "(intercept)" and len(learned["names"]) == 5
    # The weights belong to the penalties of the step before: take a single step's as given.
    tune(garden, "--steps", 1, "--inner-steps", 6000, "--output", tmp_path / "one")
    penalty = arrays(tmp_path / "one" / "hyperparameters.npz")["penalty"]
    width = 1 / np.sqrt(penalty)
    fit = LogisticRegression(C=1 / len(labels), fit_intercept=False, max_iter=5000, tol=1e-7)
    fit.fit(train * width, labels)
    found = log_loss(valid_labels, fit.predict_proba(valid * width))
    assert result_of(tmp_path / "run")["validation_loss"] == pytest.approx(found, rel=2e-3)


def test_the_baseline_is_scikit_learns(digits):
    """Each point of the grid fitted whole, from zero, to the same default tolerance."""
    table, scaling = rows_of("digits")
    (train, labels), (valid, valid_labels), _ = map(scaling.rows, table.parts.values())
    losses = []
    for C in np.logspace(-4, 4, 10):
        fit = LogisticRegression(C=C, max_iter=2000).fit(train[:, :-1], labels)
        losses.append(log_loss(valid_labels, fit.predict_proba(valid[:, :-1])))
    baseline = result_of(digits)["baseline"]
    assert baseline["validation_loss"] == pytest.approx(min(losses), rel=1e-2)
    best = np.logspace(-4, 4, 10)[np.argmin(losses)]
    assert baseline["penalty"] == pytest.approx(1 / (best * len(labels)))


def test_the_same_seed_gives_the_same_result(garden, tmp_path):
    options = ("--steps", 15, "--batch-size", 20, "--output")
    for name in ("one", "two"):
        tune(garden, *options, tmp_path / name)
    one, two = (without_times(result_of(tmp_path / name)) for name in ("one", "two"))
    assert one == two
    tune(garden, "--seed", 1, *options, tmp_path / "3")
    assert result_of(tmp_path / "3")["validation_loss"] != one["validation_loss"]


@pytest.mark.parametrize("options", [(), ("--batch-size", 20), ("--algorithm", "itd")])
def test_a_run_in_two_parts_is_the_run_in_one(garden, tmp_path, options):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    tune(garden, "--steps", 70, "--output", whole, *options)
    tune(garden, "--steps", 30, "--output", parts, *options)
    # What was said before need not be said again.
    tune("--resume", "--steps", 70, "--output", parts)
    x = [arrays(folder / "hyperparameters.npz")["x"] for folder in (whole, parts)]
    assert x[0].tobytes() == x[1].tobytes()
    ours, theirs = (without_times(result_of(folder)) for folder in (whole, parts))
    assert ours == theirs
    steps = [
        [line.split(",")[0] for line in (folder / "history.csv").read_text().splitlines()]
        for folder in (whole, parts)
    ]
    assert steps[0] == steps[1]


def test_a_finished_run_is_not_lost_by_a_shorter_one(garden, tmp_path):
    folder = tmp_path / "run"
    tune(garden, "--steps", 20, "--output", folder)
    before = (folder / "checkpoint.npz").read_bytes()
    done = tune(garden, "--steps", 10, "--output", folder, code=2)
    assert "--resume" in done.output
    assert (folder / "checkpoint.npz").read_bytes() == before
    tune(garden, "--steps", 20, "--output", folder)


def test_time_given_ends_a_run(garden, tmp_path):
    tune(garden, "--steps", 10**6, "--seconds", 0.01, "--output", tmp_path / "run")
    result = result_of(tmp_path / "run")
    assert result["steps"] < 10**6 and result["ended_because"] == "the time given was over"


def test_machines_get_json(garden, tmp_path):
    done = tune(garden, "--steps", 15, "--output", tmp_path / "run", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["progress"] * 3 + ["result"]
    assert [line["step"] for line in lines[:-1]] == [5, 10, 15]
    assert without_times(lines[-1]) == {
        "event": "result",
        **without_times(result_of(tmp_path / "run")),
    }
    assert done.stderr == ""


def test_the_baselines_penalty_of_two_classes(tmp_path):
    """scikit-learn's C in the units of penalties: both columns of weights are penalised."""
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 3))
    y = (X[:, 0] + random.normal(size=200) > 0).astype(int)
    np.savez(tmp_path / "data.npz", X=X, y=y)
    options = ("--penalty", "shared", "--steps", 1, "--output", tmp_path / "run")
    tune(tmp_path / "data.npz", *options)
    penalty = result_of(tmp_path / "run")["baseline"]["penalty"]
    table = _tables.load(_settings.Settings(str(tmp_path / "data.npz"), algorithm="itd"), None)
    train, labels = Scaling.of(table, named=False).rows(table.train)

    def loss(x, y):
        scores = train[:, :-1] @ y[:-1] + y[-1]
        return cross_entropy(scores, jnp.asarray(labels)) + penalty * jnp.sum(y[:-1] ** 2) / 2

    ours = bx.argmin(loss, jnp.zeros((4, 2)), bx.GradientDescent(0.5, 2000))(0.0)
    grid = np.logspace(-4, 4, 10)
    C = grid[np.argmin(abs(grid - 2 / (penalty * len(labels))))]
    fit = LogisticRegression(C=C, tol=1e-8).fit(train[:, :-1], labels)
    np.testing.assert_allclose(ours[:-1, 1] - ours[:-1, 0], fit.coef_[0], rtol=1e-3)


def test_quiet_is_quiet(garden, tmp_path):
    done = tune(garden, "--steps", 5, "--output", tmp_path / "run", "--quiet")
    assert done.output == ""


# One for each set of steps that a preset takes, which is what the command line looks at.
OF_EACH_KIND = ("aid-cg", "amigo-gd", "ba", "bsa", "itd", "ma-soba", "mrbo")
REST = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in _settings.ALGORITHMS
    if name not in OF_EACH_KIND
]


def test_there_is_one_of_each_kind():
    def kind(name):
        accepted = inspect.signature(getattr(bx.algorithms, name.replace("-", "_"))).parameters
        options = accepted.keys() & {"inner_steps", "adjoint_steps"}
        return {(name, callable(accepted[name].default)) for name in options}

    for name in _settings.ALGORITHMS:
        assert kind(name) in map(kind, OF_EACH_KIND)


@pytest.mark.parametrize("algorithm", [*OF_EACH_KIND, *REST])
def test_every_algorithm_runs(garden, tmp_path, algorithm):
    folder = tmp_path / "run"
    tune(garden, "--algorithm", algorithm, "--steps", 10, "--output", folder)
    result = result_of(folder)
    assert result["algorithm"] == algorithm and result["validation_loss"] < np.log(3)
    assert result["cost"]["total"] > 0


@pytest.mark.parametrize(
    "model, penalty",
    # A logistic model with a penalty per feature is that of `digits`. Others are run by
    # `test_the_baselines_penalty_of_two_classes` and `test_regression_is_ridge_regression`.
    [
        pytest.param("logistic", "per-class", marks=pytest.mark.pictures),
        pytest.param("logistic", "shared", marks=pytest.mark.slow),
        pytest.param("ridge", "per-feature", marks=pytest.mark.slow),
        pytest.param("ridge", "shared", marks=pytest.mark.pictures),
    ],
)
def test_models_and_penalties(tmp_path, request, model, penalty):
    folder = tmp_path / "run"
    options = ("--model", model, "--penalty", penalty, "--steps", 10, "--output", folder)
    # The baseline is the same for all penalties.
    seconds = 120 if penalty == "shared" else 0
    tune("digits", *options, "--baseline-seconds", seconds)
    result = result_of(folder)
    assert (result["baseline"] is None) == (penalty != "shared")
    assert (
        result["hyperparameters"] == {"per-feature": 65, "per-class": 10, "shared": 1}[penalty]
    )
    assert result["test_accuracy"] > 0.85
    if request.node.get_closest_marker("pictures"):
        assert (folder / "penalties.png").exists() == (penalty != "shared")


def test_units_of_a_table_do_not_matter(tmp_path):
    """Features of 1e3 and 1e-3 are learned from alike, and predictions are in words."""
    table, folder = tmp_path / "flowers.csv", tmp_path / "run"
    names = flowers(table)
    tune(table, "--label", "class", "--output", folder)
    assert result_of(folder)["test_accuracy"] == 1.0
    done = run("predict", folder, table)
    assert done.exit_code == 0, done.output
    head, *lines = done.stdout.splitlines()
    assert head == "prediction,probability_iris,probability_lily,probability_rose"
    assert np.mean([line.split(",")[0] for line in lines] == names) > 0.95
    assert run("predict", folder, table, "--output", tmp_path / "p.csv").exit_code == 0
    assert (tmp_path / "p.csv").read_text() == done.stdout


@pytest.mark.pictures
def test_regression_is_ridge_regression(tmp_path):
    """With the learned penalties, the closed form on the same rows gives the same model."""
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 4)) * [1, 10, 100, 1] + 5
    y = X @ [1, 0.1, 0, 0] + 0.1 * random.normal(size=200) + 1e3
    np.savez(tmp_path / "data.npz", X=X, y=y)
    options = ("--model", "ridge", "--inner-steps", 300)
    tune(tmp_path / "data.npz", *options, "--output", tmp_path / "run")
    result = result_of(tmp_path / "run")
    assert result["test_r2"] > 0.98 and result["classes"] is None
    path = str(tmp_path / "data.npz")
    settings = _settings.Settings(path, model="ridge", algorithm="amigo-cg")
    table = _tables.load(settings, None)
    scaling = Scaling.of(table, named=False)
    A, b = scaling.rows(table.train)
    penalty = arrays(tmp_path / "run" / "hyperparameters.npz")["penalty"]
    weights = np.linalg.solve(A.T @ A / len(b) + np.diag(penalty), A.T @ b / len(b))
    coefficients, intercept = scaling.unscaled(weights)
    model = arrays(tmp_path / "run" / "weights.npz")
    np.testing.assert_allclose(model["coefficients"], coefficients, rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(model["intercept"], intercept, rtol=1e-4)
    found = run("predict", tmp_path / "run", tmp_path / "data.npz").stdout.splitlines()[1:]
    assert np.std(np.array(found, float) - y) < 0.2


def test_sparse_files_are_learned_from(tmp_path):
    random = np.random.default_rng(0)
    lines = []
    for i in range(120):
        words = {1 + i % 2: 30.0, 3 + random.integers(20): 1.0}
        pairs = " ".join(f"{k}:{v}" for k, v in sorted(words.items()))
        lines.append(f"{i % 2} {pairs}")
    (tmp_path / "text.svm").write_text("\n".join(lines))
    tune(tmp_path / "text.svm", "--output", tmp_path / "run")
    assert result_of(tmp_path / "run")["test_accuracy"] == 1.0
    done = run("predict", tmp_path / "run", tmp_path / "text.svm")
    assert done.stdout.splitlines()[1].startswith("0,")


def test_files_to_validate_and_test(tmp_path):
    """Of as many rows as the parts of `garden`, whose programs they share."""
    sizes = {"train": 36, "validation": 36, "test": 18}
    for name, rows in sizes.items():
        flowers(tmp_path / f"{name}.csv", rows=rows)
    files = ("--valid", tmp_path / "validation.csv", "--test", tmp_path / "test.csv")
    tune(tmp_path / "train.csv", *files, "--steps", 10, "--output", tmp_path / "run")
    assert result_of(tmp_path / "run")["rows"] == sizes


def test_the_report_stands_alone(digits):
    page = (digits / "report.html").read_text()
    assert "<script" not in page and not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count('<img alt="') == 6 == page.count("data:image/png;base64,")
    result = result_of(digits)
    assert f"{result['validation_loss']:.4f}" in page and "scikit-learn" in page


@pytest.mark.pictures
def test_the_report_does_not_run_what_a_file_contains(tmp_path):
    table, folder = tmp_path / "flowers.csv", tmp_path / "run"
    flowers(table)
    text = table.read_text().replace("iris", "<script>alert(1)</script>").replace("noise", "$x")
    table.write_text(text)
    tune(table, "--label", "class", "--steps", 5, "--output", folder)
    assert "<script" not in (folder / "report.html").read_text()


@pytest.mark.pictures
def test_words_are_listed(tmp_path, monkeypatch):
    """On a few made-up posts in place of 20 Newsgroups."""
    random = np.random.default_rng(0)
    words = [f"<word{i}>" for i in range(60)]

    def fetch(subset="train", data_home=None):
        target = np.arange(80, dtype=np.int32) % 2
        counts = (random.random((80, 60)) < 0.1).astype(np.float32)
        counts[np.arange(80), target] = 1
        features, names = scipy.sparse.csr_matrix(counts), ["cats", "dogs"]
        return Bunch(data=features, target=target, feature_names=words, target_names=names)

    made_up = dataclasses.replace(KNOWN["20newsgroups"], load=fetch)
    monkeypatch.setitem(KNOWN, "20newsgroups", made_up)
    folder = tmp_path / "run"
    tune("20newsgroups", "--steps", 10, "--baseline-seconds", 0, "--output", folder)
    page = (folder / "report.html").read_text()
    kept, penalised = re.findall(r"<h3>Most .*?words</h3><p>(.*?)</p>", page)
    learned = arrays(folder / "hyperparameters.npz")
    order = np.argsort(learned["penalty"][:-1])
    assert kept.startswith(words[order[0]].replace("<", "&lt;").replace(">", "&gt;"))
    assert penalised.startswith(words[order[-1]].replace("<", "&lt;").replace(">", "&gt;"))
    assert result_of(folder)["baseline"] is None and "no baseline" in page


def test_info_names_what_is_there():
    done = run("info")
    assert done.exit_code == 0
    for word in ("bilevax", bx.__version__, "cpu", *KNOWN):
        assert word in done.output
