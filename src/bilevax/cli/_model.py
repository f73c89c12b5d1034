"""The fitted model: on features as they came, in one file."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from scipy.special import softmax

from . import _archive as archive
from ._errors import UnusableError

WEIGHTS = "weights.npz"


@dataclasses.dataclass(frozen=True)
class Model:
    """`features @ coefficients + intercept`, one column a class or a single one.

    - `class_names`: empty for a regression.
    - `probabilities`: whether the scores are logits.
    - `failure`: how the run that made it failed; empty where it did not.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    feature_names: list[str]
    class_names: list[str]
    probabilities: bool
    failure: str = ""

    def scores(self, features: Any) -> np.ndarray:
        """One row a row."""
        return np.asarray(features @ self.coefficients) + self.intercept

    def predict(self, features: Any) -> dict[str, np.ndarray]:
        """The columns of an answer: the prediction and, for logits, each probability."""
        with np.errstate(over="ignore", invalid="ignore"):
            scores = self.scores(features)
        overflown = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if len(overflown):
            raise UnusableError(
                f"The scores of row {overflown[0] + 1} are too large for a number: its "
                "features are far from all that the model was fitted on. Mend or leave out "
                "the row."
            )
        if not self.class_names:
            return {"prediction": scores[:, 0]}
        names = np.array(self.class_names)
        found = {"prediction": names[scores.argmax(axis=1)]}
        if self.probabilities:
            shares = softmax(scores, axis=1)
            found |= {f"probability_{n}": shares[:, i] for i, n in enumerate(names)}
        return found

    def save(self, path: pathlib.Path) -> None:
        """Write the model, atomically."""
        archive.save(path, vars(self))

    @classmethod
    def load(cls, path: pathlib.Path) -> "Model":
        """Read a model."""
        try:
            arrays = archive.load(path)
            _check(arrays)
        except archive.DamagedError as error:
            raise UnusableError(
                f"{path} could not be read as a model ({error}): bring back the file that was "
                "there, or run `bilevax tune` again in another folder."
            ) from error
        names = {name: arrays[name].astype(str).tolist() for name in _NAMES}
        numbers = {name: arrays[name].astype(float) for name in _NUMBERS}
        flag, failure = bool(arrays["probabilities"]), str(arrays["failure"])
        return cls(**numbers, **names, probabilities=flag, failure=failure)


_NUMBERS, _NAMES = ("coefficients", "intercept"), ("feature_names", "class_names")


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Raises where the arrays are not those of one model: of such a file, nothing is served."""
    missing = {field.name for field in dataclasses.fields(Model)} - arrays.keys()
    if missing:
        raise archive.DamagedError(f"{min(missing)} is missing")
    features, classes = (arrays[name].size for name in _NAMES)
    columns = classes or 1
    for name, kinds, kind, shape in (
        ("coefficients", "fiu", "real numbers", (features, columns)),
        ("intercept", "fiu", "real numbers", (columns,)),
        ("feature_names", "U", "text", (features,)),
        ("class_names", "U", "text", (classes,)),
        ("probabilities", "b", "true or false", ()),
        ("failure", "U", "text", ()),
    ):
        array = arrays[name]
        # An empty list of names has no kind.
        if array.dtype.kind not in kinds and array.size:
            raise archive.DamagedError(f"{name} must be {kind}, not {array.dtype}")
        if array.shape != shape:
            raise archive.DamagedError(
                f"{name} has the shape {array.shape} where the other arrays want {shape}"
            )
    if len(set(arrays["class_names"].tolist())) < classes:
        raise archive.DamagedError("class_names has a name twice")
    for name in _NUMBERS:
        if not np.isfinite(arrays[name]).all():
            raise archive.DamagedError(f"{name} has entries that are infinite or NaN")
