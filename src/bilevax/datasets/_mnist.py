"""MNIST from its IDX files."""

import gzip
import hashlib
import os
import pathlib
import zlib
from typing import Any

import numpy as np

from ._arriving import Arriving
from ._home import bunch, chosen_home, pixel_names

_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# SHA-256 of the files' contents, unzipped.
_CHECKSUMS = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
_SUBSETS = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}
_UNSIGNED_BYTES = 0x08


def fetch_mnist(
    *,
    subset: str = "train",
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Any:
    """MNIST: handwritten digits of 28 x 28 pixels, 10 classes.

    `data` is float32 in [0, 1], one row an image; `target` holds integers. The files are
    read from `data_home/mnist`, gzipped or not, and their contents verified.

    **Arguments:**

    - `subset`: "train" (60,000 rows), "test" (10,000) or "all".
    - `data_home`: `None` takes that of `BILEVAX_DATA`, or `~/bilevax_data`.
    - `download_if_missing`: else a missing file raises `OSError`.

    **Raises** `OSError` where a file is missing and cannot be downloaded, `ValueError`
    where one is damaged.
    """
    if subset not in _SUBSETS:
        raise ValueError(f"subset must be one of {', '.join(_SUBSETS)}; got {subset!r}.")
    folder = mnist_folder(data_home)
    load = lambda name: read_idx(_verified(folder, name, download_if_missing), name)
    parts = _SUBSETS[subset]
    images = np.concatenate([load(f"{part}-images-idx3-ubyte") for part in parts])
    labels = np.concatenate([load(f"{part}-labels-idx1-ubyte") for part in parts])
    data = images.reshape(len(images), -1).astype(np.float32) / 255
    names = pixel_names(*images.shape[1:])
    return bunch(data, labels.astype(np.int32), names, map(str, range(10)), return_X_y)


def mnist_folder(data_home: str | os.PathLike | None) -> pathlib.Path:
    """The folder of the four files."""
    return (chosen_home(data_home) or pathlib.Path.home() / "bilevax_data") / "mnist"


def mnist_place(data_home: str | os.PathLike | None) -> tuple[pathlib.Path, bool]:
    """The folder, and whether the images are there."""
    folder = mnist_folder(data_home)
    return folder, any(folder.glob("train-images-idx3-ubyte*"))


def read_idx(content: bytes, name: str = "the file") -> np.ndarray:
    """The array of unsigned bytes that an IDX file holds.

    The format: two zero bytes, the type, the number of dimensions, each dimension as a
    big-endian 32-bit integer, the numbers.

    >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])).tolist()
    [7, 9]
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES:
        raise ValueError(f"{name} is not an IDX file of unsigned bytes.")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4").astype(int)
    if len(shape) != content[3] or len(content) != start + shape.prod():
        raise ValueError(
            f"{name} holds {len(content)} bytes where its header announces "
            f"{start + shape.prod()}: it is damaged or cut off."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _verified(folder: pathlib.Path, name: str, download: bool) -> bytes:
    """The content of a file, fetched if need be, once its checksum was found right."""
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.exists()]
    path = found[0] if found else _downloaded(folder, name, download)
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}): {_AGAIN}") from error
    if hashlib.sha256(content).hexdigest() != _CHECKSUMS[name]:
        raise ValueError(f"{path} is not MNIST's file, by its checksum: {_AGAIN}")
    return content


def _downloaded(folder: pathlib.Path, name: str, allowed: bool) -> pathlib.Path:
    file = f"{name}.gz"
    reason = "downloading was not allowed"
    if allowed:
        import pooch

        try:
            options = {"fname": file, "path": folder, "progressbar": Arriving(file)}
            return pathlib.Path(pooch.retrieve(_MIRROR + file, None, **options))
        except Exception as error:  # whatever the network library raises
            reason = str(error)
    raise OSError(
        f"{file} is not in {folder}, and could not be fetched ({reason}). Download MNIST's "
        f"four files from {_MIRROR} where there is a network, put them in a folder named "
        "mnist, and pass the folder around it as data_home or in BILEVAX_DATA."
    )


_AGAIN = "delete it, and it will be downloaded again."
