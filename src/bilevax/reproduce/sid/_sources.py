"""The data sets: MNIST, the digits in its place, and 20 Newsgroups."""

import pathlib
from typing import Any

import numpy as np

from ...datasets import fetch_20newsgroups, fetch_mnist, load_digits
from ...datasets._mnist import mnist_place
from ...datasets._newsgroups import newsgroups_place
from ._binary import BINARY, signs
from ._setting import Source
from ._softmax import one_hot, softmax

_MISSING = (
    "MNIST is not in {0}: put its four files there, or let bilevax.datasets.fetch_mnist() "
    "fetch them where there is a network. Shown are scikit-learn's digits of 8 x 8 pixels."
)
_NO_POSTS = (
    "20 Newsgroups is not in {0}: let bilevax.datasets.fetch_20newsgroups() fetch it where "
    "there is a network. Its panel is left out."
)
# Rows to learn from, and as many to validate.
_DIGITS, _IMAGES, _SHARE = 800, 5000, 2000
_WORDS = 1000


def odd_or_even(data: pathlib.Path | None, quick: bool) -> Source:
    """Odd against even digits: 5,000 + 5,000 of MNIST's training images."""
    features, digits, note = _images(data, quick)
    small = features.shape[1] == 64
    rows = _DIGITS if small else _IMAGES
    return Source(features, signs(digits % 2), rows, BINARY, note, small)


def ten_digits(data: pathlib.Path | None, quick: bool) -> Source:
    """Each digit a class: 2,000 + 2,000 of them."""
    features, digits, note = _images(data, quick)
    small = features.shape[1] == 64
    rows = _DIGITS if small else _SHARE
    return Source(features, one_hot(digits), rows, softmax(10), note, small)


def newsgroups(data: pathlib.Path | None) -> Source | None:
    """2,000 + 2,000 posts: log counts of the most frequent words times their rarity, log(posts
    / posts with the word), as rows of norm 1."""
    if not newsgroups_place(data)[1]:
        return None
    counts, groups = fetch_20newsgroups(data_home=data, normalize=False, return_X_y=True)
    posts = np.asarray((counts > 0).sum(axis=0)).ravel()
    frequent = np.argsort(-posts, kind="stable")[:_WORDS]
    features = np.log1p(counts[:, frequent].toarray()) * np.log(len(groups) / posts[frequent])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Source(features, one_hot(groups), _SHARE, softmax(20))


def no_newsgroups(data: pathlib.Path | None) -> str:
    """What to say where they are missing."""
    return _NO_POSTS.format(newsgroups_place(data)[0])


def _images(data: pathlib.Path | None, quick: bool) -> tuple[np.ndarray, Any, str | None]:
    """MNIST's training images, or where quick or missing the digits of scikit-learn."""
    folder, there = mnist_place(data)
    if quick or not there:
        features, digits = load_digits(return_X_y=True)
        return np.asarray(features, float), digits, None if quick else _MISSING.format(folder)
    features, digits = fetch_mnist(data_home=data, return_X_y=True)
    return np.asarray(features, float), digits, None
