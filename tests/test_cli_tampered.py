"""Files of a run that were changed by others: plain words, exit code 2, and no prediction."""

import io
import json
import os
import shutil
import stat
import zipfile

import numpy as np
import pytest

import cli_cases
from bilevax._core import files
from bilevax.cli import _archive
from bilevax.cli._one_split import job
from cli_cases import run_split as run

pytestmark = pytest.mark.usefixtures("x32")


def refused(*arguments):
    said = cli_cases.refused_split(*arguments)
    assert said.startswith("Error: ")
    return said


@pytest.fixture
def data(small_run):
    return small_run[0]


@pytest.fixture
def folder(small_run, tmp_path):
    """A copy of a run, to tamper with."""
    return shutil.copytree(small_run[1], tmp_path / "run")


def changed(name, change):
    """The content of an archive with one array changed, or left out."""

    def content(whole):
        with np.load(io.BytesIO(whole)) as file:
            arrays = dict(file)
        arrays[name] = change(arrays[name])
        file = io.BytesIO()
        np.savez(file, **{n: a for n, a in arrays.items() if a is not None})
        return file.getvalue()

    return content


def with_nan(array):
    array = np.array(array)
    array.flat[0] = np.nan
    return array


def packed_strangely(whole):
    """A member whose compression nobody knows."""
    at = whole.index(b"PK\x01\x02") + 10
    return whole[:at] + b"\x63\x00" + whole[at + 2 :]


def encrypted(whole):
    for sign, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = whole.index(sign) + flags
        whole = whole[:at] + b"\x01\x00" + whole[at + 2 :]
    return whole


def one_array(whole):
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def no_arrays(whole):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("coefficients.npy", "words")
    return file.getvalue()


FOREIGN = {
    "nothing": lambda whole: b"",
    "text": lambda whole: b"text",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "bits": lambda whole: whole[:200] + bytes(b ^ 255 for b in whole[200:220]) + whole[220:],
    "one array": one_array,
    "no arrays": no_arrays,
    "strange": packed_strangely,
    "encrypted": encrypted,
}

