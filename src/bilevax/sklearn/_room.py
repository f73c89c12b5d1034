"""Few sizes for many: what is a little smaller is filled up with zeros, and shares programs."""

import numpy as np

# Numbers of a table beyond which compiling is little beside computing.
_LARGE = 2e6


def room(size: int, least: int) -> int:
    """The next of four sizes per doubling.

    >>> [room(size, 8) for size in (3, 30, 33, 442, 900)]
    [8, 32, 40, 448, 1024]
    """
    unit = 1 << max((size - 1).bit_length() - 3, 0)
    return max(least, -(-size // unit) * unit)


def rooms(shape: tuple[int, int]) -> tuple[int, int]:
    """Of a table's rows and columns; a large one has just its own."""
    rows, columns = shape
    return shape if rows * columns > _LARGE else (room(rows, 32), room(columns, 8))


def filled(array: np.ndarray, *sizes: int) -> np.ndarray:
    """With zeros behind it on the first axes, up to such sizes."""
    more = [(0, size - own) for size, own in zip(sizes, array.shape, strict=False)]
    return np.pad(array, more + [(0, 0)] * (array.ndim - len(sizes)))
