"""Faulty requests: plain words, exit code 2, no traceback, nothing overwritten."""

import functools
import json
import os
import shutil

import numpy as np
import pytest

import bilevax as bx
import cli_cases
from bilevax import algorithms
from bilevax.cli import _folder
from bilevax.cli._errors import UnusableError
from bilevax.cli._one_split import train
from cli_cases import GOOD, result_of, table
from cli_cases import refused_split as refused
from cli_cases import run_split as run

pytestmark = pytest.mark.usefixtures("x32")


@pytest.mark.parametrize(
    "name, content, options, words",
    [
        ("a.csv", None, (), "There is no file"),
        ("a.csv", "", (), "is empty"),
        ("a.csv", "p,q,label\n", (), "has no rows"),
        ("a.csv", "p,q,label\n1,2,a\n1,2,3,4,5\n", (), "line 3"),
        ("a.csv", "p,q,label\n1,2,a\n", ("--label", "lable"), "Did you mean 'label'"),
        ("a.csv", "p,q,label\n1,nan,a\n1,2,b\n", (), "row 1 of column 'q'"),
        ("a.csv", "p,q,label\n1,2,a\n1,inf,b\n", (), "row 2 of column 'q'"),
        ("a.csv", "p,q,label\n1,2,a\n1,red,b\n", (), "column 'q' must hold numbers, but row 2"),
        ("a.csv", "p,q,label\n1,2,a\n3,2,a\n", (), "one class only, 'a'"),
        ("a.csv", "p,q,label\n1,2,1.5\n3,2,2.5\n3,1,3.5\n", (), "--model ridge"),
        ("a.csv", "\n".join(["p,q,label", *GOOD, "1,2,rare"]), (), "'rare'"),
        ("a.csv", "p,q,label\n1,2,5\n3,2,5\n", ("--model", "ridge"), "are 5"),
        ("a.csv", "p,q,label\n1,2,a\n3,2,b\n", ("--model", "ridge"), "labels that are numbers"),
        ("a.svm", "1 1:2\n0 1:2 x:3\n", (), "line 2"),
        ("a.svm", "1 1:nan\n0 1:2\n", (), "row 1 of column 'feature_0'"),
        ("a.npz", "no archive", (), "could not be read"),
        ("a.txt", "1,2,3", (), "no ending that says its format"),
        ("a.parquet", "no parquet", (), "could not be read"),
    ],
)
def test_files(tmp_path, name, content, options, words):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    said = refused("tune", path, *options, "--output", tmp_path / "run")
    assert words in said and name in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        (("digit",), "Did you mean 'digits'"),
        (("digits", "--model", "logistik"), "Did you mean 'logistic'"),
        (("digits", "--penalty", "per_feature"), "Did you mean 'per-feature'"),
        (("digits", "--algorithm", "amigo"), "Did you mean 'amigo-"),
        (("digits", "--stepz", "3"), "--steps"),
        (("digits", "--steps", "many"), "--steps"),
        (("digits", "--steps", "0"), "--steps must be at least 1"),
        (("digits", "--seconds", "-1"), "--seconds must be positive"),
        (("digits", "--step-size", "nan"), "--step-size must be positive"),
        (("digits", "--valid", "1.5"), "--valid must be between 0 and 1"),
        (("digits", "--test", "there.csv"), "there is no such file"),
        (("digits", "--valid", "0.999"), "cannot be split by --valid 0.999"),
        (("digits", "--label", "x"), "--label is for a file"),
        (("digits", "--algorithm", "itd", "--adjoint-steps", "3"), "no meaning"),
        (("mnist", "--data", "nowhere"), "nowhere"),
        ((), "Say which DATASET"),
    ],
)
def test_options(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    # Nothing may be fetched by a test.
    monkeypatch.setattr("pooch.retrieve", None)
    assert words in refused("tune", *options)
    assert not list(tmp_path.iterdir())


def test_an_output_folder_with_other_things_is_left_alone(small_run, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert "thesis.tex" in refused("tune", small_run[0], "--output", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_output_folder_with_another_run_is_left_alone(tmp_path):
    folder, data = tmp_path / "run", table(tmp_path / "a.csv", *GOOD)
    assert run("tune", data, "--steps", 3, "--output", folder).exit_code == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    said = refused("tune", data, "--steps", 3, "--penalty", "shared", "--output", folder)
    assert "--penalty (per-feature there, shared now)" in said
    said = refused("tune", "--resume", "--seed", 4, "--output", folder)
    assert "--seed (0 there, 4 now)" in said
    table(data, *GOOD, "1,2,a")
    assert "The data have changed" in refused("tune", data, "--steps", 3, "--output", folder)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("place", ["file", "below a file"])
def test_an_output_that_cannot_be_written(small_run, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    output = tmp_path / "file" / "run" if place == "below a file" else tmp_path / "file"
    said = refused("tune", small_run[0], "--output", output)
    assert "--output" in said and (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is allowed to root")
def test_an_output_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    assert "Cannot write" in refused("tune", "digits", "--output", tmp_path / "run")


def test_permission_that_is_refused_is_explained(small_run, tmp_path, monkeypatch):
    """The same for root, by a refusing file system."""

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_folder.tempfile, "NamedTemporaryFile", refuse)
    said = refused("tune", small_run[0], "--output", tmp_path / "run")
    assert "Cannot write in" in said and "Permission denied" in said


def test_damage_is_explained(small_run, tmp_path):
    data, original = small_run
    folder = shutil.copytree(original, tmp_path / "run")
    for name, content in (("checkpoint.npz", b"x"), ("settings.json", b"{")):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        assert name in refused("tune", "--resume", "--output", folder)
        (folder / name).write_bytes(whole)
    (folder / "weights.npz").write_bytes(b"x")
    assert "weights.npz" in refused("predict", folder, data)
    (folder / "weights.npz").unlink()
    assert "--resume" in refused("predict", folder, data)
    (folder / "settings.json").write_text(json.dumps({"other": 1}))
    assert "settings.json" in refused("tune", "--resume", "--output", folder)


def test_predict_explains(small_run, tmp_path):
    data, original = small_run
    folder = shutil.copytree(original, tmp_path / "run")
    assert "There is no folder" in refused("predict", tmp_path / "none", data)
    assert "no run" in refused("predict", tmp_path, data)
    assert "There is no file" in refused("predict", folder, tmp_path / "b.csv")
    other = table(tmp_path / "b.csv", "1,2", head="p,r")
    assert "has no column 'q'" in refused("predict", folder, other)
    gaps = table(tmp_path / "c.csv", "1,", head="p,q")
    assert "row 1 of column 'q'" in refused("predict", folder, gaps)
    np.savez(tmp_path / "d.npz", X=np.ones((2, 5)))
    assert "5 features" in refused("predict", folder, tmp_path / "d.npz")
    good = table(tmp_path / "e.csv", "1,2", head="q,p")
    said = refused("predict", folder, good, "--output", tmp_path / "none" / "p.csv")
    assert "Cannot write" in said
    done = run("predict", folder, good)
    assert done.exit_code == 0 and done.stdout.startswith("prediction,")


def test_a_huge_step_is_held_by_the_bounds(tmp_path):
    data = table(tmp_path / "a.csv", *GOOD)
    done = run("tune", data, "--step-size", 1e6, "--steps", 20, "--output", tmp_path / "run")
    assert done.exit_code == 0
    result = result_of(tmp_path / "run")
    assert np.isfinite(result["validation_loss"])


def too_long(monkeypatch, schedule):
    """Inner steps by a schedule of the outer step that makes them far too large."""
    step = schedule.outer()
    preset = functools.partial(algorithms.amigo_gd, inner_step_size=step)
    monkeypatch.setattr(algorithms, "amigo_gd", preset)


RIDGE = ("--model", "ridge")


def numbers(path):
    return table(path, *(f"{i},{i % 3 + i / 50},{i % 7}" for i in range(60)))


def test_a_run_that_fails_at_once_says_why_and_leaves_the_folder_free(tmp_path, monkeypatch):
    data, folder = numbers(tmp_path / "a.csv"), tmp_path / "run"
    with monkeypatch.context() as context:
        too_long(context, bx.schedules.decreasing(beta=5.0, gamma=1.0))
        done = run("tune", data, *RIDGE, "--algorithm", "amigo-gd", "--output", folder)
    assert done.exit_code == 1 and "inner solver diverged" in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    done = run("tune", data, "--model", "ridge", "--seed", 1, "--steps", 3, "--output", folder)
    assert done.exit_code == 0, done.output


def test_a_run_that_fails_on_the_way_keeps_what_it_had(tmp_path, monkeypatch):
    too_long(monkeypatch, bx.schedules.two_phase(0.1, 50, beta=5.0, gamma=1.0))
    data, folder = numbers(tmp_path / "a.csv"), tmp_path / "run"
    options = (*RIDGE, "--algorithm", "amigo-gd", "--steps", 80, "--output", folder)
    done = run("tune", data, *options)
    assert done.exit_code == 1 and "nothing is wrong yet" in " ".join(done.stderr.split())
    result = result_of(folder)
    assert 45 <= result["steps"] <= 50 and not result["finished"]
    assert "inner solver diverged" in result["ended_because"]
    with np.load(folder / "hyperparameters.npz") as learned:
        assert np.isfinite(learned["x"]).all()
    assert "has not finished" in (folder / "report.html").read_text()


def test_a_write_that_is_cut_off_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "file"
    _folder.write(path, b"before")
    monkeypatch.setattr(_folder.os, "replace", lambda *names: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _folder.write(path, b"after")
    assert path.read_bytes() == b"before"


def test_unreadable_json_is_explained(tmp_path):
    with pytest.raises(UnusableError, match="could not be read"):
        _folder.read_json(tmp_path / "none.json")


def test_two_runs_in_one_folder_are_kept_apart(tmp_path):
    with (
        _folder.locked(tmp_path),
        pytest.raises(UnusableError, match="Another run"),
        _folder.locked(tmp_path),
    ):
        pass
    with _folder.locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_run_is_in_nobodys_way(tmp_path):
    (tmp_path / _folder.LOCK).touch()
    _folder.prepare(tmp_path)
    with _folder.locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    """A checkpoint amid the run may fail; at the end it is said, without a traceback."""
    data, kept = table(tmp_path / "a.csv", *GOOD), train.save

    def full(path, checkpoint):
        if 0 < checkpoint.step < 20:
            raise OSError(28, "No space left on device")
        kept(path, checkpoint)

    monkeypatch.setattr(train, "save", full)
    options = ("--steps", 20, "--save-every", 5, "--output", tmp_path / "run")
    done = run("tune", data, *options)
    assert done.exit_code == 0 and "could not be written" in done.stderr

    def always(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train, "save", always)
    done = run("tune", data, "--steps", 5, "--output", tmp_path / "other")
    assert done.exit_code == 1 and "No space left" in done.stderr
    assert "Traceback" not in done.output


def test_predictions_go_nowhere_they_should_not(small_run, tmp_path):
    data, original = small_run
    folder = shutil.copytree(original, tmp_path / "run")
    before = data.read_bytes()
    assert "choose another" in refused("predict", folder, data, "--output", data)
    assert "is a folder" in refused("predict", folder, data, "--output", tmp_path)
    assert data.read_bytes() == before
    (tmp_path / "link").symlink_to(tmp_path / "real.csv")
    assert run("predict", folder, data, "--output", tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real.csv").exists()


def test_resuming_says_what_it_cannot_do(tmp_path, monkeypatch):
    folder, data = tmp_path / "run", table(tmp_path / "a.csv", *GOOD)
    options = ("--output", folder, "--resume")
    done = run("tune", data, *cli_cases.BY_ALGORITHM, "--steps", 10, *options)
    assert done.exit_code == 0 and "There is no run in" in done.stderr
    assert "10 steps already" in refused("tune", "--steps", 4, *options)
    assert "--resume" in refused("tune", data, "--steps", 10, "--seconds", 1, *options[:2])
    # From another folder, and with other spellings of the same.
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    done = run("tune", "../a.csv", "--valid", "0.50", "--steps", 15, *options)
    assert done.exit_code == 0, done.output
    done = run("tune", "--resume", "--steps", 20, "--output", "../run")
    assert done.exit_code == 0, done.output
    renamed = data.read_text().replace("p,q,label", "q,p,label")
    data.write_text(renamed)
    assert "data have changed" in refused("tune", "--resume", "--output", "../run")


@pytest.mark.parametrize(
    "rows, head, words",
    [
        (["0,1,0.3,9", "1,2,0.5,8"], "label,a,b", "more fields"),
        (["1,2,0,", "1,3,1,"], "a,b,label", "more fields"),
        (["1,1700000000", "2,1700000009"], "label,time", "subtract its mean"),
        (["1,inf", "2,0", "2,1"], "p,label", "the label inf"),
    ],
)
def test_tables_that_would_be_misread(tmp_path, rows, head, words):
    data = table(tmp_path / "a.csv", *rows, head=head)
    assert words in refused("tune", data, "--output", tmp_path / "run")


@pytest.mark.pictures
def test_odd_labels(tmp_path):
    """NA and 01 are words here; markup and alphabets are shown as they are."""
    rows = [f"{i},{('NA', '01', '[red]é日')[i % 3]}" for i in range(30)]
    data, folder = table(tmp_path / "a.csv", *rows, head="p,label"), tmp_path / "r [b] run"
    done = run("tune", data, "--steps", 3, "--output", folder)
    assert done.exit_code == 0 and "r [b] run/report.html" in done.output.replace("\n", "")
    done = run("predict", folder, data)
    assert done.stdout.splitlines()[0] == (
        "prediction,probability_01,probability_NA,probability_[red]é日"
    )


def test_targets_of_any_unit(tmp_path):
    """Seconds since 1970, and the same numbers in other units, give the same R^2."""
    found, losses = [], []
    p, q = np.random.default_rng(0).normal(size=(2, 60))
    for scale, offset in ((1, 1.7e9), (1e-9, 0), (1e30, 0), (1e-100, 0)):
        labels = scale * (3 * p + np.sin(9 * p)) + offset
        rows = (f"{a},{b},{c!r}" for a, b, c in zip(p, q, labels.tolist(), strict=True))
        data = table(tmp_path / "a.csv", *rows)
        folder = tmp_path / f"{scale}"
        options = ("--model", "ridge", "--steps", 10, "--output", folder)
        assert run("tune", data, *options).exit_code == 0
        result = result_of(folder)
        found.append(result["test_r2"])
        ours, theirs = result["validation_loss"], result["baseline"]["validation_loss"]
        losses.append((ours / scale / scale, theirs / scale / scale))
    np.testing.assert_allclose(found, found[0], rtol=1e-4)
    np.testing.assert_allclose(losses, [losses[0]] * len(losses), rtol=1e-4)
    assert found[0] > 0.8


@pytest.mark.parametrize("scale", [1e-300, 1e200])
def test_targets_whose_squares_are_no_numbers(tmp_path, scale):
    data = table(
        tmp_path / "a.csv", *(f"{i},{i % 7 * scale!r}" for i in range(20)), head="p,label"
    )
    said = refused("tune", data, "--model", "ridge", "--output", tmp_path / "run")
    assert "labels vary by" in said and "multiply the labels" in said


def test_a_target_that_is_far_from_all_others(tmp_path):
    valid = table(tmp_path / "b.csv", "1,2", "2,1e30", head="p,label")
    data = table(tmp_path / "a.csv", *(f"{i},{i % 7}" for i in range(20)), head="p,label")
    options = ("--model", "ridge", "--valid", valid, "--output", tmp_path / "run")
    assert "standard deviations away" in refused("tune", data, *options)


def test_resuming_where_there_is_nothing(tmp_path):
    said = refused("tune", "--resume", "--output", tmp_path / "none")
    assert f"There is no run in {tmp_path / 'none'} to go on with" in said
    assert not (tmp_path / "none").exists()


def test_regression_tested_on_one_row(tmp_path):
    data = table(tmp_path / "a.csv", "0,0", "1,1", "2,4", "3,9", "4,16", head="p,label")
    done = run("tune", data, "--model", "ridge", "--steps", 5, "--output", tmp_path / "run")
    assert done.exit_code == 0, done.output
    result = result_of(tmp_path / "run")
    assert result["test_r2"] is None and "not defined" in done.output


@pytest.mark.pictures
def test_two_classes_and_one_feature_by_class(tmp_path):
    rows = [f"{i % 2 + i / 40},{'ab'[i % 2]}" for i in range(40)]
    data, folder = table(tmp_path / "a.csv", *rows, head="p,label"), tmp_path / "run"
    options = ("--penalty", "per-class", "--steps", 5, "--output", folder)
    assert run("tune", data, *options).exit_code == 0
    with np.load(folder / "hyperparameters.npz") as learned:
        assert learned["names"].tolist() == ["a", "b"]


@pytest.mark.pictures
def test_pixels_of_a_file_are_columns(tmp_path):
    data = table(tmp_path / "a.csv", *GOOD, head="pixel_0_0,pixel_1_0,label")
    done = run("tune", data, "--steps", 3, "--output", tmp_path / "run")
    assert done.exit_code == 0, done.output


def test_numbers_that_are_too_large(tmp_path):
    for options, words in (
        (("--inner-steps", 10**11), "--inner-steps must be at most"),
        (("--seed", 2**32), "--seed must be at most"),
        (("--batch-size", 5000), "more than the 718 training rows"),
        (("--devices", 99), "--devices 99 asks for more devices than there are"),
    ):
        assert words in refused("tune", "digits", *options, "--output", tmp_path / "run")
