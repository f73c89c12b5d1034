"""Programs that are kept from one process to the next, traced."""

import importlib.util
import io
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bilevax._core import kept
from bilevax.sklearn import AdaptiveRidgeCV


@pytest.fixture
def folder(tmp_path):
    """Where they are kept, for this test."""
    token = kept._folder.set(tmp_path / "traced")
    yield tmp_path / "traced"
    kept._folder.reset(token)


def norm(*arguments):
    """Of a function that is known, traced anew."""
    return jax.jit(lambda *given: kept.call(optax.tree.norm, given))(*arguments)


def files(folder):
    return sorted(folder.iterdir()) if folder.exists() else []


def never(*_):
    raise AssertionError("made again")


def test_a_kept_program_is_not_made_again(folder, monkeypatch):
    tree = {"a": jnp.arange(3.0), "b": [jnp.ones(2), None]}
    expected = jax.jit(optax.tree.norm)(tree)
    np.testing.assert_array_equal(norm(tree), expected)
    assert len(files(folder)) == 1
    monkeypatch.setattr(kept, "_made", never)
    np.testing.assert_array_equal(norm(tree), expected)
    (path,) = files(folder)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="made again"):
        norm(tree)
    monkeypatch.undo()
    np.testing.assert_array_equal(norm(tree), expected)


def test_the_name_tells_all_that_a_trace_depends_on():
    one = jnp.ones(3)
    cases = [
        (one,),
        (one, None),
        (None, one),
        (jnp.ones(4),),
        (one.astype(jnp.float32),),
        (jnp.int32(1),),
        (1,),
        (True,),
        (one, optax.tree.sum),
    ]
    names = [kept._name(optax.tree.norm, arguments) for arguments in cases]
    names.append(kept._name(optax.tree.sum, (one,)))
    with jax.default_matmul_precision("highest"):
        names.append(kept._name(optax.tree.norm, (one,)))
    with jax.enable_x64(False):
        names.append(kept._name(optax.tree.norm, (one,)))
    assert len(set(names)) == len(names) and None not in names
    assert kept._name(optax.tree.norm, (one + 1,)) == names[0]


class Mine:
    """Not of a package whose version is known."""


@pytest.mark.parametrize("part", [norm, lambda x: x, Mine, Mine(), io.StringIO()])
def test_what_no_name_tells_is_not_kept(folder, part):
    assert kept._name(optax.tree.norm, (part,)) is None
    assert kept._name(norm, ()) is None


def test_what_cannot_be_exported_is_traced(folder):
    def call(x):
        return kept.call(jax.debug.print, ("{}", x))

    jax.jit(call)(1.0)
    assert [path.stat().st_size for path in files(folder)] == [32 + len(kept._NONE)]
    jax.jit(call)(1.0)


def test_only_so_many_are_kept(folder, monkeypatch):
    monkeypatch.setattr(kept, "_MOST", 2)
    for size in (1, 2, 3):
        norm(jnp.ones(size))
    assert len(files(folder)) == 2


SPARSE = """
import pathlib, sys
import jax, numpy as np, scipy.sparse
from bilevax._core import kept
from bilevax._rows.sparse import AbstractSparse, SparseMatrix

def never(*_):
    raise AssertionError("made again")

kept._folder.set(folder := pathlib.Path(sys.argv[1]))
if folder.exists():
    kept._made = never
matrix = SparseMatrix(scipy.sparse.csr_array(np.diag([1.0, 2.0])))
multiply = jax.jit(lambda *given: kept.call(AbstractSparse.__matmul__, given))
print(multiply(matrix, np.ones(2)).tolist())
"""


def test_sparse_products_of_another_process(tmp_path):
    """XLA knows them there, where nothing traces one."""
    command = [sys.executable, "-c", SPARSE, str(tmp_path / "traced")]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "[1.0, 2.0]\n"), done.stderr
    assert len(files(tmp_path / "traced")) == 1


def test_where(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    places = {str(tmp_path): tmp_path / "traced", "gs://a/b": None, None: None}
    try:
        for place, found in places.items():
            jax.config.update("jax_compilation_cache_dir", place)
            with kept.programs_kept():
                assert kept._folder.get() == found
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with kept.programs_kept():
        assert kept._folder.get() is None
    assert kept._folder.get() is None


def test_an_estimator_is_the_same_with_and_without(monkeypatch):
    """What the suite's cache keeps, read again, and what is traced without."""
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 4))
    y = X[:, 0] + 0.1 * random.normal(size=60)
    fitted = lambda: AdaptiveRidgeCV(cv=3, max_iter=2).fit(X, y)
    first = fitted()
    assert list(pathlib.Path(jax.config.jax_compilation_cache_dir).glob("traced/*"))
    jax.clear_caches()
    with monkeypatch.context() as patch:
        patch.setattr(kept, "_made", never)
        again = fitted()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    jax.clear_caches()
    plain = fitted()
    for other in (again, plain):
        assert other.coef_.tobytes() == first.coef_.tobytes()
        assert other.penalties_.tobytes() == first.penalties_.tobytes()
