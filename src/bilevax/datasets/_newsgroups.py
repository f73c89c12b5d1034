"""20 Newsgroups as sparse word counts."""

import os
import pathlib
import stat
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._home import bunch, chosen_home

ARCHIVE = "20news-bydate_py3.pkz"
_SUBSETS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}


def fetch_20newsgroups(
    *,
    subset: str = "train",
    remove: Sequence[str] = (),
    normalize: bool = True,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """20 Newsgroups: word counts, each row of unit Euclidean norm, 20 classes.

    `data` is a SciPy CSR matrix, the same as scikit-learn's `fetch_20newsgroups_vectorized`
    makes. Of scikit-learn's cache only the archive of texts is read, and without running
    what a pickle may contain; its pickle of the vectorised set is never opened.
    Headers, footers and quotes are kept by default: the accuracies that the papers print
    (80 to 82 % on the test set) are those of 130,107 features with them, not of the
    101,631 without that Arbel and Mairal (2022, F.2) name. Where scikit-learn's tokeniser
    has changed, a feature more or less is no surprise.

    **Arguments:**

    - `subset`: "train" (11,314 rows), "test" (7,532) or "all".
    - `remove`: any of "headers", "footers", "quotes".
    - `normalize`: else rows are the counts themselves.
    - `data_home`: a folder that has scikit-learn's cache in it or in its
      `scikit_learn_data`; `None` takes that of `BILEVAX_DATA`, or scikit-learn's own.
      The word counts are cached there, as an NPZ file, or in the user's folder for caches
      where that one is read-only.
    - `download_if_missing`: else a missing set raises `OSError`.

    **Raises** `OSError` where the archive is missing and cannot be downloaded, `ValueError`
    where it is damaged or contains anything but texts and their labels.
    """
    import scipy.sparse
    from sklearn import preprocessing

    from ._words import STRIPPED, counts

    if subset not in _SUBSETS:
        raise ValueError(f"subset must be one of {', '.join(_SUBSETS)}; got {subset!r}.")
    if isinstance(remove, str) or not set(remove) <= STRIPPED.keys():
        raise ValueError(f"remove must be a tuple of {', '.join(STRIPPED)}; got {remove!r}.")
    home = sklearn_home(data_home)
    found = counts(_archive(home, download_if_missing), remove, _cache_folders(home))
    matrices, targets = zip(*(found.rows[part] for part in _SUBSETS[subset]), strict=True)
    stacked: Any = scipy.sparse.vstack(matrices, format="csr")
    data = stacked.astype(np.float64)
    target = np.concatenate(targets).astype(np.int32)
    if normalize:
        data = scipy.sparse.csr_matrix(preprocessing.normalize(data, copy=False))
    return bunch(data, target, found.words, found.groups, return_X_y)


def sklearn_home(data_home: str | os.PathLike | None) -> pathlib.Path:
    """The folder of scikit-learn's cache."""
    chosen = chosen_home(data_home)
    if chosen is None:
        import sklearn.datasets

        return pathlib.Path(sklearn.datasets.get_data_home())
    within = chosen / "scikit_learn_data"
    return within if within.is_dir() else chosen


def newsgroups_place(data_home: str | os.PathLike | None) -> tuple[pathlib.Path, bool]:
    """The folder, and whether the archive is there."""
    home = sklearn_home(data_home)
    return home, (home / ARCHIVE).exists()


def _archive(home: pathlib.Path, download: bool) -> pathlib.Path:
    """The archive of texts, fetched if need be."""
    path, reason = home / ARCHIVE, "downloading was not allowed"
    if path.exists():
        return path
    if download and home.exists() and not _writable(home):
        reason = "the folder is read-only"
    elif download:
        import sklearn.datasets

        try:
            # With no archive there, it reads nothing but what it has fetched and verified.
            sklearn.datasets.fetch_20newsgroups(data_home=home)
            return path
        except Exception as error:  # whatever the network library raises
            reason = str(error)
    raise OSError(
        f"20 Newsgroups is not in {home} and could not be fetched ({reason}). Where there "
        "is a network, run sklearn.datasets.fetch_20newsgroups(subset='all', "
        f"data_home=FOLDER), and pass that folder as data_home: it then has {ARCHIVE}."
    )


def _cache_folders(home: pathlib.Path) -> list[pathlib.Path]:
    """Where word counts are kept: beside the archive, or else in the user's own folder."""
    import pooch

    own = pathlib.Path(pooch.os_cache("bilevax"))
    return [home, own] if _writable(home) else [own]


def _writable(folder: pathlib.Path) -> bool:
    """Whether to write there: not where its owner has forbidden it, though root may."""
    return bool(folder.stat().st_mode & stat.S_IWUSR) and os.access(folder, os.W_OK)
