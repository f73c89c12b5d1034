"""Our NPZ files: written whole, and read with suspicion."""

import hashlib
import io
import pathlib
import zipfile
from typing import Any

import numpy as np

from .._core.files import write
from ._folder import check_ordinary

_CHECKSUM = "checksum"


class DamagedError(Exception):
    """What is wrong with a file, in a few words."""


def save(path: pathlib.Path, arrays: dict[str, Any], *, sealed: bool = False) -> None:
    """Replace a file, atomically; a sealed one tells when anything in it was changed."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    if sealed:
        arrays[_CHECKSUM] = np.array(_checksum(arrays))
    file = io.BytesIO()
    np.savez(file, **arrays)
    write(path, file.getvalue())


def load(path: pathlib.Path, *, sealed: bool = False) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    try:
        check_ordinary(path)
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no NPZ archive, or not a whole one")
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
    except Exception as error:
        # Foreign bytes can raise anything, from zlib's errors to those of NumPy's parser.
        raise DamagedError(str(error) or type(error).__name__) from error
    if sealed:
        found = arrays.pop(_CHECKSUM, np.array(""))
        if found.ndim or str(found) != _checksum(arrays):
            raise DamagedError("it is not what bilevax wrote there")
    return arrays


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    """A hash of names, kinds and numbers."""
    found = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        found.update(f"{name}{array.dtype.str}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()