WEIGHTS = {
    "NaN": (changed("coefficients", with_nan), "infinite or NaN"),
    "infinite": (changed("intercept", lambda a: a + np.inf), "infinite or NaN"),
    "complex": (changed("coefficients", lambda a: a + 0j), "must be real numbers, not complex"),
    "words": (changed("intercept", lambda a: a.astype(str)), "must be real numbers"),
    "objects": (changed("coefficients", lambda a: a.astype(object)), "could not be read"),
    "transposed": (changed("coefficients", lambda a: a[:1].T), "coefficients has the shape"),
    "flat": (changed("coefficients", np.ravel), "coefficients has the shape (4,)"),
    "scalar": (changed("intercept", lambda a: a[0]), "intercept has the shape ()"),
    "missing": (changed("intercept", lambda a: None), "intercept is missing"),
    "fewer names": (changed("feature_names", lambda a: a[:1]), "coefficients has the shape"),
    "names of numbers": (changed("feature_names", lambda a: np.arange(2)), "must be text"),
    "no classes": (changed("class_names", lambda a: a[:0]), "coefficients has the shape"),
    "twins": (changed("class_names", lambda a: a[[0, 0]]), "a name twice"),
    "no flag": (changed("probabilities", lambda a: np.array(2.5)), "must be true or false"),
    "flags": (changed("probabilities", lambda a: np.ones(2, bool)), "probabilities has the"),
    "failures": (changed("failure", lambda a: np.ones(2)), "failure"),
    **{name: (content, "could not be read as a model") for name, content in FOREIGN.items()},
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(folder, data, name):
    content, words = WEIGHTS[name]
    path = folder / "weights.npz"
    path.write_bytes(content(path.read_bytes()))
    said = refused("predict", folder, data)
    assert words in said and str(path) in said


CHECKPOINTS = {
    "NaN": changed("state.loop.x", with_nan),
    "complex": changed("state.loop.x", lambda a: a + 0j),
    "words": changed("state.loop.hypergradient.inner_state.y", lambda a: a.astype(str)),
    "a shape": changed("state.loop.x", lambda a: a[:1]),
    "a number less": changed("state.loop.step", lambda a: None),
    "no seconds": changed("seconds", lambda a: np.array("long")),
    "two reasons": changed("ended", lambda a: np.array(["", ""])),
    "no history": changed("history/step", lambda a: None),
    "a short column": changed("history/calls", lambda a: a[:0]),
    "no checksum": changed("checksum", lambda a: None),
    "two checksums": changed("checksum", lambda a: np.array([a, a])),
    **FOREIGN,
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(folder, name, monkeypatch):
    path = folder / "checkpoint.npz"
    path.write_bytes(CHECKPOINTS[name](path.read_bytes()))
    said = refused("tune", "--resume", "--steps", 5, "--output", folder, "--quiet")
    assert f"{path} is damaged" in said and "delete it" in said


def renamed(arrays):
    return {name.replace(".loop.x", ".loop.z"): array for name, array in arrays.items()}


OTHERS = {
    "less": (lambda arrays: arrays.pop("state.loop.x") is None, "it has no state.loop.x)"),
    "more": (
        lambda arrays: arrays.update({"state.loop.z": np.ones(3)}),
        "it has state.loop.z, which is not known here)",
    ),
    "renamed": (renamed, "it has no state.loop.x)"),
    "another shape": (
        lambda arrays: arrays.update({"state.loop.x": np.ones((2, 2), np.float32)}),
        "state.loop.x is float32(2, 2) and not float32(3,))",
    ),
    "another precision": (
        lambda arrays: arrays.update({"state.loop.x": arrays["state.loop.x"].astype(float)}),
        "state.loop.x is float64(3,) and not float32(3,))",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_checkpoints_of_other_states(folder, name):
    """Sealed as it should be, but the leaves are others: the path in the way is named."""
    change, words = OTHERS[name]
    path = folder / "checkpoint.npz"
    arrays = _archive.load(path, sealed=True)
    _archive.save(path, change(arrays) or arrays, sealed=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    said = refused("tune", "--resume", "--steps", 5, "--output", folder, "--quiet")
    assert words in said and f"{path} was written by another version" in said
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


SETTINGS = {
    "steps": ["many", 2.5, True, [3], None, 0],
    "zero_based": ["no", 1, None],
    "model": ["linear", 3, None],
    "dataset": [3, None, ["digits"]],
    "step_size": ["big", float("nan"), -1.0],
    "valid": [0.5],
    "seed": [10**30],
}


@pytest.mark.parametrize("name, value", [(n, v) for n in SETTINGS for v in SETTINGS[n]])
def test_settings(folder, data, name, value):
    path = folder / "settings.json"
    saved = json.loads(path.read_text())
    saved["settings"][name] = value
    path.write_text(json.dumps(saved))
    for command in (("predict", folder, data), ("tune", "--resume", "--output", folder)):
        said = refused(*command)
        assert f"{path} is damaged" in said
        assert ("--" + name.replace("_", "-") if name != "dataset" else "DATASET") in said


@pytest.mark.parametrize(
    "content",
    ["", "[]", "3", '{"settings": []}', '{"settings": {}, "data": 3}', "[" * 10**5, "\xff"],
    ids=["nothing", "list", "number", "no settings", "none of them", "deep", "no text"],
)
def test_settings_that_are_none(folder, data, content):
    (folder / "settings.json").write_bytes(content.encode("latin-1"))
    for command in (("predict", folder, data), ("tune", "--resume", "--output", folder)):
        assert "settings.json" in refused(*command)


@pytest.mark.parametrize("name", ["weights.npz", "settings.json"])
def test_what_is_no_file(folder, data, name):
    """A pipe would be waited for without end."""
    for make in (os.mkdir, os.mkfifo):
        (folder / name).unlink() if (folder / name).is_file() else (folder / name).rmdir()
        make(folder / name)
        assert "no ordinary file" in refused("predict", folder, data)


def test_weights_so_large_that_scores_overflow(folder, data):
    path = folder / "weights.npz"
    huge = changed("coefficients", lambda a: np.full_like(a, 1.7e308))
    path.write_bytes(huge(path.read_bytes()))
    assert "too large for a number" in refused("predict", folder, data)


def test_a_neighbour_of_the_answer_is_left_alone(folder, data, tmp_path):
    """Neither a file nor the target of a link of a likely temporary name is touched."""
    answer, mine = tmp_path / "ans.csv", tmp_path / "mine"
    (tmp_path / "ans.csv.part").symlink_to(mine)
    mine.write_text("mine")
    answer.write_text("old")
    answer.chmod(0o640)
    assert run("predict", folder, data, "--output", answer).exit_code == 0
    assert answer.read_text().startswith("prediction,")
    assert stat.S_IMODE(answer.stat().st_mode) == 0o640
    assert mine.read_text() == "mine" and (tmp_path / "ans.csv.part").is_symlink()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"ans.csv", "ans.csv.part", "mine", "run"}
    longest = tmp_path / ("é" * 127)
    assert run("predict", folder, data, "--output", longest).exit_code == 0


def test_a_temporary_name_that_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0")
    taken = tmp_path / f"{files.PART_START}0{files.PART_END}"
    taken.symlink_to(tmp_path / "mine")
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "file", b"content")
    assert taken.is_symlink() and not (tmp_path / "mine").exists()


def test_places_that_are_none(folder, data, tmp_path):
    loop, long = tmp_path / "loop", "x" * 300
    loop.symlink_to(loop)
    for place in (loop, tmp_path / long):
        assert "Cannot write" in refused("predict", folder, data, "--output", place)
        assert "There is no folder" in refused("predict", place, data)
        refused("tune", data, "--steps", 3, "--output", place)
        assert place.name[:9] in refused("tune", place)
    assert "leads to no file" in refused("tune", loop)


def test_two_runs_that_start_together(data, tmp_path, monkeypatch):
    """Another run begins and ends between the look at the folder and its lock."""
    folder, build = tmp_path / "run", job.build
    monkeypatch.setattr(job, "build", lambda *a: meanwhile() or build(*a))

    def meanwhile():
        monkeypatch.setattr(job, "build", build)
        assert run("tune", data, "--steps", 2, "--output", folder).exit_code == 0
        written.update({path.name: path.read_bytes() for path in folder.iterdir()})

    written = {}
    said = refused("tune", data, "--steps", 2, "--seed", 1, "--output", folder, "--quiet")
    assert "--seed (0 there, 1 now)" in said
    assert written == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_a_killed_run_was_writing_is_cleared(folder, data):
    left = folder / f"{files.PART_START}1{files.PART_END}"
    left.write_text("half")
    assert run("tune", "--resume", "--steps", 3, "--output", folder).exit_code == 0
    assert not left.exists()
