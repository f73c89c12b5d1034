"""Posts as counts of words, and a cache of them."""

import contextlib
import hashlib
import io
import pathlib
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.sparse
import sklearn
from sklearn.datasets import _twenty_newsgroups as newsgroups
from sklearn.feature_extraction.text import CountVectorizer

from .._core.files import write
from ._posts import Posts, read_posts

# In the order in which they are applied.
STRIPPED = {
    "headers": newsgroups.strip_newsgroup_header,
    "footers": newsgroups.strip_newsgroup_footer,
    "quotes": newsgroups.strip_newsgroup_quoting,
}
_PARTS = ("train", "test")
_SHUFFLE = 12
_LAYOUT = 1


class Counts(NamedTuple):
    """Word counts and targets of "train" and "test", over the words of the training posts."""

    rows: dict[str, tuple[Any, np.ndarray]]
    words: list[str]
    groups: list[str]


def counts(
    archive: pathlib.Path, remove: Iterable[str], folders: Iterable[pathlib.Path]
) -> Counts:
    """The counts, from the first of these folders that has them, or else counted.

    A file in the cache belongs to one content of the archive and one version of
    scikit-learn. It is an NPZ of numbers: reading it can run nothing.
    """
    content, folders = archive.read_bytes(), list(folders)
    steps = [step for step in STRIPPED if step in remove]
    key = repr((_LAYOUT, sklearn.__version__, steps)).encode() + content
    file = f"20newsgroups-{hashlib.blake2b(key, digest_size=8).hexdigest()}.npz"
    for folder in folders:
        with contextlib.suppress(Exception):  # a damaged file is as good as none
            return _load(folder / file)
    posts, groups = read_posts(archive, content)
    found = _counted(posts, groups, steps)
    for folder in folders:
        with contextlib.suppress(OSError):  # read-only, or full
            _save(folder / file, found)
            break
    return found


def _counted(posts: dict[str, Posts], groups: list[str], steps: list[str]) -> Counts:
    """As `sklearn.datasets.fetch_20newsgroups_vectorized` counts, row for row."""
    vectorizer = CountVectorizer(dtype=cast(Any, np.int16))
    rows = {}
    for part in _PARTS:
        texts, target = posts[part]
        order = np.random.RandomState(_SHUFFLE).permutation(len(texts))
        texts = [texts[i] for i in order]
        for step in steps:
            texts = [STRIPPED[step](text) for text in texts]
        count = vectorizer.fit_transform if part == "train" else vectorizer.transform
        rows[part] = scipy.sparse.csr_matrix(count(texts)), target[order]
    return Counts(rows, vectorizer.get_feature_names_out().tolist(), groups)


def _save(path: pathlib.Path, found: Counts) -> None:
    """Write the archive of the counts."""
    arrays: Any = {"words": _as_bytes(found.words), "groups": _as_bytes(found.groups)}
    for part, (matrix, target) in found.rows.items():
        for name in ("data", "indices", "indptr"):
            arrays[f"{part}_{name}"] = getattr(matrix, name)
        arrays[f"{part}_target"] = target
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, content.getvalue())


def _load(path: pathlib.Path) -> Counts:
    """What was saved, once its parts were found to fit together."""
    # NumPy leaves a damaged file open that it has opened itself.
    with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
        words, groups = _as_words(file["words"]), _as_words(file["groups"])
        rows = {}
        for part in _PARTS:
            parts = tuple(file[f"{part}_{name}"] for name in ("data", "indices", "indptr"))
            target = file[f"{part}_target"]
            matrix = scipy.sparse.csr_matrix(parts, shape=(len(target), len(words)))
            matrix.check_format(full_check=True)
            rows[part] = matrix, target
    return Counts(rows, words, groups)


def _as_bytes(words: list[str]) -> np.ndarray:
    """No word has a space in it. A NumPy array of words would be as wide as the longest."""
    return np.frombuffer(" ".join(words).encode(), np.uint8)


def _as_words(content: np.ndarray) -> list[str]:
    return content.tobytes().decode().split(" ")
