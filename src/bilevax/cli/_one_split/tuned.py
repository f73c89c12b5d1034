"""What a run of `bilevax tune` came to."""

import dataclasses
import functools

import numpy as np

from .._model import Model
from .baseline import Baseline
from .checkpoint import Checkpoint
from .tuning import Tuning

INTERCEPT = "(intercept)"


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A run and its last checkpoint, beside the baseline.

    `baseline` is `None` where none was fitted, not even in part.
    """

    tuning: Tuning
    checkpoint: Checkpoint
    baseline: Baseline | None

    @property
    def log_penalties(self) -> np.ndarray:
        """x, as learned."""
        return np.asarray(self.checkpoint.state.loop.x)

    @property
    def penalty_names(self) -> list[str]:
        """What each penalty belongs to."""
        table = self.tuning.table
        return {
            "per-feature": [*table.feature_names, INTERCEPT],
            "per-class": list(table.class_names),
            "shared": ["all features"],
        }[self.tuning.settings.penalty]

    @functools.cached_property
    def model(self) -> Model:
        """The model on features as they came."""
        table = self.tuning.table
        weights = np.asarray(self.checkpoint.state.loop.hypergradient.y)
        coefficients, intercept = self.tuning.task.scaling.unscaled(weights)
        return Model(
            coefficients,
            intercept,
            list(table.feature_names),
            list(table.class_names),
            probabilities=self.tuning.settings.model == "logistic",
            failure=self.checkpoint.ended if self.checkpoint.failed else "",
        )
