"""What is learned from: rows, targets, and the models of a plan on them."""

import dataclasses
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse

from ..problems._penalised import as_features
from ..problems._stacked import Scaling, Stacked, Weights, stacked
from ._moments import moments
from ._grams import Sets
from ._plan import Plan
from ._preconditioner import Preconditioner

# Numbers of all matrices that are kept; beyond, their diagonals are.
_MOST_NUMBERS = 3e7
# Operations for which matrices are made anew at every step.
_CHEAP = 2e7
# So many times more rows than features, and a matrix for each output costs little beside
# products with the features.
_FEW = 4


@dataclasses.dataclass(frozen=True)
class Task:
    """Rows and targets, float64, and how features are to be scaled.

    - `targets`: what the loss reads, one number or label a row;
    - `columns`: one column a class (of two classes, one), or the targets as one column;
    - `loss`: "squared", "binary" or "multinomial".
    """

    features: Any
    targets: np.ndarray
    columns: np.ndarray
    loss: str
    scale: bool

    @property
    def num_outputs(self) -> int:
        """Scores of a row."""
        return self.columns.shape[1] if self.loss == "multinomial" else 1

    @cached_property
    def squares(self):
        """The squares of the features."""
        if scipy.sparse.issparse(self.features):
            return self.features.multiply(self.features).tocsr()
        return self.features**2

    @cached_property
    def on_device(self) -> tuple[Any, Any]:
        """Features and targets, moved once for all problems."""
        return as_features(self.features), jnp.asarray(self.targets)

    @cached_property
    def squares_on_device(self):
        """The squares of the features."""
        return as_features(self.squares)


@dataclasses.dataclass(frozen=True)
class Models:
    """The models of a plan: the means and variances of their own training rows."""

    task: Task
    plan: Plan
    means: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, task: Task, plan: Plan) -> "Models":
        """The moments are computed once."""
        return cls(task, plan, *moments(task.features, task.squares, plan.train))

    @property
    def factors(self) -> np.ndarray:
        """What a feature is multiplied by; zero for a constant one."""
        varies = self.variances > 0
        scales = 1 / np.sqrt(np.where(varies, self.variances, 1)) if self.task.scale else 1.0
        return np.where(varies, scales, 0.0)

    @property
    def scaling(self) -> Scaling:
        """The units of every model. Sparse features are not centred: the intercept, which
        has no penalty, makes up for it."""
        centre = not scipy.sparse.issparse(self.task.features)
        means = self.means if centre else np.zeros_like(self.means)
        return Scaling(jnp.asarray(means), jnp.asarray(self.factors))

    def stacked(self, penalties=None) -> Stacked:
        """All models as one problem."""
        task, plan = self.task, self.plan
        return stacked(
            *task.on_device,
            plan.train,
            plan.valid,
            loss=task.loss,
            scaling=self.scaling,
            penalties=penalties,
            num_outputs=task.num_outputs,
        )

    @cached_property
    def sets(self) -> Sets | None:
        """The rows that the same models train on."""
        return Sets.of(self.plan.train)

    def preconditioner(self, problem, x, y: Weights) -> Preconditioner:
        """For solves at x and near by, from y; where it is costly, that of x and y is kept."""
        (rows, size), outputs = self.task.features.shape, self.task.num_outputs
        each = outputs > 1 and _FEW * size <= rows
        numbers = len(self.plan.run) * (outputs if each else 1) * size**2
        if numbers > _MOST_NUMBERS:
            return Preconditioner(problem, self.task.squares_on_device)
        if numbers * rows <= _CHEAP:
            return Preconditioner(problem, each=each)
        return Preconditioner(problem, each=each, sets=self.sets).freeze(x, y)
