"""The fitted model: on features as they came, in one file."""

import dataclasses
import io
import pathlib
import zipfile
from typing import Any

import numpy as np
from scipy.special import softmax

from ._errors import UnusableError
from ._folder import write

WEIGHTS = "weights.npz"


@dataclasses.dataclass(frozen=True)
class Model:
    """`features @ coefficients + intercept`, one column a class or a single one.

    - `class_names`: empty for a regression.
    - `probabilities`: whether the scores are logits.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    feature_names: list[str]
    class_names: list[str]
    probabilities: bool

    def scores(self, features: Any) -> np.ndarray:
        """One row a row."""
        return np.asarray(features @ self.coefficients) + self.intercept

    def predict(self, features: Any) -> dict[str, np.ndarray]:
        """The columns of an answer: the prediction and, for logits, each probability."""
        scores = self.scores(features)
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
        file = io.BytesIO()
        np.savez(file, **vars(self))
        write(path, file.getvalue())

    @classmethod
    def load(cls, path: pathlib.Path) -> "Model":
        """Read a model."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            names = {n: [str(v) for v in arrays[n]] for n in ("feature_names", "class_names")}
            numbers = arrays["coefficients"], arrays["intercept"]
            return cls(*numbers, **names, probabilities=bool(arrays["probabilities"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UnusableError(f"{path} could not be read as a model ({error}).") from error
