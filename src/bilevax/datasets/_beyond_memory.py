"""Features that stay in a file, and are checked a block at a time."""

import hashlib
import os
import pathlib
import secrets
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._formats import check_label, check_width, checked_target, target_of
from ._names import NumberedNames
from ._numbers import Checks
from ._table import (
    COLUMNAR,
    columns_of,
    label_column,
    read_batches,
    read_columns,
    table_shape,
)

# Bytes of a block.
_BLOCK = 2**24
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def size_of(path: pathlib.Path, kind: str, label: Any) -> int:
    """Bytes of the features, of a file that can be read in parts; 0 of others."""
    if kind in COLUMNAR:
        rows, names = table_shape(path, kind)
        return 4 * rows * len(names)
    check_label(path, kind, label)
    return _mapped(path, kind).nbytes if kind in ("npz", "npy") else 0


def read_mapped(path: pathlib.Path, kind: str, label: Any, wanted: Any):
    """As `read`, with features that stay on disk, once they were checked."""
    if kind in COLUMNAR:
        return _table(path, kind, label, wanted)
    data = _mapped(path, kind)
    target = checked_target(path, data, target_of(path, label))
    check_width(path, data, None if wanted is None else len(wanted))
    names = NumberedNames(data.shape[1]) if wanted is None else wanted
    checks = Checks(path, names)
    for block in _blocks(path, data):
        checks.add(block)
    checks.finish(to_fit=wanted is None)
    return data, target, names, None


def _mapped(path: pathlib.Path, kind: str) -> np.memmap:
    """The features of an NPY or NPZ file, of which none is read."""
    try:
        with open(path, "rb") as file:
            if kind == "npz":
                file.seek(_begin_of_member(path, file, "X.npy"))
            shape, by_columns, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
            offset = file.tell()
    except (KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} could not be read: write it with NumPy ({error}).") from error
    if by_columns or dtype.hasobject:
        raise ValueError(
            f"{path}: features that stay on disk are numbers, row after row: write "
            "numpy.ascontiguousarray(X)."
        )
    return np.memmap(path, dtype, "r", offset, shape)


def _begin_of_member(path: pathlib.Path, file: Any, name: str) -> int:
    """Where an array begins in an archive, whose local header has lengths of its own."""
    with zipfile.ZipFile(path) as archive:
        if name not in archive.namelist():
            raise ValueError(f"{path} needs the array '{name.removesuffix('.npy')}'.")
        member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            f"{path} is compressed, and rows in it cannot be read one by one: write it with "
            "numpy.savez, or numpy.save(file, X), or pass on_disk_above=None to load it."
        )
    file.seek(member.header_offset + 26)
    return member.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))


def _blocks(path: pathlib.Path, data: np.memmap) -> Iterator[np.ndarray]:
    """Its rows. Each block is mapped by itself: what stays mapped counts as memory."""
    size = max(_BLOCK // max(data[:1].nbytes, 1), 1)
    for start in range(0, len(data), size):
        offset, num = data.offset + start * data[:1].nbytes, min(size, len(data) - start)
        yield np.array(np.memmap(path, data.dtype, "r", offset, (num, data.shape[1])))


def _table(path: pathlib.Path, kind: str, label: str | None, wanted: Any):
    """As `read_table`, with features in an NPY file beside the table, written once."""
    rows, columns = table_shape(path, kind)
    label = label_column(path, columns, label)
    names = [name for name in columns if name != label] if wanted is None else list(wanted)
    target = read_columns(path, kind, label)
    beside = _beside(path, names)
    if not beside.exists():
        _write(path, kind, names, beside, (rows, len(names)), wanted is None)
    return np.load(beside, mmap_mode="r"), target, names, label


def _beside(path: pathlib.Path, names: list[str]) -> pathlib.Path:
    """The name of the features of a table as it is now."""
    found = path.stat()
    told = repr((names, found.st_size, found.st_mtime_ns)).encode()
    return path.with_name(f"{path.name}.{hashlib.blake2b(told, digest_size=6).hexdigest()}.npy")


def _write(path, kind: str, names: list[str], beside: pathlib.Path, shape, fit: bool) -> None:
    """Whole or not at all: a part has another name."""
    part, checks = beside.with_name(f".{secrets.token_hex(8)}.part"), Checks(path, names)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    try:
        with open(part, "xb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for frame in read_batches(path, kind, names, max(_BLOCK // (8 * len(names)), 1)):
                block = columns_of(path, frame, names, checks.rows)
                checks.add(block)
                file.write(block.astype("<f4").tobytes())
        checks.finish(to_fit=fit)
        os.replace(part, beside)
    finally:
        part.unlink(missing_ok=True)
