"""The rows of figures 1d-f and 4: 20 Newsgroups, or in small forms digits as if words."""

import pathlib
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import normalize

from ...datasets import fetch_20newsgroups, load_digits
from ...datasets._newsgroups import newsgroups_place

Rows = tuple[Any, np.ndarray]
HEADERS = ("headers", "footers", "quotes")
_MISSING = (
    "20 Newsgroups is not in {0}: let bilevax.datasets.fetch_20newsgroups() fetch it where "
    "there is a network. Shown are scikit-learn's digits, their pixels as counts."
)


class Posts(NamedTuple):
    """Rows of norm 1 to learn from, to validate and to test, alpha and gamma, and a note."""

    train: Rows
    valid: Rows
    test: Rows
    step_size: float
    note: str | None = None

    @property
    def small(self) -> bool:
        """Whether these are the digits."""
        return self.train[0].shape[1] == 64


def posts(
    data: pathlib.Path | None, quick: bool, seed: int, remove: tuple[str, ...] = ()
) -> Posts:
    """Half of the training rows to learn from and half to validate, classes in proportion."""
    home, there = newsgroups_place(data)
    if there and not quick:
        load = lambda part: fetch_20newsgroups(
            subset=part, remove=remove, data_home=data, return_X_y=True
        )
        return Posts(*_halves(load("train"), seed), load("test"), 100.0)
    pixels, digits = load_digits(return_X_y=True)
    rows = scipy.sparse.csr_matrix(normalize(np.asarray(pixels, float)))
    parts = _halves((rows[:1200], digits[:1200]), seed)
    note = None if quick else _MISSING.format(home)
    return Posts(*parts, (rows[1200:], digits[1200:]), 10.0, note)


def _halves(rows: Rows, seed: int) -> tuple[Rows, Rows]:
    features, labels = rows
    parts: Any = train_test_split(
        features, labels, test_size=0.5, stratify=labels, random_state=seed
    )
    train, valid, of_train, of_valid = parts
    return (train, of_train), (valid, of_valid)
