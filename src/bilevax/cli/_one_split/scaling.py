"""Features on a common scale, and models back on the original one."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse

from .._tables import Rows, Table, largest


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How features enter a linear model: `(a - mean) / scale`, and then a constant.

    Gradient methods need as many steps as the features' scales and means differ. So:

    - dense features are centred, and the columns of a user's file divided by their
      standard deviation; pixels share a unit already;
    - sparse features are not centred, which would fill them; the columns of a user's file
      with entries beyond [-1, 1] are divided by their largest absolute value, the others
      are left;
    - the constant is the root mean square of the scaled features, so that the intercept,
      which has a penalty of its own as the others have, is no stiffer than they are;
    - numbers to predict are centred and divided by their standard deviation, `unit`.

    All of it is measured on the training rows.
    """

    mean: np.ndarray
    scale: np.ndarray
    constant: float
    offset: float
    unit: float

    @classmethod
    def of(cls, table: Table, named: bool) -> "Scaling":
        """The scaling of a table; `named` data sets have a unit that is kept."""
        features, targets = table.train
        mean, scale = np.zeros(features.shape[1]), np.ones(features.shape[1])
        if scipy.sparse.issparse(features):
            if not named:
                scale = np.maximum(largest(features), 1)
            # In doubles: squares of single precision overflow beyond 1e19.
            square = features.multiply(1 / scale).power(2).sum() / np.prod(features.shape)
        else:
            mean = features.mean(axis=0, dtype=float)
            deviation = features.std(axis=0, dtype=float)
            if table.kind == "columns":
                scale = _or_one(deviation)
            square = np.mean((deviation / scale) ** 2)
        constant = float(np.sqrt(square)) or 1.0
        if table.class_names:
            return cls(mean, scale, constant, 0.0, 1.0)
        offset, unit = float(np.mean(targets)), float(np.std(targets))
        return cls(mean, scale, constant, offset, unit or 1.0)

    def features(self, features: Any) -> Any:
        """The scaled features, in float32, with the constant as the last column."""
        constant = np.full((features.shape[0], 1), self.constant, np.float32)
        if scipy.sparse.issparse(features):
            scaled = features.multiply(1 / self.scale)
            return scipy.sparse.hstack([scaled, constant]).tocsr().astype(np.float32)
        scaled = (features - self.mean.astype(np.float32)) / self.scale.astype(np.float32)
        return np.hstack([scaled, constant])

    def rows(self, rows: Rows) -> Rows:
        """Scaled features and targets."""
        features, targets = rows
        if targets.dtype.kind == "f":
            targets = ((targets - self.offset) / self.unit).astype(np.float32)
        return self.features(features), targets

    def unscaled(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The coefficients and the intercepts of the same model on features as they came."""
        weights = np.asarray(weights, float).reshape(len(self.scale) + 1, -1)
        coefficients = self.unit * weights[:-1] / self.scale[:, None]
        constant = self.unit * self.constant * weights[-1]
        intercept = constant - self.mean @ coefficients + self.offset
        return coefficients, intercept


def _or_one(scale: np.ndarray) -> np.ndarray:
    """A column without variation stays as it is."""
    return np.where(scale > 0, scale, 1.0)
