"""A run's state in one file, from which it goes on bit for bit."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from .._run.minimize import State
from . import _archive as archive
from ._errors import UnusableError

# Why a run is over that has not failed.
ALL_STEPS, OUT_OF_TIME = "all steps were taken", "the time given was over"


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

    @property
    def finished(self) -> bool:
        """Whether it has come to its wanted end."""
        return self.ended in (ALL_STEPS, OUT_OF_TIME)

    @property
    def failed(self) -> bool:
        """Whether it is over and did not come to its wanted end."""
        return bool(self.ended) and not self.finished


def save(path: pathlib.Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint, atomically."""
    leaves = jax.device_get(jax.tree.leaves(checkpoint.state))
    arrays: dict[str, Any] = {f"state/{i}": leaf for i, leaf in enumerate(leaves)}
    arrays |= {f"history/{name}": column for name, column in checkpoint.history.items()}
    arrays |= {"seconds": checkpoint.seconds, "ended": checkpoint.ended}
    archive.save(path, arrays, sealed=True)


def load(path: pathlib.Path, like: State) -> Checkpoint:
    """Read a checkpoint whose state has the structure of `like`."""
    try:
        arrays = archive.load(path, sealed=True)
    except archive.DamagedError as error:
        raise UnusableError(
            f"{path} is damaged ({error}): delete it to start the run again."
        ) from error
    expected, structure = jax.tree.flatten(like)
    found = [array for name, array in arrays.items() if name.startswith("state/")]
    try:
        leaves = [_as_kind(kind, leaf) for kind, leaf in zip(expected, found, strict=True)]
        seconds, ended = float(arrays["seconds"]), str(arrays["ended"])
    except (KeyError, ValueError, TypeError) as error:
        raise UnusableError(
            f"{path} was written by another version of bilevax or with another precision: "
            "delete its folder to start the run again."
        ) from error
    columns = {n.split("/", 1)[1]: a for n, a in arrays.items() if n.startswith("history/")}
    return Checkpoint(jax.tree.unflatten(structure, leaves), columns, seconds, ended)


def _as_kind(expected: Any, found: np.ndarray) -> Any:
    """A leaf as what it was: an array of one shape and dtype, or a Python integer."""
    wanted = np.asarray(expected)
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        raise ValueError(f"{found.dtype}{found.shape} is not {wanted.dtype}{wanted.shape}")
    return int(found) if isinstance(expected, int) else jax.numpy.asarray(found)
