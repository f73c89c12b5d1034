"""What a run is told to do."""

import contextlib
import dataclasses
import difflib
import os
import pathlib
from typing import Any, get_args

from .. import algorithms
from ..datasets._known import KNOWN
from ._errors import UnusableError, one_of

MODELS = ("logistic", "ridge")
PENALTIES = ("per-feature", "per-class", "shared")
ALGORITHMS = tuple(name.replace("_", "-") for name in algorithms.__all__)
DATASETS = tuple(KNOWN)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides a trajectory, and how far to follow it.

    `--resume` needs the same of all but `steps`, `seconds`, `save_every` and
    `baseline_seconds`, which only say how far and how safely a run goes.
    """

    dataset: str
    label: str | None = None
    zero_based: bool = False
    model: str = "logistic"
    penalty: str = "per-feature"
    algorithm: str = "amigo-cg"
    inner_steps: int | None = None
    adjoint_steps: int | None = None
    step_size: float | None = None
    batch_size: int | None = None
    valid: str = "0.5"
    test: str | None = None
    seed: int = 0
    steps: int = 200
    seconds: float | None = None
    save_every: int = 25
    baseline_seconds: float = 120.0

    def __post_init__(self):
        one_of("--model", self.model, MODELS)
        one_of("--penalty", self.penalty, PENALTIES)
        one_of("--algorithm", self.algorithm, ALGORITHMS)
        for name in ("inner_steps", "adjoint_steps", "batch_size", "steps", "save_every"):
            _check(name, getattr(self, name), 1, "at least 1")
        _check("seed", self.seed, 0, "at least 0")
        _check("baseline_seconds", self.baseline_seconds, 0, "at least 0")
        for name in ("step_size", "seconds"):
            _check(name, getattr(self, name), 1e-30, "positive and finite")

    @property
    def name(self) -> str:
        """The data set's name, or the file's without its endings."""
        if self.named:
            return self.dataset
        return pathlib.Path(self.dataset).name.lstrip(".").split(".")[0] or "data"

    @property
    def named(self) -> bool:
        """Whether the data set is one that bilevax knows."""
        return self.dataset in DATASETS


_LARGEST = 2**31 - 1
HOW_FAR = ("steps", "seconds", "save_every", "baseline_seconds")


def option(name: str) -> str:
    """The option that sets a field.

    >>> option("save_every")
    '--save-every'
    """
    return "DATASET" if name == "dataset" else "--" + name.replace("_", "-")


def resolved(given: dict[str, Any], saved: dict[str, Any] | None) -> Settings:
    """Settings from what was given, then from a run to be resumed, then the defaults."""
    given = {name: _plain(name, v) for name, v in given.items() if v is not None}
    # A limit of time is for one call.
    saved = None if saved is None else {**saved, "seconds": None}
    if "dataset" not in given and saved is None:
        raise UnusableError(f"Say which DATASET: {', '.join(DATASETS)}, or the path of a file.")
    return Settings(**{**(saved or {}), **given})


def from_saved(saved: dict[str, Any]) -> Settings:
    """Settings from a file that may have been changed by others."""
    for field in dataclasses.fields(Settings):
        value, kind = saved[field.name], field.type
        kinds: tuple[Any, ...] = get_args(kind) or (kind,)
        # By the type itself, since True is an int.
        if type(value) not in kinds:
            names = " or ".join(kind.__name__ for kind in kinds)
            raise UnusableError(f"{option(field.name)} must be {names}, got {value!r}.")
    return Settings(**saved)


def _plain(name: str, value: Any) -> Any:
    """One spelling of a value: files by their whole path, shares as numbers."""
    if name in ("valid", "test"):
        with contextlib.suppress(ValueError):
            return str(float(value))
    if name in ("dataset", "valid", "test") and value not in DATASETS:
        return os.path.realpath(value)
    return value


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The options in which two runs are not the same run."""
    names = [field.name for field in dataclasses.fields(Settings)]
    return [n for n in names if n not in HOW_FAR and one.get(n) != other.get(n)]


def check_dataset(dataset: str) -> None:
    """Raises where a data set is neither known nor a file."""
    if dataset in DATASETS or os.path.exists(dataset):
        return
    if os.path.islink(dataset):
        raise UnusableError(f"{dataset} is a link that leads to no file: mend or replace it.")
    name = pathlib.Path(dataset).name
    near = difflib.get_close_matches(name.lower(), DATASETS, 1, cutoff=0.6)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise UnusableError(
        f"There is no file {dataset}, nor is it a known data set.{meant} Known are "
        f"{', '.join(DATASETS)}."
    )


def _check(name: str, value: float | int | None, least: float | int, words: str) -> None:
    # Written so that NaN does not pass.
    if isinstance(value, int) and value > _LARGEST:
        raise UnusableError(f"{option(name)} must be at most {_LARGEST:,}, got {value:,}.")
    if value is not None and not (least <= value < float("inf")):
        raise UnusableError(f"{option(name)} must be {words}, got {value}.")
