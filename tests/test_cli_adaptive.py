"""The command line as it is by default: folds, and scikit-learn's estimator beside it."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bilevax.cli import _settings, _tables
from bilevax.cli._adaptive import keeper, pool
from bilevax.cli._alarm import alarm
from cli_cases import arrays, flowers, refused, result_of, run, table, tune

# Few steps are enough for all but the gain; the second family then has the first's program.
SHORT = ("--steps", 8, "--baseline-seconds", 0)


def rows_with_few_that_matter(path, rows=100, features=20, few=2):
    random = np.random.default_rng(0)
    X = random.normal(size=(rows, features))
    y = X[:, :few] @ np.array([1, -1])[:few] + 0.5 * random.normal(size=rows)
    names = [f"x{i}" for i in range(features)]
    lines = (",".join(map(repr, row)) for row in np.column_stack([X, y]).tolist())
    return table(path, *lines, head=",".join([*names, "label"]))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return rows_with_few_that_matter(tmp_path_factory.mktemp("data") / "few.csv")


@pytest.fixture(scope="module")
def gained(data, tmp_path_factory):
    """A run with a gain, all defaults."""
    folder = tmp_path_factory.mktemp("gained") / "run"
    done = tune(data, "--model", "ridge", "--output", folder)
    return folder, done


@pytest.fixture(scope="module")
def short(data, tmp_path_factory):
    """A run of a few steps."""
    folder = tmp_path_factory.mktemp("short") / "run"
    tune(data, "--model", "ridge", *SHORT, "--output", folder)
    return folder


@pytest.fixture(scope="module")
def garden(tmp_path_factory):
    path = tmp_path_factory.mktemp("garden") / "flowers.csv"
    flowers(path)
    return path


def test_a_gain_is_said_with_its_interval(gained):
    folder, done = gained
    result = result_of(folder)
    said = " ".join(done.stdout.split())
    assert result["family"] in ("theta", "free") and result["hyperparameters"] == 20
    low, high = result["gain"]["interval"]
    assert low < result["gain"]["difference"] < high < 0
    assert "lower the loss by" in said and "95 %, approximately" in said
    assert result["test_loss"] < result["baseline"]["test_loss"]
    assert "the loss" in said and "against" in said


def test_the_saved_model_has_the_scores_reported(gained, data):
    """With nothing but NumPy, on features as they came."""
    folder, _ = gained
    settings = _settings.Settings(str(data), model="ridge")
    features, targets = _tables.load(settings, None).test
    result, model = result_of(folder), arrays(folder / "weights.npz")
    found = (features @ model["coefficients"] + model["intercept"])[:, 0]
    assert np.mean((found - targets) ** 2) / 2 == pytest.approx(result["test_loss"])
    answers = run("predict", folder, data).stdout.splitlines()[1:]
    assert len(answers) == 100


def test_the_baseline_is_scikit_learns_on_all_rows_but_test_rows(gained, data):
    settings = _settings.Settings(str(data), model="ridge")
    loaded = _tables.load(settings, None)
    (X, y), (A, b) = loaded.train, loaded.test
    folds = KFold(5, shuffle=True, random_state=0)
    model = RidgeCV(np.logspace(-4, 4, 17), cv=folds, scoring="neg_mean_squared_error")
    fitted = make_pipeline(StandardScaler(), model).fit(X.astype(float), y)
    theirs = result_of(gained[0])["baseline"]
    assert theirs["penalty"] == fitted[-1].alpha_
    loss = np.mean((fitted.predict(A.astype(float)) - b) ** 2) / 2
    assert theirs["test_loss"] == pytest.approx(loss, rel=1e-6)


def test_penalties_are_in_the_units_they_are_said_to_be(gained, data):
    """The closed form with them, on scaled features, is the saved model."""
    folder, _ = gained
    X, y = _tables.load(_settings.Settings(str(data), model="ridge"), None).train
    X = X.astype(float)
    scaled, centred = (X - X.mean(0)) / X.std(0), y - y.mean()
    penalty = arrays(folder / "hyperparameters.npz")["penalty"]
    gram = scaled.T @ scaled / len(y) + np.diag(penalty)
    weights = np.linalg.solve(gram, scaled.T @ centred / len(y)) / X.std(0)
    coefficients = arrays(folder / "weights.npz")["coefficients"][:, 0]
    np.testing.assert_allclose(coefficients, weights, rtol=1e-6, atol=1e-8)


def test_the_history_has_a_line_a_step(gained):
    folder, _ = gained
    with open(folder / "history.csv") as file:
        rows = list(csv.DictReader(file))
    families = [row["family"] for row in rows]
    assert families[0] == "theta" and families[-1] == "free"
    starts = {row["judged_loss"] for row in rows if row["step"] == "0"}
    assert len(starts) == 1


@pytest.mark.pictures
def test_no_gain_leaves_scikit_learns_model(tmp_path):
    """Where no feature says anything."""
    data = rows_with_few_that_matter(tmp_path / "none.csv", few=0)
    folder = tmp_path / "run"
    done = tune(data, "--model", "ridge", "--steps", 8, "--output", folder)
    result, said = result_of(folder), " ".join(done.stdout.split())
    assert result["family"] == "shared" and result["hyperparameters"] == 1
    assert "No gain: one shared penalty is as good. The shared model is what is saved." in said
    assert result["winner"] == dict.fromkeys(result["winner"], "neither")
    assert "On test rows it has scikit-learn's scores" in said
    assert np.ptp(arrays(folder / "hyperparameters.npz")["penalty"]) == 0
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "No gain" in page


def test_classes(garden, tmp_path):
    """Features of 1e3 and 1e-3 are learned from alike, and predictions are in words."""
    folder = tmp_path / "run"
    tune(garden, "--label", "class", "--steps", 8, "--output", folder)
    result = result_of(folder)
    assert result["test_accuracy"] == 1.0 and result["baseline"]["test_accuracy"] == 1.0
    head, *lines = run("predict", folder, garden).stdout.splitlines()
    assert head == "prediction,probability_iris,probability_lily,probability_rose"
    assert [line.split(",")[0] for line in lines[:3]] == ["iris", "lily", "rose"]


def test_the_same_seed_gives_the_same_files(short, data, tmp_path):
    tune(data, "--model", "ridge", *SHORT, "--output", tmp_path / "run")
    one, two = ((folder / "weights.npz").read_bytes() for folder in (short, tmp_path / "run"))
    assert one == two


def test_a_baseline_that_looks_at_no_clock_ends_in_time():
    started = time.perf_counter()
    with pytest.raises(TimeoutError), alarm(0.1, TimeoutError()):
        while time.perf_counter() < started + 30:
            sum(range(1000))
    assert time.perf_counter() < started + 15
    with pytest.raises(TimeoutError), alarm(0.1, TimeoutError()):
        try:
            time.sleep(30)
        except TimeoutError:  # as where a finaliser runs
            time.sleep(30)
    with alarm(0.01, TimeoutError()):
        pass
    time.sleep(0.02)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_killed_after_any_part_and_resumed_it_is_the_same_model(
    short, data, tmp_path, monkeypatch, after
):
    """The parts are all that is kept, so that these are all the places there are."""
    folder, options = tmp_path / "run", ("--model", "ridge", *SHORT)
    with monkeypatch.context() as context:
        save = keeper.Keeper._save

        def killed(self):
            save(self)
            if len(self.seconds) == after:
                raise SystemExit(9)

        context.setattr(keeper.Keeper, "_save", killed)
        assert run("tune", data, *options, "--output", folder).exit_code == 9
    assert not (folder / "result.json").exists()
    said = refused("tune", data, *options, "--output", folder)
    assert "unfinished: go on with --resume" in said
    assert "so that there is no model yet" in refused("predict", folder, data)
    done = tune("--resume", "--output", folder)
    assert "Going on after: shared" in done.stderr
    ours, theirs = (arrays(place / "weights.npz") for place in (folder, short))
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)


def test_an_interrupted_run_keeps_what_is_done(data, tmp_path, monkeypatch):
    folder, save = tmp_path / "run", keeper.Keeper._save

    def interrupted(self):
        save(self)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(keeper.Keeper, "_save", interrupted)
    done = run("tune", data, "--model", "ridge", *SHORT, "--output", folder)
    assert done.exit_code == 130
    assert f"Interrupted. Go on with: bilevax tune --resume --output {folder}" in done.stderr
    assert list(keeper_of(folder).seconds) == ["shared"]


def keeper_of(folder):
    found = keeper.Keeper(folder / "checkpoint.npz")
    found.take_up()
    return found


def test_a_damaged_checkpoint_is_refused(short, tmp_path):
    folder = shutil.copytree(short, tmp_path / "run")
    path = folder / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-40])
    assert "is damaged" in refused("tune", "--resume", "--output", folder)


def test_machines_get_json(data, tmp_path):
    done = tune(data, "--model", "ridge", *SHORT, "--json", "--output", tmp_path / "run")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["progress"] * 3 + ["result"]
    assert lines[0]["part"] == "shared"
    assert lines[-1]["family"] == result_of(tmp_path / "run")["family"]
    assert done.stderr == ""


def test_no_more_time_leaves_what_was_found(data, tmp_path):
    tune(data, "--model", "ridge", *SHORT, "--seconds", 1e-3, "--output", tmp_path / "run")
    result = result_of(tmp_path / "run")
    assert result["family"] == "shared" and not result["finished"]
    assert result["ended_because"] == "the time given was over"


@pytest.mark.parametrize("given", ["share", "file"])
def test_one_split(data, tmp_path, given):
    """With room for 48 and 32 rows in both, which share their programs."""
    valid = "0.4"
    if given == "file":
        data = rows_with_few_that_matter(tmp_path / "data.csv", rows=55)
        valid = rows_with_few_that_matter(tmp_path / "valid.csv", rows=30)
    options = ("--model", "ridge", "--valid", valid, *SHORT, "--output", tmp_path / "run")
    tune(data, *options)
    result = result_of(tmp_path / "run")
    rows = {"share": (48, 32), "file": (44, 30)}[given]
    assert result["folds"] == 1
    assert (result["rows"]["train"], result["rows"]["validation"]) == rows


def test_large_data_are_split_once(data, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "is_large", lambda *_: True)
    tune(data, "--model", "ridge", *SHORT, "--output", tmp_path / "run")
    assert result_of(tmp_path / "run")["folds"] == 1


@pytest.mark.parametrize(
    "options, words",
    [
        (("digits", "--batch-size", 5), "--batch-size is for a run with --algorithm"),
        (("digits", "--devices", 2), "--devices is for a run with --algorithm"),
        (("digits", "--penalty", "per-class"), "is for a run with --algorithm"),
        (("digits", "--cv", 5, "--valid", "0.5"), "exclude each other"),
        (("digits", "--cv", 5, "--algorithm", "itd"), "--cv is for a run without --algorithm"),
        (("digits", "--penalty", "auto", "--algorithm", "itd"), "without --algorithm"),
        (("digits", "--cv", 1), "--cv must be at least 2"),
        (("digits", "--model", "ridge"), "--model logistic"),
        (("digits", "--penalty", "features"), "Did you mean"),
        (("digits", "--valid", "0.008"), "cannot be halved"),
    ],
)
def test_options(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    assert words in refused("tune", *options)
    assert not list(tmp_path.iterdir())


def test_more_folds_than_rows_of_a_class(garden, tmp_path):
    options = ("--label", "class", "--cv", 30, "--output", tmp_path / "run")
    assert "30 folds need one each: take fewer with --cv" in refused("tune", garden, *options)


def test_programs_are_kept_where_it_is_said(tmp_path):
    """In a process without the suite's own cache, where it is off at first."""
    program = (
        "import os, pathlib\n"
        "from bilevax.cli._cache import keep_programs\n"
        "import jax, jax.numpy as jnp\n"
        "found = lambda: [*pathlib.Path('.').rglob('*-cache')]\n"
        "keep_programs(); jax.jit(lambda x: jnp.sin(x) + 1)(2.0)\n"
        "assert not found()\n"
        "os.environ['BILEVAX_CACHE'] = 'there'\n"
        "keep_programs(); jax.jit(lambda x: jnp.cos(x) + 1)(2.0)\n"
        "assert found() and not os.path.exists('home')\n"
    )
    mine = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment = mine | {"BILEVAX_CACHE": "off", "XDG_CACHE_HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=tmp_path)
