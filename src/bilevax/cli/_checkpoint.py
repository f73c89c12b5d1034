"""A run's state in one file, from which it goes on bit for bit."""

import dataclasses
import io
import pathlib
import zipfile
from typing import Any

import jax
import numpy as np

from .._minimize import State
from ._errors import UnusableError
from ._folder import write


@dataclasses.dataclass
class Checkpoint:
    """Where a run stands.

    - `state`: that of `bx.minimize`;
    - `history`: its columns so far;
    - `seconds`: how long it has trained;
    - `ended`: why it is over; empty while it is not.
    """

    state: State
    history: dict[str, np.ndarray]
    seconds: float = 0.0
    ended: str = ""

    @property
    def step(self) -> int:
        """Outer steps taken."""
        return int(self.state.loop.step)


def save(path: pathlib.Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint, atomically."""
    leaves = jax.device_get(jax.tree.leaves(checkpoint.state))
    arrays: dict[str, Any] = {f"state/{i}": leaf for i, leaf in enumerate(leaves)}
    arrays |= {f"history/{name}": column for name, column in checkpoint.history.items()}
    arrays |= {"seconds": checkpoint.seconds, "ended": checkpoint.ended}
    file = io.BytesIO()
    np.savez(file, **arrays)
    write(path, file.getvalue())


def load(path: pathlib.Path, like: State) -> Checkpoint:
    """Read a checkpoint whose state has the structure of `like`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UnusableError(
            f"{path} is damaged ({error}): delete it to start the run again."
        ) from error
    expected, structure = jax.tree.flatten(like)
    try:
        found = [arrays[f"state/{i}"] for i in range(len(expected))]
        leaves = [_as_kind(kind, leaf) for kind, leaf in zip(expected, found, strict=True)]
        seconds, ended = float(arrays["seconds"]), str(arrays["ended"])
    except (KeyError, ValueError) as error:
        raise UnusableError(
            f"{path} was written by another version of bilevax or with another precision: "
            "delete its folder to start the run again."
        ) from error
    columns = {n.split("/", 1)[1]: a for n, a in arrays.items() if n.startswith("history/")}
    return Checkpoint(jax.tree.unflatten(structure, leaves), columns, seconds, ended)


def _as_kind(expected: Any, found: np.ndarray) -> Any:
    """A leaf as what it was: an array of one shape and dtype, or a Python integer."""
    if isinstance(expected, int):
        return int(found)
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"{found.dtype}{found.shape} is not {expected}")
    return jax.numpy.asarray(found)
