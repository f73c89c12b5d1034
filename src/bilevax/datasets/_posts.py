"""scikit-learn's archive of 20 Newsgroups, read without running anything in it."""

import io
import pathlib
import pickle
import zlib
from typing import Any, NamedTuple

import numpy as np

# The archive unpacks to 40 MB: what grows beyond this is something else.
_MOST_BYTES = 2**28


class Posts(NamedTuple):
    """Texts, and an integer a text that says which group it is from."""

    texts: list[str]
    target: np.ndarray


def read_posts(path: pathlib.Path, content: bytes) -> tuple[dict[str, Posts], list[str]]:
    """The posts of "train" and "test", and the groups' names.

    The archive is a pickle, and a pickle may name any function to be called. Here it can name
    only what stands in `_ADMITTED`, and each of these becomes something that keeps what it is
    given and does nothing.
    """
    try:
        found = _Unpickler(io.BytesIO(_unpacked(content))).load()
        names = [str(name) for name in found["train"]["target_names"]]
        return {part: _posts(found[part], len(names)) for part in ("train", "test")}, names
    except Exception as error:  # a pickle of something else may raise anything
        raise ValueError(
            f"{path} is not scikit-learn's archive of 20 Newsgroups, or it is damaged "
            f"({error}): delete it, and it will be downloaded again."
        ) from error


def _unpacked(content: bytes) -> bytes:
    stream = zlib.decompressobj()
    unpacked = stream.decompress(content, _MOST_BYTES)
    if not stream.eof:
        raise ValueError("it is cut off, or too large")
    return unpacked


def _posts(bunch: Any, num: int) -> Posts:
    texts, target = bunch["data"], bunch["target"].integers()
    if not all(isinstance(text, str) for text in texts) or target.shape != (len(texts),):
        raise ValueError("it does not hold one text a label")
    if not np.all((target >= 0) & (target < num)):
        raise ValueError("it has labels without a name")
    return Posts(texts, target)


class _Bunch(dict):
    """What a Bunch is without its methods."""

    def __setstate__(self, state):
        pass


class _Kept:
    """A call that was not made: its arguments, and the state that was to be set."""

    state: Any = ()

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state

    def integers(self) -> np.ndarray:
        """The array of integers that this stands for."""
        _, shape, kind, _, content = self.state
        dtype = np.dtype(kind.state[1] + kind.arguments[0])
        if dtype.kind not in "iu":
            raise ValueError(f"its labels are not integers, but {dtype}")
        return np.frombuffer(content, dtype).reshape(shape)


_ADMITTED = {
    ("sklearn.utils._bunch", "Bunch"): _Bunch,
    ("sklearn.utils", "Bunch"): _Bunch,
    ("sklearn.datasets.base", "Bunch"): _Bunch,
    ("numpy", "ndarray"): _Kept,
    ("numpy", "dtype"): _Kept,
    ("numpy._core.multiarray", "_reconstruct"): _Kept,
    ("numpy.core.multiarray", "_reconstruct"): _Kept,
}


class _Unpickler(pickle.Unpickler):
    """Lists, dictionaries, numbers and texts, and what is admitted beside them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not admitted")
        return _ADMITTED[module, name]
