"""A run's state in one file, from which it goes on bit for bit."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from ..._run.minimize import State
from .. import _archive as archive
from .._errors import UnusableError
from .._outcome import ALL_STEPS, OUT_OF_TIME

_STATE = "state"


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
    arrays: dict[str, Any] = jax.device_get(_by_path(checkpoint.state))
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
    try:
        state = _state(arrays, like)
        seconds, ended = float(arrays["seconds"]), str(arrays["ended"])
    except (KeyError, ValueError, TypeError) as error:
        raise UnusableError(
            f"{path} was written by another version of bilevax or with another precision "
            f"({error}): delete its folder to start the run again."
        ) from error
    columns = {n.split("/", 1)[1]: a for n, a in arrays.items() if n.startswith("history/")}
    return Checkpoint(state, columns, seconds, ended)


def _by_path(state: State) -> dict[str, Any]:
    """The leaves under their paths, such as `state.loop.x`."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {_STATE + jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _state(arrays: dict[str, np.ndarray], like: State) -> State:
    """The state whose leaves are under their paths; raises where there are others."""
    expected = _by_path(like)
    found = {name: array for name, array in arrays.items() if name.startswith(_STATE)}
    for names, words in (
        (expected.keys() - found.keys(), "it has no {}"),
        (found.keys() - expected.keys(), "it has {}, which is not known here"),
    ):
        if names:
            raise ValueError(words.format(min(names)))
    leaves = [_as_kind(name, leaf, found[name]) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _as_kind(name: str, expected: Any, found: np.ndarray) -> Any:
    """A leaf as what it was: an array of one shape and dtype, or a Python integer."""
    wanted = np.asarray(expected)
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        there, here = (f"{array.dtype}{array.shape}" for array in (found, wanted))
        raise ValueError(f"{name} is {there} and not {here}")
    return int(found) if isinstance(expected, int) else jax.numpy.asarray(found)
