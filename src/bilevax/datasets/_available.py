"""Which data sets are known, and where they are."""

import os
import pathlib

from ._home import chosen_home
from ._mnist import mnist_folder
from ._newsgroups import ARCHIVE, sklearn_home


def available(data_home: str | os.PathLike | None = None) -> dict[str, tuple[str, ...]]:
    """Rows, features, classes and place of each known data set, in words.

    >>> import bilevax as bx
    >>> bx.datasets.available()["digits"]
    ('1,797', '64', '10', 'comes with scikit-learn')
    """
    home = chosen_home(data_home)
    mnist, news = mnist_folder(home), sklearn_home(home)
    has_mnist = mnist.is_dir() and any(mnist.glob("train-images-idx3-ubyte*"))
    has_news = (news / ARCHIVE).exists()
    return {
        "digits": ("1,797", "64", "10", "comes with scikit-learn"),
        "mnist": ("60,000 + 10,000", "784", "10", _where(mnist, has_mnist)),
        "20newsgroups": ("11,314 + 7,532", "about 130,107", "20", _where(news, has_news)),
    }


def _where(folder: pathlib.Path, found: bool) -> str:
    return f"in {folder}" if found else f"to be downloaded to {folder}"
