"""Loaders: real files where they are at hand, small made ones for what can go wrong."""

import bz2
import gzip
import http.server
import io
import os
import pathlib
import threading
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.datasets import dump_svmlight_file

import bilevax as bx
from bilevax.datasets import _known, _mnist, _names

ROWS = np.array([[1.5, 0.0, 2.0], [0.0, -1.0, 0.0], [3.0, 0.0, 0.25]], np.float32)
LABELS = np.array([3, 1, 3])


def test_mnist(real_data):
    images, labels = bx.datasets.fetch_mnist(data_home=real_data, return_X_y=True)
    assert images.shape == (60_000, 784) and images.dtype == np.float32
    assert images.min() == 0 and images.max() == 1
    assert labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    # The known mean and deviation of the training set.
    assert images.mean() == pytest.approx(0.1307, abs=1e-4)
    assert images.std() == pytest.approx(0.3081, abs=1e-4)
    both = bx.datasets.fetch_mnist(subset="all", data_home=real_data)
    assert both.data.shape == (70_000, 784) and both.target[60_000] == 7
    assert both.feature_names[29] == "pixel_1_1" and len(both.target_names) == 10


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder with four made files, one of them gzipped, and their checksums."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in _mnist._CHECKSUMS:
        shape = (6, 4, 5) if "images" in name else (6,)
        content = idx(rng.integers(0, 10, shape))
        (folder / name).write_bytes(content)
        checksum = _mnist.hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(_mnist._CHECKSUMS, name, checksum)
    plain = folder / "train-labels-idx1-ubyte"
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return tmp_path


def test_idx_files_gzipped_or_not(small_mnist, monkeypatch):
    monkeypatch.setenv("BILEVAX_DATA", str(small_mnist))
    found = bx.datasets.fetch_mnist()
    raw = (small_mnist / "mnist" / "train-images-idx3-ubyte").read_bytes()
    expected = np.frombuffer(raw[16:], np.uint8).reshape(6, 20) / 255
    np.testing.assert_allclose(found.data, expected, rtol=1e-6)
    labels = gzip.decompress(next((small_mnist / "mnist").glob("*.gz")).read_bytes())
    np.testing.assert_array_equal(found.target, np.frombuffer(labels[8:], np.uint8))
    assert bx.datasets.fetch_mnist(subset="all").data.shape == (12, 20)


def test_damaged_idx_files(small_mnist):
    folder = small_mnist / "mnist"
    packed = folder / "train-labels-idx1-ubyte.gz"
    for content in (packed.read_bytes()[:-6], b"no gzip"):
        packed.write_bytes(content)
        with pytest.raises(ValueError, match=r"labels-idx1-ubyte.gz is damaged.*delete it"):
            bx.datasets.fetch_mnist(data_home=small_mnist)
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ValueError, match="is not MNIST's file, by its checksum"):
        bx.datasets.fetch_mnist(data_home=small_mnist)
    with pytest.raises(ValueError, match="damaged or cut off"):
        _mnist.read_idx(idx(np.ones((3, 4)))[:-2])
    for content in (b"", b"abc", b"\0\0\x0d\x01\0\0\0\0"):
        with pytest.raises(ValueError, match="not an IDX file of unsigned bytes"):
            _mnist.read_idx(content)


def test_missing_sets_say_how_to_get_them(tmp_path):
    with pytest.raises(OSError, match="Download MNIST's four files"):
        bx.datasets.fetch_mnist(data_home=tmp_path, download_if_missing=False)
    with pytest.raises(OSError, match="pass that folder as data_home"):
        bx.datasets.fetch_20newsgroups(data_home=tmp_path, download_if_missing=False)
    with pytest.raises(ValueError, match="subset must be one of"):
        bx.datasets.fetch_mnist(subset="valid")


