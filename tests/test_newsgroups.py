"""20 Newsgroups: the matrix that scikit-learn makes, without running what a pickle says."""

import hashlib
import os
import pickle
import shutil
import zlib

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import fetch_20newsgroups_vectorized
from sklearn.utils import Bunch

import bilevax as bx
from bilevax.datasets import _newsgroups, _words

ALL = ("headers", "footers", "quotes")
# Rows, features and entries of each subset, and a hash of its counts and targets, of
# scikit-learn's own vectorised pickle.
KNOWN = {
    "train": ((11_314, 130_108), 1_787_580, "0567c946b6894d41"),
    "test": ((7532, 130_108), 1_107_969, "8d3f53efc1b0aaee"),
}


def same(one, other):
    names = ("data", "indices", "indptr")
    assert one.shape == other.shape
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def checksum(matrix, target):
    found = hashlib.blake2b(digest_size=8)
    for array in (matrix.data, matrix.indices, matrix.indptr, target):
        found.update(np.ascontiguousarray(array, "<i4"))
    return found.hexdigest()


def test_newsgroups_keep_their_headers_and_are_never_written_to(real_data):
    before = {path: path.stat().st_mtime for path in real_data.rglob("*")}
    train = bx.datasets.fetch_20newsgroups(data_home=real_data)
    assert scipy.sparse.issparse(train.data) and train.data.dtype == np.float64
    assert len(train.target_names) == 20 and train.target.max() == 19
    norms = np.sqrt(train.data.multiply(train.data).sum(axis=1))
    np.testing.assert_allclose(norms, 1, rtol=1e-6)
    home = _newsgroups.sklearn_home(real_data)
    kept = _newsgroups._cache_folders(home)
    counted = _words.counts(home / _newsgroups.ARCHIVE, (), kept)
    for part, (shape, entries, known) in KNOWN.items():
        matrix, target = counted.rows[part]
        assert (matrix.shape, matrix.nnz, checksum(matrix, target)) == (shape, entries, known)
    assert before == {path: path.stat().st_mtime for path in real_data.rglob("*")}


@pytest.mark.slow
def test_newsgroups_without_headers(real_data, tmp_path):
    """Element by element what scikit-learn makes, from the same archive in a free folder."""
    home = _newsgroups.sklearn_home(real_data)
    (tmp_path / _newsgroups.ARCHIVE).symlink_to(home / _newsgroups.ARCHIVE)
    for remove in ((), ALL):
        options = {"subset": "test", "remove": remove, "download_if_missing": False}
        ours = bx.datasets.fetch_20newsgroups(data_home=real_data, **options)
        theirs = fetch_20newsgroups_vectorized(data_home=tmp_path, **options)
        same(ours.data, theirs.data)
        np.testing.assert_array_equal(ours.target, theirs.target)


def post(rng, group):
    words = " ".join(rng.choice([f"word{i}" for i in range(40)], 12))
    return (
        f"From: {group}@x\nSubject: {rng.integers(9)} été\n\nIn article <1> he writes:\n"
        f"> quoted {words[:20]}\n{words}\n\n-- \nsigned {group}"
    )


def bunch(rng, num):
    groups = ["rec.autos", "sci.space", "talk.misc"]
    target = rng.integers(0, 3, num)
    texts = [post(rng, groups[i]) for i in target]
    names = np.array([f"/posts/{i}" for i in range(num)])
    return Bunch(data=texts, filenames=names, target_names=groups, target=target, DESCR=None)


def packed(found):
    return zlib.compress(pickle.dumps(found))


def posts(seed=0):
    rng = np.random.default_rng(seed)
    return {"train": bunch(rng, 25), "test": bunch(rng, 15)}


@pytest.fixture
def home(tmp_path):
    """A folder with an archive of made-up posts, as scikit-learn packs them."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / _newsgroups.ARCHIVE).write_bytes(packed(posts()))
    return folder


@pytest.mark.parametrize("remove", [(), ("headers",), ("quotes", "footers"), ALL])
@pytest.mark.parametrize("subset", ["train", "test", "all"])
def test_the_matrix_is_scikit_learns(home, tmp_path, subset, remove):
    other = tmp_path / "theirs"
    shutil.copytree(home, other)
    options = {"subset": subset, "remove": remove}
    theirs = fetch_20newsgroups_vectorized(data_home=other, **options)
    for _ in range(2):  # counted, and from the cache
        ours = bx.datasets.fetch_20newsgroups(data_home=home, **options)
        same(ours.data, theirs.data)
        np.testing.assert_array_equal(ours.target, theirs.target)
        assert ours.feature_names == theirs.feature_names.tolist()
        assert ours.target_names == theirs.target_names
    assert {path.suffix for path in home.iterdir()} == {".pkz", ".npz"}


class Command:
    """A pickle of it has its reader call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def spoilt(found, place, command):
    """The posts with the command in the place of something else."""
    if place == "whole":
        return command
    if place == "beside":
        return {**found, "more": command}
    if place == "array":
        found["train"].target = np.array([command], object)
    else:
        found["train"][place] = command
    return found


