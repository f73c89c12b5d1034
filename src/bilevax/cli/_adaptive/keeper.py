"""The parts of a fit that are done, in one file, and the wish to stop."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ...sklearn._watch import Part, Watch
from .. import _archive as archive
from .._errors import UnusableError
from .._session import Session


class StoppedError(Exception):
    """Raised between two parts, where the run was interrupted."""


class Keeper(Watch):
    """Keeps each part of a fit when it is done, from where the fit goes on bit for bit.

    - `session`: the call that it is `watched` by;
    - `parts`: leaves of what was computed, under names such as "shared/0";
    - `seconds`: how long each took.
    """

    session: Session

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.parts: dict[str, np.ndarray] = {}
        self.seconds: dict[str, float] = {}
        self.ended_early = False
        self._until: float | None = None

    def take_up(self) -> None:
        """Read what was kept."""
        try:
            arrays = archive.load(self.path, sealed=True)
            self.seconds = {
                name.removeprefix(_SECONDS): float(array)
                for name, array in arrays.items()
                if name.startswith(_SECONDS)
            }
        except (archive.DamagedError, TypeError, ValueError) as error:
            raise UnusableError(
                f"{self.path} is damaged ({error}): delete it to start the run again."
            ) from error
        self.parts = {n: a for n, a in arrays.items() if not n.startswith(_SECONDS)}

    @property
    def done(self) -> list[str]:
        """The names of the parts that are there."""
        return list(self.seconds)

    def watched(self, session: Session, limit: float | None) -> "Keeper":
        """For a call that may last so many seconds."""
        self.session = session
        self._until = None if limit is None else time.perf_counter() + limit
        return self

    def say(self, text: str) -> None:
        self.session.say(f"  {text}")

    def late(self) -> bool:
        self.ended_early = self._until is not None and time.perf_counter() >= self._until
        return self.ended_early

    def part(self, name: str, shape: Part, compute: Callable[[], Part]) -> Part:
        if self.session.interruption.wanted:
            raise StoppedError
        if name in self.seconds:
            return self._kept(name, shape)
        started = time.perf_counter()
        found = jax.tree.map(np.asarray, compute())
        self.seconds[name] = time.perf_counter() - started
        for i, leaf in enumerate(jax.tree.leaves(found)):
            self.parts[f"{name}/{i}"] = leaf
        self._save()
        self.session.part(name, self.seconds[name])
        return found

    def _kept(self, name: str, shape: Any) -> Any:
        structure = jax.tree.structure(shape)
        try:
            leaves = [self.parts[f"{name}/{i}"] for i in range(structure.num_leaves)]
        except KeyError as error:
            raise UnusableError(
                f"{self.path} was written by another version of bilevax ({error} is missing): "
                "delete its folder to start the run again."
            ) from error
        return jax.tree.unflatten(structure, leaves)

    def _save(self) -> None:
        seconds = {_SECONDS + name: np.array(value) for name, value in self.seconds.items()}
        try:
            archive.save(self.path, self.parts | seconds, sealed=True)
        except OSError as error:
            # The run is worth more than its checkpoint.
            self.say(f"Warning: the checkpoint could not be written ({error}).")


_SECONDS = "seconds of "