def test_a_failed_download_is_told(tmp_path, monkeypatch):
    import pooch

    def fail(url, *args, **kwargs):
        raise ConnectionError(f"no route to {url}")

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(OSError, match=r"no route to https.*Download MNIST's four files"):
        bx.datasets.fetch_mnist(data_home=tmp_path)


def test_a_download_is_verified(small_mnist, tmp_path, monkeypatch):
    import pooch

    def retrieve(url, known_hash, fname, path, progressbar):
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
        source = small_mnist / "mnist" / fname.removesuffix(".gz")
        content = source.read_bytes() if source.exists() else b""
        (target := pathlib.Path(path) / fname).write_bytes(gzip.compress(content))
        return str(target)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    found = bx.datasets.fetch_mnist(subset="test", data_home=tmp_path / "new")
    assert found.data.shape == (6, 20)
    with pytest.raises(ValueError, match="checksum"):
        bx.datasets.fetch_mnist(subset="train", data_home=tmp_path / "new")


@pytest.fixture
def server(small_mnist):
    """The address of a mirror of the made files, gzipped, on this machine."""

    class Mirror(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            source = small_mnist / "mnist" / self.path.removeprefix("/").removesuffix(".gz")
            content = gzip.compress(source.read_bytes()) if source.exists() else b""
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}/"
        made.shutdown()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_download_needs_no_further_package(server, tmp_path, monkeypatch, capsys, terminal):
    """From a server, by pooch itself, where tqdm is not installed."""
    monkeypatch.setattr("pooch.downloaders.tqdm", None)
    monkeypatch.setattr(_mnist, "_MIRROR", server)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setenv("no_proxy", "*")
    found = bx.datasets.fetch_mnist(subset="test", data_home=tmp_path / "new")
    assert found.data.shape == (6, 20)
    shown = capsys.readouterr().err
    assert ("t10k-images-idx3-ubyte.gz: 100 %\n" in shown) == terminal
    with pytest.raises(OSError, match=r"404.*Download MNIST's four files"):
        bx.datasets.fetch_mnist(data_home=tmp_path / "new")  # the labels are not served


def frame():
    return pd.DataFrame({"a": ROWS[:, 0], "b": ROWS[:, 1], "c": ROWS[:, 2], "label": LABELS})


def write(folder, name):
    path = folder / name
    if ".svm" in name:
        dump_svmlight_file(ROWS, LABELS, str(folder / "plain"), zero_based=False)
        pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, lambda b: b)
        path.write_bytes(pack((folder / "plain").read_bytes()))
    elif ".npz" in name:
        np.savez(path, X=ROWS, y=LABELS)
    elif ".parquet" in name:
        frame().to_parquet(path)
    else:
        frame().to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    return path


@pytest.mark.parametrize(
    "name",
    ["a.svm", "a.svm.gz", "a.svm.bz2", "a.csv", "a.csv.gz", "a.tsv", "a.npz", "a.parquet"],
)
def test_a_users_file(tmp_path, name):
    path = write(tmp_path, name)
    X, y = bx.datasets.load_file(path, return_X_y=True)
    assert scipy.sparse.issparse(X) == (".svm" in name) and X.dtype == np.float32
    np.testing.assert_array_equal(X.toarray() if scipy.sparse.issparse(X) else X, ROWS)
    assert y.tolist() == [1, 0, 1]
    found = bx.datasets.load_file(str(path), task="regression")
    assert found.target.tolist() == [3.0, 1.0, 3.0]
    assert bx.datasets.load_file(path).target_names == ["1", "3"]


def test_columns_keep_their_names(tmp_path):
    table = frame().rename(columns={"label": "kind"}).assign(kind=["x", "y", "x"])
    table.to_csv(tmp_path / "t.csv", index=False)
    found = bx.datasets.load_file(tmp_path / "t.csv", label="kind")
    assert found.feature_names == ["a", "b", "c"] and found.target_names == ["x", "y"]


