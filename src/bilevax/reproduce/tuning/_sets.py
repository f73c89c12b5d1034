"""The data sets, and how the features of each are scaled."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.preprocessing import PolynomialFeatures

from ...datasets import fetch_20newsgroups, fetch_mnist

_Home = str | os.PathLike | None
Table = tuple[np.ndarray, np.ndarray]


class DataSet(NamedTuple):
    """A data set.

    - `title`: its name in the picture;
    - `load`: features and targets, from the folder where data are kept. `OSError` where they
      are not there;
    - `scaled`: the features on their scale, from those and the rows on which it is measured;
    - `classes`: whether targets are classes, or else numbers;
    - `train_size`: how many rows are not test rows; `None` takes 70 %.
    """

    title: str
    load: Callable[[_Home], Table]
    scaled: Callable[[np.ndarray, np.ndarray], np.ndarray]
    classes: bool
    train_size: int | None = None


def as_they_come(features: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """The features."""
    del pool
    return features


def centred(features: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Features whose mean over some rows is zero."""
    return features - features[pool].mean(axis=0)


def standardised(features: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Features of mean zero and variance one over some rows.

    >>> standardised(np.array([[1.0], [3.0], [7.0]]), np.array([0, 1])).ravel().tolist()
    [-1.0, 1.0, 5.0]
    """
    scale = features[pool].std(axis=0)
    return centred(features, pool) / np.where(scale > 0, scale, 1)


def with_products(features: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Standardised features, with the products of any two and the squares, standardised."""
    products = PolynomialFeatures(2, include_bias=False)
    return standardised(products.fit_transform(standardised(features, pool)), pool)


def _of_sklearn(load: Callable[..., Any]) -> Callable[[_Home], Table]:
    def rows(home: _Home) -> Table:
        del home
        features, targets = load(return_X_y=True)
        return features.astype(float), targets

    return rows


def _mnist(home: _Home) -> Table:
    """8,000 training images, averaged over 2 x 2 pixels."""
    images, labels = fetch_mnist(data_home=home, download_if_missing=False, return_X_y=True)
    drawn = np.random.default_rng(0).permutation(len(labels))[:8000]
    small = images[drawn].astype(float).reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    return small.reshape(-1, 196), labels[drawn]


def _newsgroups(home: _Home) -> Table:
    """Four groups, and how often each post has the 500 words that most of their posts have."""
    counts, labels = fetch_20newsgroups(
        subset="all",
        normalize=False,
        data_home=home,
        download_if_missing=False,
        return_X_y=True,
    )
    four = np.isin(labels, (1, 7, 14, 18))
    counts, labels = counts[four], labels[four]
    order = np.argsort(-counts.getnnz(axis=0), kind="stable")
    return counts[:, np.sort(order[:500])].toarray(), labels


def _with_copies(home: _Home) -> Table:
    """200 more columns, each a random one with its rows shuffled."""
    features, targets = _diabetes(home)
    random = np.random.default_rng(0)
    draw = lambda: random.permutation(features[:, random.integers(features.shape[1])])
    copies = [draw() for _ in range(200)]
    return np.column_stack([features, *copies]), targets


_diabetes = _of_sklearn(datasets.load_diabetes)

SETS = {
    "digits": DataSet("digits", _of_sklearn(datasets.load_digits), centred, True, 900),
    "breast_cancer": DataSet(
        "breast cancer", _of_sklearn(datasets.load_breast_cancer), standardised, True
    ),
    "wine": DataSet("wine", _of_sklearn(datasets.load_wine), standardised, True),
    "mnist": DataSet("MNIST, 14 x 14 pixels, 500 rows", _mnist, centred, True, 500),
    "newsgroups": DataSet(
        "four newsgroups, 500 words, 600 rows", _newsgroups, as_they_come, True, 600
    ),
    "diabetes": DataSet("diabetes", _diabetes, standardised, False),
    "products": DataSet("diabetes with products", _diabetes, with_products, False),
    "copies": DataSet("diabetes with 200 permuted copies", _with_copies, standardised, False),
}
# A gain and a tie.
QUICK = ("wine", "products")
