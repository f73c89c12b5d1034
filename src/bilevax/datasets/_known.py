"""The known data sets: a loader, and what is known of what it loads."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

from ._digits import load_digits
from ._home import chosen_home
from ._mnist import fetch_mnist, mnist_place
from ._newsgroups import fetch_20newsgroups, newsgroups_place

__all__ = ["available", "fetch_20newsgroups", "fetch_mnist", "load_digits"]


@dataclasses.dataclass(frozen=True)
class Known:
    """A data set that has a name.

    - `load`: its loader; one that has test rows of its own takes `subset` and `data_home`.
    - `rows`, `features`, `classes`: how many, in words.
    - `kind`: what the features are: "pixels" or "words".
    - `place`: from the folder of data, the file or folder that holds it, and whether it is
      there; `None` for one that comes with scikit-learn.
    """

    load: Callable[..., Any]
    rows: str
    features: str
    classes: str
    kind: str
    has_test_rows: bool = False
    place: Callable[[pathlib.Path | None], tuple[pathlib.Path, bool]] | None = None

    def where(self, home: pathlib.Path | None) -> str:
        """Its place, in words."""
        if self.place is None:
            return "comes with scikit-learn"
        folder, found = self.place(home)
        return f"in {folder}" if found else f"to be downloaded to {folder}"


KNOWN = {
    "digits": Known(load_digits, rows="1,797", features="64", classes="10", kind="pixels"),
    "mnist": Known(
        fetch_mnist,
        rows="60,000 + 10,000",
        features="784",
        classes="10",
        kind="pixels",
        has_test_rows=True,
        place=mnist_place,
    ),
    "20newsgroups": Known(
        fetch_20newsgroups,
        rows="11,314 + 7,532",
        features="about 130,107",
        classes="20",
        kind="words",
        has_test_rows=True,
        place=newsgroups_place,
    ),
}


def available(data_home: str | os.PathLike | None = None) -> dict[str, tuple[str, ...]]:
    """Rows, features, classes and place of each known data set, in words.

    >>> import bilevax as bx
    >>> bx.datasets.available()["digits"]
    ('1,797', '64', '10', 'comes with scikit-learn')
    """
    home = chosen_home(data_home)
    return {
        name: (known.rows, known.features, known.classes, known.where(home))
        for name, known in KNOWN.items()
    }