FAULTY = {
    "no file": ("a.csv", None, {}, FileNotFoundError, "no file .*a.csv"),
    "unknown ending": ("a.xyz", b"1", {}, ValueError, "says its format: use one of"),
    "empty": ("a.csv", b"", {}, ValueError, "is empty"),
    "header only": ("a.csv", b"a,label\n", {}, ValueError, "has no rows"),
    "no label column": ("a.csv", b"a,b\n1,2\n", {}, ValueError, "say which column"),
    "wrong label column": (
        "a.csv",
        b"a,kind\n1,2\n",
        {"label": "kynd"},
        ValueError,
        "no column 'kynd'. Did you mean 'kind'",
    ),
    "text": ("a.csv", b"a,label\n1,2\nx,3\n", {}, ValueError, "'a' must .* row 2 has 'x'"),
    "gap": (
        "a.csv",
        b"a,b,label\n1,2,1\n1,,2\n",
        {},
        ValueError,
        "row 2 of column 'b' is empty",
    ),
    "infinite": ("a.csv", b"a,label\ninf,1\n", {}, ValueError, "row 1 of column 'a'"),
    "long line": ("a.csv", b"a,label\n1,2\n1,2,3,4\n", {}, ValueError, "line 3"),
    "no label": ("a.csv", b"a,label\n1,2\n1,\n", {}, ValueError, "row 2 has no label"),
    "no word": ("a.csv", b"a,label\n1,x\n1,\n", {}, ValueError, "row 2 has no label"),
    "text target": (
        "a.csv",
        b"a,label\n1,x\n",
        {"task": "regression"},
        ValueError,
        "labels that are numbers",
    ),
    "task": ("a.csv", b"a,label\n1,2\n", {"task": "x"}, ValueError, "task must be"),
    "malformed libsvm": (
        "a.svm",
        b"1 1:2\n0 1:x\n",
        {},
        ValueError,
        "line 2 is not of the form",
    ),
    "unordered libsvm": ("a.svm", b"1 1:2\n0 3:1 2:1\n", {}, ValueError, "line 2 has indices"),
    "libsvm nan": (
        "a.svm",
        b"1 1:2\n0 1:3 2:nan\n",
        {},
        ValueError,
        "row 2 of column 'feature_1'",
    ),
    "no zip": ("a.npz", b"PK no", {}, ValueError, "could not be read as an NPZ"),
    "no parquet": ("a.parquet", b"nothing", {}, ValueError, "could not be read"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_faulty_files_are_explained(tmp_path, case):
    name, content, options, error, message = FAULTY[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        bx.datasets.load_file(tmp_path / name, **options)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": ROWS}, "needs the arrays 'X' and 'y'"),
        ({"X": ROWS, "y": LABELS[:2]}, "one label a row"),
        ({"X": ROWS[0], "y": LABELS}, "rows x features"),
        ({"X": ROWS[:, :0], "y": LABELS}, "has no features"),
        ({"X": ROWS.astype(str), "y": LABELS}, "must hold numbers"),
        ({"X": np.where(ROWS == 3, np.nan, ROWS), "y": LABELS}, "row 3 of column 'feature_0'"),
    ],
)
def test_faulty_arrays_are_explained(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        bx.datasets.load_file(tmp_path / "a.npz")


MORE_FAULTY = {
    "unnamed": ("a.csv", b",a,label\n0,1,2\n", {}, "column 1 has no name.*index=False"),
    "twice": ("a.csv", b"a,label,label\n0,1,2\n", {}, "two columns of the name 'label'"),
    "no features": ("a.csv", b"label\n1\n", {}, "no columns beside the label"),
    "label is no column": ("a.csv", b"a,b\n1,2\n", {"label": "1"}, "has no column '1'"),
    "label of libsvm": ("a.svm", b"1 1:2\n", {"label": "x"}, "only tables have a label column"),
    "no gzip": ("a.svm.gz", b"1 1:2\n", {}, "a.svm.gz: could not be read"),
    "cut gzip": ("a.svm.gz", gzip.compress(b"1 1:2\n" * 99)[:-9], {}, "a.svm.gz: could not"),
    "zero index": ("a.svm", b"1 1:2\n1 0:2\n", {}, "line 2 has the index 0.*zero_based="),
    "negative index": ("a.svm", b"1 -1:2\n", {}, "line 1 has the index -1"),
    "huge index": ("a.svm", b"1 1:1\n1 99999999999:2\n", {}, "line 2 has the index 9999"),
}


@pytest.mark.parametrize("case", MORE_FAULTY)
def test_more_faulty_files_are_explained(tmp_path, case):
    name, content, options, message = MORE_FAULTY[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        bx.datasets.load_file(tmp_path / name, **options)


def foreign(path, kind):
    """An archive that is none of numbers, or one that something has happened to."""
    np.savez_compressed(path, X=np.tile(ROWS, (50, 1)), y=np.tile(LABELS, 50))
    whole = bytearray(path.read_bytes())
    if kind == "damaged":
        whole[55:58] = b"\xff\xff\xff"  # where the first array begins
    elif kind == "cut":
        whole = whole[:200]
    elif kind in ("encrypted", "unknown method"):
        for head, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            place = whole.find(head) + at + (2 if kind == "unknown method" else 0)
            whole[place : place + 2] = b"\x01\x00" if kind == "encrypted" else b"\x63\x00"
    elif kind in ("texts", "others", "objects"):
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("X", "y") if kind == "texts" else ("readme.txt",):
                archive.writestr(name, "words")
        if kind == "objects":
            np.savez(path, X=np.array([{}, []], object), y=LABELS)
        return
    elif kind == "huge":
        head = io.BytesIO()
        shape = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)}
        np.lib.format.write_array_header_1_0(head, shape)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("X.npy", head.getvalue())
            archive.writestr("y.npy", head.getvalue())
        return
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("damaged", "could not be read as an NPZ file of numbers"),
        ("cut", "could not be read as an NPZ file of numbers"),
        ("encrypted", "is encrypted.*numpy.savez"),
        ("unknown method", "compression method.*numpy.savez"),
        ("texts", "other things than arrays"),
        ("others", "needs the array.*it has readme.txt"),
        ("objects", "allow_pickle=False.*numpy.savez"),
        ("huge", "could not be read as an NPZ file of numbers"),
    ],
)
def test_archives_of_other_things_are_explained(tmp_path, kind, words):
    foreign(tmp_path / "a.npz", kind)
    for load in (bx.datasets.load_file, lambda p: bx.datasets.load_features(p, ["a"])):
        with pytest.raises(ValueError, match=words):
            load(tmp_path / "a.npz")


