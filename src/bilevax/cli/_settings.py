"""What a run is told to do."""

import contextlib
import dataclasses
import difflib
import inspect
import os
import pathlib
from typing import Annotated, Any, get_args, get_type_hints

from .. import algorithms
from ..datasets._known import KNOWN
from ._errors import UnusableError
from ._options import POSITIVE, Told, option, told

MODELS = ("logistic", "ridge")
PENALTIES = ("auto", "per-feature", "per-class", "shared")


def _needs_only_a_step(name: str) -> bool:
    """Whether a preset does without constants that nobody knows of a data set."""
    accepted = inspect.signature(getattr(algorithms, name)).parameters.values()
    needed = [p.name for p in accepted if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    return set(needed) <= {"outer_step_size"}


ALGORITHMS = tuple(
    name.replace("_", "-") for name in algorithms.__all__ if _needs_only_a_step(name)
)
DATASETS = tuple(KNOWN)
# What is taken where an option is left out whose meaning depends on others.
INNER_STEPS, ADJOINT_STEPS, TEST_SHARE = 20, 10, "0.2"
_ON_FOLDS = {"penalty": "auto", "steps": 32, "cv": 5}
_BY_ALGORITHM = {"penalty": "per-feature", "steps": 200, "valid": "0.5"}
# What has a meaning with --algorithm only.
_OF_ALGORITHMS = ("inner_steps", "adjoint_steps", "step_size", "batch_size", "devices")
# Of a field that is filled in.
_LATER: Any = None


def _penalty(value: str) -> str:
    """scikit-learn's users know one penalty for each feature as "feature"."""
    return "per-feature" if value == "feature" else value


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
        Told(
            f"{', '.join(DATASETS)}, or a LIBSVM, CSV, NPZ, NPY, Parquet or Arrow file",
            spelt=_place,
        ),
    ]
    label: Annotated[
        str | None,
        Told(
            "Label column of a table, or the NPY file of an array's labels",
            default="found by name",
        ),
    ] = None
    zero_based: Annotated[
        bool, Told("The indices of a LIBSVM file begin with 0", default="with 1")
    ] = False
    model: Annotated[str, Told("Regression", choices=MODELS)] = "logistic"
    penalty: Annotated[
        str,
        Told(
            "Penalties",
            default="auto; per-feature with --algorithm",
            choices=PENALTIES,
            spelt=_penalty,
        ),
    ] = _LATER
    cv: Annotated[int | None, Told("Folds", default="5", least=2)] = None
    algorithm: Annotated[
        str | None,
        Told(
            "Learn on one split, by an algorithm to study",
            default="none: folds, with nothing to set",
            choices=ALGORITHMS,
        ),
    ] = None
    inner_steps: Annotated[
        int | None,
        Told("Of the algorithm: inner steps", default=f"{INNER_STEPS}", least=1),
    ] = None
    adjoint_steps: Annotated[
        int | None,
        Told("Of the algorithm: adjoint steps", default=f"{ADJOINT_STEPS}", least=1),
    ] = None
    step_size: Annotated[
        float | None,
        Told(
            "Of the algorithm: a constant outer step",
            default="adapted: 1 / root of the squared gradients so far",
            least=POSITIVE,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Told("Of the algorithm: random rows a call", default="all rows", least=1),
    ] = None
    devices: Annotated[
        int | None,
        Told("Of the algorithm: devices that share the rows", default="1", least=1),
    ] = None
    valid: Annotated[
        str | None,
        Told(
            "One split in place of folds: share of the rows without test rows, or a file",
            default="folds; 0.5 with --algorithm",
            spelt=_share_or_place,
        ),
    ] = None
    test: Annotated[
        str | None,
        Told(
            "Share of all rows, or a file",
            default=f"{TEST_SHARE}, or the set's own test rows",
            spelt=_share_or_place,
        ),
    ] = None
    seed: Annotated[int, Told("Seed of the splits and of random rows", least=0)] = 0
    steps: Annotated[
        int,
        Told(
            "Outer steps at most",
            default="32; 200 with --algorithm",
            least=1,
            may_change=True,
        ),
    ] = _LATER
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
        int,
        Told("Of the algorithm: outer steps between checkpoints", least=1, may_change=True),
    ] = 25
    baseline_seconds: Annotated[
        float,
        Told("Most seconds for the baseline; 0 leaves it out", least=0, may_change=True),
    ] = 120.0

    def __post_init__(self):
        for name, said in told(Settings).items():
            said.check(name, getattr(self, name))
        self._check_kind()
        defaults = dict(_ON_FOLDS if self.algorithm is None else _BY_ALGORITHM)
        if self.algorithm is None and self.valid is not None:
            del defaults["cv"]
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def _check_kind(self) -> None:
        """Raises where an option is for the other way to learn."""
        if self.cv is not None and self.valid is not None:
            raise UnusableError("--cv and --valid exclude each other: folds, or one split.")
        if self.algorithm is None:
            for name in _OF_ALGORITHMS:
                if getattr(self, name) is not None:
                    raise UnusableError(f"{option(name)} is for a run with --algorithm.")
            if self.penalty == "per-class":
                raise UnusableError("--penalty per-class is for a run with --algorithm.")
        elif self.cv is not None:
            raise UnusableError("--cv is for a run without --algorithm, which has one split.")
        elif self.penalty == "auto":
            raise UnusableError(_AUTO)

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


_AUTO = (
    "--penalty auto is for a run without --algorithm: say --penalty per-feature, per-class or "
    "shared."
)
