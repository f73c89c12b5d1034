"""What the estimator found, in the units of the table."""

import dataclasses
import functools
from typing import Any

import numpy as np

from ...sklearn import AdaptiveLogisticRegressionCV, AdaptiveRidgeCV
from .._model import Model
from .._settings import Settings
from .._tables import Table
from .keeper import Keeper
from .pool import Pool

_PENALTIES = {"auto": "auto", "per-feature": "feature", "shared": "shared"}
# What is tuned: of folds, and of one split.
TUNED = "loss over the folds", "loss of the tuning rows"
FAMILIES = {
    "shared": "one penalty for all features",
    "theta": "penalties by what features are like",
    "free": "a penalty for each feature",
}


def estimator(settings: Settings, pool: Pool) -> Any:
    """The estimator that a run stands for."""
    kind: Any = AdaptiveLogisticRegressionCV
    if settings.model == "ridge":
        kind = AdaptiveRidgeCV
    return kind(
        cv=pool.folds,
        penalty=_PENALTIES[settings.penalty],
        scale=pool.scale,
        max_iter=settings.steps,
        random_state=settings.seed,
    )


@dataclasses.dataclass(frozen=True)
class Fitted:
    """An estimator that was fitted to a pool, and how long that took."""

    estimator: Any
    pool: Pool
    keeper: Keeper
    unit: float  # what a loss of 1 on scaled targets is on targets as they came

    @property
    def families(self) -> list[str]:
        """Those that were judged."""
        end = "_judged_loss"
        names = self.estimator.cv_results_
        return [name.removesuffix(end) for name in names if name.endswith(end)]

    def curve(self, family: str, name: str) -> np.ndarray:
        """`judged_loss`, `judged_error` or `validation_loss` of a family, at every step."""
        return self.unit * self.estimator.cv_results_[f"{family}_{name}"]

    @property
    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Shared penalties and their losses, mean over the folds."""
        found = self.estimator.cv_results_
        return found["alphas"], self.unit * found["mean_validation_loss"]

    @property
    def validation_loss(self) -> float:
        """That which was tuned, where the model was taken."""
        if self.estimator.family_ == "shared":
            return float(np.nanmin(self.grid[1]))
        return float(self.curve(self.estimator.family_, "validation_loss")[self.step])

    @property
    def judged_loss(self) -> float | None:
        """That of rows that took no part, where the model was taken."""
        family = self.estimator.family_
        if family == "shared":
            family = next(iter(self.families), "")
        return float(self.curve(family, "judged_loss")[self.step]) if family else None

    @property
    def step(self) -> int:
        """At which the model was taken."""
        return int(self.estimator.step_)

    def history(self) -> dict[str, np.ndarray]:
        """A line a step of a family, the first being the shared start."""
        names = ("validation_loss", "judged_loss", "judged_error")
        lengths = {f: len(self.curve(f, "judged_loss")) for f in self.families}
        empty = np.zeros(0)
        column = lambda name: np.concatenate([empty, *(self.curve(f, name) for f in lengths)])
        family = [name for f, length in lengths.items() for name in [f] * length]
        step = [i for length in lengths.values() for i in range(length)]
        return {
            "family": np.array(family, str),
            "step": np.array(step, int),
            **{name: column(name) for name in names},
        }

    def model(self, table: Table) -> Model:
        """The model on features as they came."""
        coefficients = np.atleast_2d(self.estimator.coef_).T / self.pool.units[:, None]
        intercept = np.atleast_1d(self.estimator.intercept_).astype(float)
        if table.class_names and coefficients.shape[1] == 1:
            # One column of scores a class.
            zero = np.zeros_like
            coefficients = np.hstack([zero(coefficients), coefficients])
            intercept = np.concatenate([zero(intercept), intercept])
        return Model(
            coefficients,
            intercept,
            list(table.feature_names),
            list(table.class_names),
            probabilities=bool(table.class_names),
        )

    @functools.cached_property
    def log_ratios(self) -> np.ndarray:
        """log10 of each penalty over the best shared one."""
        return np.log10(self.estimator.penalties_ / self.estimator.shared_penalty_)