def test_other_arrays_beside_are_not_looked_at(tmp_path):
    np.savez(tmp_path / "a.npz", X=ROWS, y=LABELS, notes=np.array([{}], object))
    assert bx.datasets.load_file(tmp_path / "a.npz").data.shape == ROWS.shape


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.svm", "a.parquet"])
def test_paths_that_are_no_files_are_explained(tmp_path, name):
    """Folders, pipes (which would wait for ever), circles of links, endless names."""
    places = [tmp_path / str(i) / name for i in range(4)]
    for place in places:
        place.parent.mkdir()
    places[0].mkdir()
    os.mkfifo(places[1])
    places[2].symlink_to(places[2])
    places[3].symlink_to("nowhere")
    long = tmp_path / (300 * "n" + name)
    for path, error, words in (
        (places[0], IsADirectoryError, "is a folder: name a file in it"),
        (places[1], ValueError, "is a pipe or a device"),
        (places[2], OSError, "cannot be opened: Too many levels of symbolic links"),
        (places[3], FileNotFoundError, "There is no file"),
        (long, OSError, "cannot be opened: File name too long"),
        (tmp_path / "none" / name, FileNotFoundError, "There is no file"),
    ):
        for load in (bx.datasets.load_file, lambda p: bx.datasets.load_features(p, ["a"])):
            with pytest.raises(error, match=words):
                load(path)