@pytest.mark.parametrize("place", ["whole", "beside", "data", "target", "filenames", "array"])
@pytest.mark.parametrize("function", [os.system, eval, exec])
def test_a_malicious_archive_does_not_run_its_command(tmp_path, home, place, function):
    ran = tmp_path / "ran"
    text = f"touch {ran}" if function is os.system else f"open({str(ran)!r}, 'w')"
    content = packed(spoilt(posts(), place, Command(function, text)))
    (home / _newsgroups.ARCHIVE).write_bytes(content)
    with pytest.raises(ValueError, match=r"is not admitted.*delete it"):
        bx.datasets.fetch_20newsgroups(data_home=home)
    assert not ran.exists()


def test_the_vectorised_pickle_is_never_opened(tmp_path, home):
    ran = tmp_path / "ran"
    content = pickle.dumps(Command(os.system, f"touch {ran}"))
    for name in ("20newsgroup_vectorized_py3.pkl", "20newsgroup_vectorized.pkl"):
        (home / name).write_bytes(content)
    bx.datasets.fetch_20newsgroups(data_home=home)
    assert not ran.exists()
    (home / _newsgroups.ARCHIVE).unlink()
    assert "to be downloaded" in bx.datasets.available(home)["20newsgroups"][-1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        packed(posts())[:-9],
        zlib.compress(b"no pickle"),
        packed({"train": 1}),
        packed({"train": posts()["train"]}),
        packed({**posts(), "test": Bunch(data=["a"], target=np.array([0, 1]))}),
        packed({**posts(), "test": Bunch(data=["a"], target=np.array([3]))}),
        packed({**posts(), "test": Bunch(data=["a"], target=np.array([0.5]))}),
        packed({**posts(), "test": Bunch(data=[1], target=np.array([0]))}),
    ],
)
def test_damaged_archives_are_explained(home, content):
    (home / _newsgroups.ARCHIVE).write_bytes(content)
    with pytest.raises(ValueError, match=r"or it is damaged .*delete it"):
        bx.datasets.fetch_20newsgroups(data_home=home)


def test_an_archive_that_grows_without_end_is_not_unpacked(home, monkeypatch):
    monkeypatch.setattr("bilevax.datasets._posts._MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="too large"):
        bx.datasets.fetch_20newsgroups(data_home=home)


def uncounted(*arguments):
    raise AssertionError("it was counted again")


def test_counts_are_kept_for_their_archive_alone(home, monkeypatch):
    first = bx.datasets.fetch_20newsgroups(data_home=home)
    (kept,) = home.glob("20newsgroups-*.npz")
    with monkeypatch.context() as context:
        context.setattr(_words, "_counted", uncounted)
        same(bx.datasets.fetch_20newsgroups(data_home=home).data, first.data)
        with pytest.raises(AssertionError):
            bx.datasets.fetch_20newsgroups(data_home=home, remove=("headers",))
    with np.load(kept) as file:
        arrays = dict(file)
    whole = kept.read_bytes()
    arrays["train_indices"] = arrays["train_indices"] + 10**6
    for spoil in (lambda: kept.write_bytes(whole[:-50]), lambda: np.savez(kept, **arrays)):
        spoil()
        same(bx.datasets.fetch_20newsgroups(data_home=home).data, first.data)
    (home / _newsgroups.ARCHIVE).write_bytes(packed(posts(seed=1)))
    assert bx.datasets.fetch_20newsgroups(data_home=home).data.nnz != first.data.nnz
    assert not list(home.glob("*.part"))


def test_a_folder_that_is_read_only_is_left_alone(home, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "own" / project)
    home.chmod(0o500)
    first = bx.datasets.fetch_20newsgroups(data_home=home)
    assert [path.name for path in home.iterdir()] == [_newsgroups.ARCHIVE]
    assert list((tmp_path / "own" / "bilevax").glob("*.npz"))
    # Where nothing can be written, nothing is kept.
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "file" / project)
    same(bx.datasets.fetch_20newsgroups(data_home=home).data, first.data)
    (home / _newsgroups.ARCHIVE).rename(tmp_path / "away")
    with pytest.raises(OSError, match=r"the folder is read-only.*pass that folder"):
        bx.datasets.fetch_20newsgroups(data_home=home)
    home.chmod(0o700)


@pytest.mark.parametrize("options", [{"remove": "headers"}, {"remove": ("header",)}])
def test_faulty_arguments_are_explained(home, options):
    with pytest.raises(ValueError, match="remove must be a tuple of headers, footers, quotes"):
        bx.datasets.fetch_20newsgroups(data_home=home, **options)
    with pytest.raises(ValueError, match="subset must be one of"):
        bx.datasets.fetch_20newsgroups(data_home=home, subset="valid")
