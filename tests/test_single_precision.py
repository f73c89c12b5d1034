"""Features that single precision cannot hold are refused, whatever the file's format."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.datasets import dump_svmlight_file

import bilevax as bx

NORMAL = np.random.default_rng(0).normal(size=20)
FORMATS = ["a.csv", "a.parquet", "a.npz", "a.svm"]


def save(path, column, beside=NORMAL):
    """A file of two columns, the second the one in question."""
    X, y = np.stack([beside, column], 1), np.arange(len(column)) % 2
    if path.suffix == ".npz":
        np.savez(path, X=X, y=y)
    elif path.suffix == ".svm":
        dump_svmlight_file(X, y, str(path), zero_based=False)
    else:
        frame = pd.DataFrame(X, columns=["feature_0", "feature_1"]).assign(label=y)
        frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (1e9 + NORMAL, "'feature_1' varies by .* around 1e\\+09, .* subtract its mean"),
        (
            1e-300 * NORMAL,
            "'feature_1' varies by .*e-300, .* takes for zero: take another unit",
        ),
        (1e-40 * (NORMAL > 0), "takes for zero"),
        (3e38 * np.sign(NORMAL), "varies by 6e\\+38, .* cannot hold: take another unit"),
        (
            1e39 * (NORMAL > 0),
            "column 'feature_1' is 1e\\+39, and single precision ends at 3.4e",
        ),
    ],
)
def test_columns_that_would_be_lost(tmp_path, name, column, words):
    with pytest.raises(ValueError, match=words):
        bx.datasets.load_file(save(tmp_path / name, column))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "column",
    [
        1e9 * NORMAL,
        1e-30 * NORMAL,
        np.full(20, 1e9 + 0.5),
        np.where(NORMAL > 0, 1e-300, 1),
        1e9 * (NORMAL > 0),
        1 + 0.01 * NORMAL,
    ],
)
def test_columns_that_are_kept(tmp_path, name, column):
    found = bx.datasets.load_file(save(tmp_path / name, column)).data
    dense = found.toarray() if scipy.sparse.issparse(found) else found
    np.testing.assert_array_equal(dense[:, 1], column.astype(np.float32))
    assert found.dtype == np.float32


@pytest.mark.parametrize("name", FORMATS)
def test_rows_to_apply_a_model_to_need_no_variation(tmp_path, name):
    """Whether a feature can be learned from is seen on the training rows alone."""
    train = bx.datasets.load_file(save(tmp_path / name, 1e6 * NORMAL))
    for column in (1e6 + NORMAL, 1e-300 * NORMAL):
        path = save(tmp_path / f"new{name}", column)
        found = bx.datasets.load_features(path, ["feature_0", "feature_1"])
        like = bx.datasets.load_file(path, like=train).data
        for data in (found, like):
            dense = data.toarray() if scipy.sparse.issparse(data) else data
            np.testing.assert_array_equal(dense[:, 1], column.astype(np.float32))
    path = save(tmp_path / f"new{name}", 1e39 * NORMAL)
    with pytest.raises(ValueError, match="single precision ends at"):
        bx.datasets.load_features(path, ["feature_0", "feature_1"])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.longdouble])
def test_arrays_of_any_numbers(tmp_path, dtype):
    X = np.array([[1, 0], [0, 1], [1, 1]], dtype)
    np.savez(tmp_path / "a.npz", X=X, y=[0, 1, 1])
    found = bx.datasets.load_file(tmp_path / "a.npz").data
    np.testing.assert_array_equal(found, X.astype(np.float32))
    if dtype == np.int64:
        np.savez(tmp_path / "a.npz", X=10**15 + X, y=[0, 1, 1])
        with pytest.raises(ValueError, match="subtract its mean"):
            bx.datasets.load_file(tmp_path / "a.npz")