def test_wide_libsvm_files_need_no_memory_for_their_width(tmp_path):
    (tmp_path / "a.svm").write_text("0 1:1\n1 100000000:2\n")
    tracemalloc.start()
    try:
        found = bx.datasets.load_file(tmp_path / "a.svm")
        alike = bx.datasets.load_file(tmp_path / "a.svm", like=found)
        row = bx.datasets.load_features(tmp_path / "a.svm", found.feature_names)
        assert tracemalloc.get_traced_memory()[1] < 1e7
    finally:
        tracemalloc.stop()
    for data in (found.data, alike.data, row):
        assert data.shape == (2, 10**8) and data.nnz == 2
    assert len(found.feature_names) == 10**8
    assert found.feature_names[-1] == "feature_99999999"
    for index in ("100000001", "2147483647", "99999999999"):
        (tmp_path / "b.svm").write_text(f"0 1:1\n1 {index}:2\n")
        with pytest.raises(ValueError, match=f"line 2 has the index {index}, and 1 to 10000"):
            bx.datasets.load_file(tmp_path / "b.svm")


def test_names_by_number_are_like_a_list():
    names = _names.NumberedNames(3)
    assert names == ["feature_0", "feature_1", "feature_2"] == list(names)
    assert names[1:] == ["feature_1", "feature_2"] and "feature_2" in names
    assert names == _names.NumberedNames(3) != _names.NumberedNames(4)
    assert names != ["feature_0"] and len({names, _names.NumberedNames(3)}) == 1
    with pytest.raises(IndexError):
        names[3]


def test_odd_arrays_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    (tmp_path / "a.npy").rename(tmp_path / "renamed.npz")
    with pytest.raises(ValueError, match="could not be read as an NPZ"):
        bx.datasets.load_file(tmp_path / "renamed.npz")
    np.savez(tmp_path / "complex.npz", X=1j * ROWS, y=LABELS)
    with pytest.raises(ValueError, match="X must hold numbers"):
        bx.datasets.load_file(tmp_path / "complex.npz")
    times = pd.DataFrame({"t": pd.to_datetime(["2020-01-01", None]), "label": [0, 1]})
    times.to_parquet(tmp_path / "times.parquet")
    with pytest.raises(ValueError, match="'t' holds times"):
        bx.datasets.load_file(tmp_path / "times.parquet")


def test_endings_in_capitals_and_tabs(tmp_path):
    (tmp_path / "A.TSV").write_text("a\tlabel\n1\t2\n")
    (tmp_path / "b.tsv.csv").write_text("a,label\n1,2\n")
    for name in ("A.TSV", "b.tsv.csv"):
        assert bx.datasets.load_file(tmp_path / name).data.tolist() == [[1.0]]


