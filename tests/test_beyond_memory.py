"""Files whose features stay on disk: the same numbers and the same checks."""

import numpy as np
import pandas as pd
import pytest

import bilevax as bx
from bilevax.datasets import _beyond_memory, load_file

RNG = np.random.default_rng(0)
X, WORDS = RNG.standard_normal((50, 3)), np.array(["rose", "lily"])[RNG.integers(0, 2, 50)]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Several of them in these files."""
    monkeypatch.setattr(_beyond_memory, "_BLOCK", 24 * 8)


def written(path, features=X, labels=WORDS):
    """A file of these rows, and what `load_file` must be told of it."""
    if path.suffix == ".npz":
        np.savez(path, y=labels, X=features)
    elif path.suffix == ".npy":
        np.save(path, features)
        np.save(path.with_name("labels.npy"), labels)
        return {"label": str(path.with_name("labels.npy"))}
    else:
        frame = pd.DataFrame(features, columns=["a", "b", "c"]).assign(kind=labels)
        if path.suffix == ".parquet":
            frame.to_parquet(path, row_group_size=20)
        else:
            frame.to_feather(path)
        return {"label": "kind"}
    return {}


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.parquet", "a.feather", "a.arrow"])
def test_what_stays_on_disk_is_what_would_be_loaded(name, tmp_path):
    path = tmp_path / name
    options = written(path)
    here, there = load_file(path, **options), load_file(path, **options, on_disk_above=500)
    assert isinstance(there.data, np.memmap) and not isinstance(here.data, np.memmap)
    rows = bx.RowsOnDisk(there.data, dtype=np.float32)
    np.testing.assert_array_equal(rows.cut(0, 50), here.data)
    np.testing.assert_array_equal(there.target, here.target)
    assert (there.target_names, there.feature_names) == (here.target_names, here.feature_names)
    few = load_file(path, **options, on_disk_above=10_000)
    assert not isinstance(few.data, np.memmap)
    # Read like another, and once more: a table's features are written once.
    like = load_file(path, **options, on_disk_above=500, like=here)
    np.testing.assert_array_equal(like.data, there.data)
    assert len(list(tmp_path.glob("a.*.npy"))) == (name.split(".")[1] not in ("npz", "npy"))


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.parquet", "a.feather"])
def test_features_are_checked_a_block_at_a_time(name, tmp_path):
    gap, flat = X.copy(), X.copy()
    gap[31, 1], flat[:, 2] = np.nan, 1e6 + 1e-3 * X[:, 2]
    for features, words in ((gap, "row 32 of column"), (flat, "varies by")):
        options = written(tmp_path / name, features)
        for above in (None, 500):
            with pytest.raises(ValueError, match=words):
                load_file(tmp_path / name, **options, on_disk_above=above)
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob("a.*.npy"))


def test_what_cannot_stay_on_disk_is_said(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=X, y=WORDS)
    with pytest.raises(ValueError, match=r"compressed, .* numpy\.savez"):
        load_file(path, on_disk_above=500)
    np.savez(path, X=np.asfortranarray(X), y=WORDS)
    with pytest.raises(ValueError, match="row after row"):
        load_file(path, on_disk_above=500)
    np.savez(path, X=X, y=WORDS[:-1])
    with pytest.raises(ValueError, match="one label a row"):
        load_file(path, on_disk_above=500)
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="could not be read"):
        load_file(tmp_path / "b.npz", on_disk_above=500)
    np.save(tmp_path / "c.npy", X)
    with pytest.raises(ValueError, match="has no labels: name the NPY file"):
        load_file(tmp_path / "c.npy")
