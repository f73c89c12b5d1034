"""Labels: different words are different classes, gaps are none, and nothing is merged."""

import gzip

import numpy as np
import pandas as pd
import pytest

import bilevax as bx


def labelled(folder, *labels, name="a.csv"):
    path = folder / name
    if ".svm" in name:
        text = "".join(f"{label} 1:{i}\n" for i, label in enumerate(labels))
    else:
        text = "p,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels))
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["1.1", "1.10", "1.2"], ["1.1", "1.10", "1.2"]),
        (["10", "1_0"], ["10", "1_0"]),
        ([str(2**53), str(2**53 + 1)], [str(2**53), str(2**53 + 1)]),
        (["01", "1"], ["01", "1"]),
        (["10", "9", "-1"], ["-1", "9", "10"]),
        (["2.5", "10.5", "1e1"], ["2.5", "1e1", "10.5"]),
        (["1.0", "0.0"], ["0.0", "1.0"]),
        (["NA", "ZA", "7"], ["7", "NA", "ZA"]),
        (["NA", "ZA"], ["NA", "ZA"]),
        ([" b", "a "], ["a", "b"]),
    ],
)
@pytest.mark.parametrize("parquet", [False, True])
def test_classes_are_words(tmp_path, labels, names, parquet):
    path = labelled(tmp_path, *labels)
    if parquet:
        path = tmp_path / "a.parquet"
        pd.DataFrame({"p": range(len(labels)), "label": labels}).to_parquet(path)
    found = bx.datasets.load_file(path)
    assert found.target_names == names
    words = [names[i] for i in found.target]
    assert words == [label.strip() for label in labels] and found.target.dtype == np.int32


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            ["0", "1", "NA"],
            "row 3 has the label NA among labels that are numbers.*leave the row",
        ),
        (["0", "nan", "1"], "row 2 has the label nan among"),
        (["?", "0", "1.5"], "row 1 has the label \\? among"),
        (["01", "NULL"], "row 2 has the label NULL among"),
        (["0", "1", "inf"], "row 3 has the label inf among"),
        (["0", "", "1"], "row 2 has no label"),
        (["0", "1", "1.0"], "the labels '1' and '1.0', which are the same number: write them"),
        (["+1", "-1", "1"], "the labels '\\+1' and '1', which are the same number"),
    ],
)
def test_doubtful_classes_are_refused(tmp_path, labels, words):
    with pytest.raises(ValueError, match=words):
        bx.datasets.load_file(labelled(tmp_path, *labels))


@pytest.mark.parametrize("name", ["a.svm", "a.svm.gz"])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["10", "1_0"], "line 2 is not of the form"),
        ([str(2**53), str(2**53 + 1)], "row 1 has the label 9007199254740992, and numbers as"),
        (["1", "nan"], "row 2 has no label"),
    ],
)
def test_doubtful_labels_of_libsvm_files_are_refused(tmp_path, name, labels, words):
    with pytest.raises(ValueError, match=words):
        bx.datasets.load_file(labelled(tmp_path, *labels, name=name))


def test_an_underscore_elsewhere_is_allowed(tmp_path):
    path = tmp_path / "a.svm"
    path.write_text("1 1:2 # row_1\n+1 1:3\n0 1:4\n")
    assert bx.datasets.load_file(path).target_names == ["0", "1"]
    path.write_text("1 1_0:2\n0 1:4\n")
    with pytest.raises(ValueError, match="line 1 is not of the form"):
        bx.datasets.load_features(path, [f"p{i}" for i in range(20)])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([2**53, 2**53 + 1]), [str(2**53), str(2**53 + 1)]),
        (np.array([2**64 - 1, 0], np.uint64), ["0", str(2**64 - 1)]),
        (np.array([1.0, 0.0]), ["0", "1"]),
        (np.array([0.1, 0.5], np.float32), ["0.1", "0.5"]),
        (np.array(["1.10", "1.1"]), ["1.1", "1.10"]),
        (np.array(["é".encode(), b"a"]), ["a", "é"]),
        (np.array([True, False]), ["False", "True"]),
    ],
)
def test_labels_of_arrays(tmp_path, labels, names):
    np.savez(tmp_path / "a.npz", X=np.arange(2.0)[:, None], y=labels)
    assert bx.datasets.load_file(tmp_path / "a.npz").target_names == names


@pytest.mark.parametrize("label", [1e300, 2.0**53, np.inf])
def test_labels_of_arrays_that_are_not_told_apart(tmp_path, label):
    np.savez(tmp_path / "a.npz", X=np.arange(2.0)[:, None], y=np.array([0, label]))
    with pytest.raises(ValueError, match=r"row 2 has the label .* not told apart as float64"):
        bx.datasets.load_file(tmp_path / "a.npz")


def test_a_test_set_is_matched_by_words_and_else_by_numbers(tmp_path):
    like = lambda *known: bx.datasets.load_file(labelled(tmp_path, *known, name="train.csv"))
    test = lambda *labels: labelled(tmp_path, *labels, name="test.csv")
    versions = like("1.1", "1.10", "2")
    found = bx.datasets.load_file(test("1.10", "2.0", "1.1"), like=versions)
    assert found.target.tolist() == [1, 2, 0] and found.target_names == versions.target_names
    with pytest.raises(ValueError, match=r"has the label '1\.100', which the set"):
        bx.datasets.load_file(test("1.100"), like=versions)
    with pytest.raises(ValueError, match="has the label '1', which the set"):
        bx.datasets.load_file(test("1"), like=like("01", "02"))
    land = bx.datasets.load_file(test("NA", "7"), like=like("NA", "7", "ZA"))
    assert land.target.tolist() == [1, 0]


def test_numbers_to_predict(tmp_path):
    load = lambda *labels: bx.datasets.load_file(labelled(tmp_path, *labels), task="regression")
    assert load("1e3", "-.5", "01").target.tolist() == [1000, -0.5, 1]
    for labels, words in (
        (("1", "1_0"), "labels that are numbers, but row 2 has '1_0'"),
        (("1", "NA"), "the label of row 2 is missing"),
        (("1", "inf"), "the label of row 2 is missing or infinite"),
        (("1", "1e999"), "the label of row 2 is missing or infinite"),
    ):
        with pytest.raises(ValueError, match=words):
            load(*labels)
