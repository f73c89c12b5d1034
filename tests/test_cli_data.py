"""Files given to the command line: what is refused, and what is not."""

import csv
import io

import numpy as np
import pytest
import scipy.sparse

from bilevax.cli import _settings, _tables
from bilevax.cli._errors import UnusableError
from bilevax.cli._model import Model
from bilevax.cli._one_split import scaling
from cli_cases import refused_split as refused
from cli_cases import run_split as run
from cli_cases import table

pytestmark = pytest.mark.usefixtures("x32")

NORMAL = np.random.default_rng(0).normal(size=(40, 2))


def save(path, X, labels):
    rows = zip(X.tolist(), labels, strict=True)
    return table(path, *(f"{a!r},{b!r},{label}" for (a, b), label in rows))


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """A folder with a fitted model, whose classes would be one number; and its data."""
    folder = tmp_path_factory.mktemp("versions")
    X, labels = 1e6 * NORMAL, np.where(NORMAL[:, 0] > 0, "1.10", "1.1")
    data = save(folder / "train.csv", X, labels)
    # Validation rows that hardly differ in a feature are no worse for that.
    rows = np.stack([X[:10, 0], 1e6 + NORMAL[:10, 1]], 1)
    valid = save(folder / "valid.csv", rows, labels[:10])
    options = ("--steps", 3, "--baseline-seconds", 0, "--output", folder / "run")
    done = run("tune", data, "--valid", valid, *options)
    assert done.exit_code == 0, done.output
    return folder


def test_classes_that_look_like_one_number_stay_two(versions):
    done = run("predict", versions / "run", versions / "train.csv")
    assert done.exit_code == 0, done.output
    head, *lines = csv.reader(io.StringIO(done.stdout))
    assert head == ["prediction", "probability_1.1", "probability_1.10"]
    words = np.where(NORMAL[:, 0] > 0, "1.10", "1.1")
    assert np.mean(np.array([line[0] for line in lines]) == words) > 0.9


@pytest.mark.parametrize("name", ["new.csv", "new.npz"])
def test_rows_to_predict_need_no_variation(versions, tmp_path, name):
    """What single precision told apart in training is not asked of single rows."""
    X = np.stack([NORMAL[:5, 0], 1e6 + 1e-3 * NORMAL[:5, 1]], 1)
    path = tmp_path / name
    if name == "new.npz":
        np.savez(path, X=X)
    else:
        np.savetxt(path, X, delimiter=",", header="p,q", comments="", fmt="%.17g")
    done = run("predict", versions / "run", path)
    assert done.exit_code == 0, done.output
    model = Model.load(versions / "run" / "weights.npz")
    expected = model.predict(X)["probability_1.1"]
    found = [
        float(line["probability_1.1"]) for line in csv.DictReader(io.StringIO(done.stdout))
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_rows_that_cannot_be_held_are_refused(versions, tmp_path):
    np.savez(tmp_path / "new.npz", X=np.array([[0, 1e39]]))
    said = refused("predict", versions / "run", tmp_path / "new.npz")
    assert "row 1 of column 'q' is 1e+39" in said
    assert "is a folder" in refused("predict", versions / "run", tmp_path)
    said = refused("predict", versions / "run", tmp_path / f"{'n' * 300}.csv")
    assert "File name too long" in said


@pytest.mark.parametrize("name", ["a.npz", "a.svm"])
@pytest.mark.parametrize(
    ("X", "words"), [(1e9 + NORMAL, "subtract its mean"), (1e-300 * NORMAL, "for zero")]
)
def test_features_that_would_be_lost_are_refused(tmp_path, name, X, words):
    labels = np.arange(40) % 2
    if name == "a.npz":
        np.savez(tmp_path / name, X=X, y=labels)
    else:
        lines = (f"{label} 1:{row[0]!r}" for row, label in zip(X.tolist(), labels, strict=True))
        (tmp_path / name).write_text("\n".join(lines))
    said = refused("tune", tmp_path / name, "--output", tmp_path / "run")
    assert words in said and "feature_0" in said


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (2147483647, "line 2 has the index 2147483647, and 1 to 100000000 are possible"),
        (100000000, "has 100,000,000 features, and at most 5,000,000 can be tuned"),
    ],
)
def test_indices_beyond_all_memory(tmp_path, index, words):
    (tmp_path / "a.svm").write_text(f"0 1:1\n1 {index}:2\n" * 5)
    assert words in refused("tune", tmp_path / "a.svm", "--output", tmp_path / "run")


@pytest.mark.parametrize("option", ["valid", "test"])
def test_files_of_rows_set_aside(tmp_path, option):
    data = save(tmp_path / "a.csv", NORMAL, np.arange(40) % 2)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "circle.csv").symlink_to(tmp_path / "circle.csv")
    for name, words in (
        ("folder.csv", "is a folder: name a file in it"),
        ("circle.csv", "Too many levels of symbolic links"),
        (f"{'n' * 300}.csv", "there is no such file"),
    ):
        settings = _settings.Settings(str(data), **{option: str(tmp_path / name)})
        with pytest.raises(UnusableError, match=words):
            _tables.load(settings, None)


@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
@pytest.mark.parametrize("sparse", [False, True])
def test_scaling_of_any_unit(scale, sparse):
    """Squares of such numbers are beyond single precision."""
    X = (scale * NORMAL).astype(np.float32)
    features = scipy.sparse.csr_matrix(X) if sparse else X
    rows = features, np.arange(40, dtype=np.int32) % 2
    names = ["p", "q"]
    table = _tables.Table(rows, rows, rows, names, ["a", "b"], "columns")
    made = scaling.Scaling.of(table, named=False)
    found = made.features(features)
    found = found.toarray() if sparse else found
    assert np.isfinite(found).all() and made.constant > 0
    root = np.sqrt(np.mean(np.square(found[:, :-1], dtype=float)))
    assert made.constant == pytest.approx(root if root > 0 else 1, rel=1e-4)
