"""What a run is told to do."""

import contextlib
import dataclasses
import difflib
import os
import pathlib
from typing import Annotated, Any, get_args, get_type_hints

from .. import algorithms
from ..datasets._known import KNOWN
from ._errors import UnusableError
from ._options import POSITIVE, Told, option, told

MODELS = ("logistic", "ridge")
PENALTIES = ("per-feature", "per-class", "shared")
ALGORITHMS = tuple(name.replace("_", "-") for name in algorithms.__all__)
DATASETS = tuple(KNOWN)
# What is taken where an option is left out whose meaning depends on others.
INNER_STEPS, ADJOINT_STEPS, TEST_SHARE = 20, 10, "0.2"


def _place(value: str) -> str:
    """A file by its whole path."""
    return value if value in DATASETS else os.path.realpath(value)


def _share_or_place(value: str) -> str:
    """A share as a number, or a file by its whole path."""
    with contextlib.suppress(ValueError):
        return str(float(value))
    return _place(value)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides a trajectory, and how far to follow it.

    `--resume` needs the same of all but what `may_change`, which only says how far and how
    safely a run goes.
    """

    dataset: Annotated[
        str,
        Told(f"{', '.join(DATASETS)}, or a LIBSVM, CSV, NPZ or Parquet file", spelt=_place),
    ]
    label: Annotated[str | None, Told("Label column of a table", default="found by name")] = (
        None
    )
    zero_based: Annotated[
        bool, Told("The indices of a LIBSVM file begin with 0", default="with 1")
    ] = False
    model: Annotated[str, Told("Regression", choices=MODELS)] = "logistic"
    penalty: Annotated[str, Told("Penalties", choices=PENALTIES)] = "per-feature"
    algorithm: Annotated[str, Told("Algorithm", choices=ALGORITHMS)] = "amigo-cg"
    inner_steps: Annotated[
        int | None, Told("Inner steps an outer step", default=f"{INNER_STEPS}", least=1)
    ] = None
    adjoint_steps: Annotated[
        int | None, Told("Adjoint steps an outer step", default=f"{ADJOINT_STEPS}", least=1)
    ] = None
    step_size: Annotated[
        float | None,
        Told(
            "A constant outer step",
            default="adapted: 1 / root of the squared gradients so far",
            least=POSITIVE,
        ),
    ] = None
    batch_size: Annotated[
        int | None, Told("Random rows for each oracle call", default="all rows", least=1)
    ] = None
    valid: Annotated[
        str, Told("Share of the rows without test rows, or a file", spelt=_share_or_place)
    ] = "0.5"
    test: Annotated[
        str | None,
        Told(
            "Share of all rows, or a file",
            default=f"{TEST_SHARE}, or the set's own test rows",
            spelt=_share_or_place,
        ),
    ] = None
    seed: Annotated[int, Told("Seed of the split and of random rows", least=0)] = 0
    steps: Annotated[int, Told("Outer steps in all", least=1, may_change=True)] = 200
    seconds: Annotated[
        float | None,
        Told(
            "Stop training after so long, this time",
            default="no limit",
            least=POSITIVE,
            may_change=True,
        ),
    ] = None
    save_every: Annotated[
        int, Told("Outer steps between checkpoints", least=1, may_change=True)
    ] = 25
    baseline_seconds: Annotated[
        float,
        Told("Most seconds for the baseline; 0 leaves it out", least=0, may_change=True),
    ] = 120.0

    def __post_init__(self):
        for name, said in told(Settings).items():
            said.check(name, getattr(self, name))

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


def resolved(given: dict[str, Any], saved: dict[str, Any] | None) -> Settings:
    """Settings from what was given, then from a run to be resumed, then the defaults."""
    said = told(Settings)
    given = {name: said[name].spelt(value) for name, value in given.items()}
    # A limit of time is for one call.
    saved = None if saved is None else {**saved, "seconds": None}
    if "dataset" not in given and saved is None:
        raise UnusableError(f"Say which DATASET: {', '.join(DATASETS)}, or the path of a file.")
    return Settings(**{**(saved or {}), **given})


def from_saved(saved: dict[str, Any]) -> Settings:
    """Settings from a file that may have been changed by others."""
    for name, kind in get_type_hints(Settings).items():
        value, kinds = saved[name], get_args(kind) or (kind,)
        # By the type itself, since True is an int.
        if type(value) not in kinds:
            names = " or ".join(kind.__name__ for kind in kinds)
            raise UnusableError(f"{option(name)} must be {names}, got {value!r}.")
    return Settings(**saved)


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The options in which two runs are not the same run."""
    return [
        name
        for name, said in told(Settings).items()
        if not said.may_change and one.get(name) != other.get(name)
    ]


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
