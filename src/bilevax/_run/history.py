"""The history of a run: growing columns, one row a record."""

from typing import Any

import jax
import numpy as np

from .._core.cost import unpacked


class History:
    """Columns that grow by chunks of rows; reading them copies nothing."""

    def __init__(self):
        self._buffers: dict[str, np.ndarray] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, columns: dict[str, np.ndarray]) -> None:
        """Add rows, given as columns of one length."""
        new_length = self._length + len(next(iter(columns.values())))
        for name, column in columns.items():
            self._room(name, column, new_length)[self._length : new_length] = column
        self._length = new_length

    def cut(self, step: int) -> None:
        """Forget the rows of later steps."""
        if self._length:
            steps = self.columns()["step"]
            self._length = int(np.searchsorted(steps, step, side="right"))

    def last_row(self) -> dict[str, np.ndarray]:
        """The last row, as columns of one number."""
        return {name: column[-1:].copy() for name, column in self.columns().items()}

    def ends_at(self, step: int) -> bool:
        """Whether the last row is that of a step."""
        return self._length > 0 and bool(self.columns()["step"][-1] == step)

    def columns(self) -> dict[str, np.ndarray]:
        """All rows so far, as a dict of arrays."""
        return {name: buffer[: self._length] for name, buffer in self._buffers.items()}

    def _room(self, name: str, column: np.ndarray, length: int) -> np.ndarray:
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < length:
            grown = np.empty((2 * length, *column.shape[1:]), column.dtype)
            if buffer is not None:
                grown[: self._length] = buffer[: self._length]
            self._buffers[name] = buffer = grown
        return buffer


RESERVED = {"step", "value", "gradient_norm", "calls", "rows", "seconds"} | {
    "inner_gradient",
    "hvp",
    "cross",
    "outer_gradient",
    "inner_residual",
    "adjoint_residual",
    "inner_step_size",
}


def columns_of(
    rows: dict[str, Any], keep: np.ndarray, before, seconds
) -> dict[str, np.ndarray]:
    """The columns of the rows to keep, with costs counted on from `before`.

    `seconds` is the start and the end of the chunk, between which records are spread.
    """
    start, end = seconds
    kept = jax.tree.map(lambda column: np.asarray(column)[keep], rows)
    cost = unpacked(kept["cost"]) + before
    num = int(keep.sum())
    return {
        "step": kept["step"].astype(np.int64),
        "value": kept["value"],
        "gradient_norm": kept["gradient_norm"],
        "inner_gradient": cost.inner_gradient,
        "hvp": cost.hvp,
        "cross": cost.cross,
        "outer_gradient": cost.outer_gradient,
        "calls": cost.total,
        "rows": cost.rows.total,
        "seconds": np.linspace(start, end, num + 1)[1:],
        **kept["residuals"],
        **kept["metrics"],
    }