def test_a_test_set_like_its_training_set(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,label\n1,2,cat\n3,4,dog\n5,6,emu\n")
    (tmp_path / "b.csv").write_text("b,label,a\n2,emu,1\n4,cat,3\n")
    train = bx.datasets.load_file(tmp_path / "a.csv")
    test = bx.datasets.load_file(tmp_path / "b.csv", like=train)
    assert test.data.tolist() == [[1, 2], [3, 4]] and test.target.tolist() == [2, 0]
    assert test.feature_names == ["a", "b"] and test.target_names == ["cat", "dog", "emu"]
    (tmp_path / "c.csv").write_text("b,label,a\n2,cow,1\n")
    with pytest.raises(ValueError, match="has the label 'cow'"):
        bx.datasets.load_file(tmp_path / "c.csv", like=train)
    (tmp_path / "d.csv").write_text("b,label\n2,cat\n")
    with pytest.raises(ValueError, match="has no column 'a'"):
        bx.datasets.load_file(tmp_path / "d.csv", like=train)


def test_libsvm_files_keep_their_columns(tmp_path):
    (tmp_path / "a.svm").write_text("0 1:1 2:2 3:3\n1 2:5\n")
    (tmp_path / "b.svm").write_text("1 2:7\n")
    (tmp_path / "c.svm").write_text("1 4:7\n")
    (tmp_path / "d.svm").write_text("1 0:7 2:1\n")
    train = bx.datasets.load_file(tmp_path / "a.svm")
    test = bx.datasets.load_file(tmp_path / "b.svm", like=train)
    assert test.data.toarray().tolist() == [[0, 7, 0]] and test.target.tolist() == [1]
    with pytest.raises(ValueError, match="line 1 has the index 4, and 1 to 3"):
        bx.datasets.load_file(tmp_path / "c.svm", like=train)
    zero = bx.datasets.load_file(tmp_path / "d.svm", like=train, zero_based=True)
    assert zero.data.toarray().tolist() == [[7, 0, 1]]


def test_wide_tables_are_read_at_once(tmp_path):
    wide = np.arange(6000.0).reshape(2, 3000)
    table = pd.DataFrame(wide, columns=[f"f{i}" for i in range(3000)]).assign(label=[0, 1])
    table.to_csv(tmp_path / "wide.csv", index=False)
    np.testing.assert_array_equal(bx.datasets.load_file(tmp_path / "wide.csv").data, wide)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.npz", "a.svm.gz"])
def test_features_alone(tmp_path, name):
    """Rows in another order of columns, with more of them, and without labels."""
    path, names = tmp_path / name, ["u", "v", "w"]
    frame = pd.DataFrame(ROWS, columns=names)[["w", "u", "v"]].assign(more="text")
    if name == "a.csv":
        frame.to_csv(path, index=False)
    elif name == "a.parquet":
        frame.to_parquet(path)
    elif name == "a.npz":
        np.savez(path, X=ROWS)
    else:
        with gzip.open(path, "wb") as file:
            dump_svmlight_file(ROWS, LABELS, file, zero_based=False)
    found = bx.datasets.load_features(path, names)
    found = found.toarray() if scipy.sparse.issparse(found) else found
    np.testing.assert_array_equal(found, ROWS)
    assert found.dtype == np.float32


def test_faulty_features_are_explained(tmp_path):
    (tmp_path / "a.csv").write_text("u,v\n1,2\n3,\n")
    np.savez(tmp_path / "a.npz", X=ROWS)
    np.savez(tmp_path / "b.npz", Y=ROWS)
    for name, names, words in (
        ("a.csv", ["u", "v"], "row 2 of column 'v'"),
        ("a.csv", ["u", "w"], "no column 'w'"),
        ("a.npz", ["u"], "3 features, and not 1"),
        ("b.npz", ["u"], "needs the arrays 'X'; it has Y"),
    ):
        with pytest.raises(ValueError, match=words):
            bx.datasets.load_features(tmp_path / name, names)
    with pytest.raises(FileNotFoundError):
        bx.datasets.load_features(tmp_path / "c.csv", ["u"])


def test_what_is_available(tmp_path, small_mnist):
    nothing = bx.datasets.available(tmp_path / "none")
    assert all("to be downloaded" in nothing[name][-1] for name in ("mnist", "20newsgroups"))
    there = bx.datasets.available(small_mnist)
    assert there["mnist"][-1] == f"in {small_mnist / 'mnist'}"
    assert {"digits", "mnist", "20newsgroups"} <= set(there) == set(_known.KNOWN)


def test_every_known_data_set_has_a_public_loader():
    for known in _known.KNOWN.values():
        assert known.load is getattr(bx.datasets, known.load.__name__)
        assert known.load.__name__ in bx.datasets.__all__
