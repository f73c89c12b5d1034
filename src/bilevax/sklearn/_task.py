"""What is learned from: rows, targets, and the models of a plan on them."""

import dataclasses
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from ..problems._penalised import as_features
from ..problems._stacked import Rows, Scaling, Stacked, Weights, stacked
from ._device import placed
from ._grams import Sets
from ._moments import moments
from ._penalties import Outer, Penalties
from ._plan import Plan
from ._preconditioner import Preconditioner
from ._room import filled, rooms

# Numbers of all matrices that are kept; beyond, their diagonals are.
_MOST_NUMBERS = 3e7
# Operations for which matrices are made anew at every step.
_CHEAP = 2e7
# So many times more rows than features, and a matrix for each output costs little beside
# products with the features.
_FEW = 4
# Operations for which there is one matrix for all outputs.
_COSTLY = 1e10
# Numbers of a product with the weights of all models beyond which it takes most of the time.
_MANY = 3e6
# Rows x features of one split beyond which models are solved to what decides between them.
_LARGE = 1e7


class Tolerances(NamedTuple):
    """What is left to gain when a solve ends, in units of the mean loss.

    - `grid`: of the shared penalties, whose choice is to be that of others;
    - `steps`: of a family's, far below what makes a difference between them;
    - `refit`: of the model that is kept.

    `adjoint`: that of the adjoint systems, relative to where they start. The outer step uses
    the hypergradient's direction alone.
    """

    grid: float
    steps: float
    refit: float
    adjoint: float


EXACT, ENOUGH = Tolerances(1e-8, 1e-7, 1e-15, 1e-3), Tolerances(1e-6, 1e-5, 1e-8, 0.1)
# Of squared errors, whose first step is the last: then a weight is as good as repeated rows.
QUADRATIC = Tolerances(1e-10, 1e-9, 1e-15, 1e-3)


@dataclasses.dataclass(frozen=True)
class Task:
    """Rows and targets, float64, and how features are to be scaled.

    - `targets`: what the loss reads, one number or label a row;
    - `columns`: one column a class (of two classes, one), or the targets as one column;
    - `loss`: "squared", "binary" or "multinomial";
    - `width`: columns on the device, if another task has decided.
    """

    features: Any
    targets: np.ndarray
    columns: np.ndarray
    loss: str
    scale: bool
    width: int | None = None

    def at(self, rows: np.ndarray | slice) -> "Task":
        """The same of some rows."""
        features, targets, columns = self.features, self.targets, self.columns
        return dataclasses.replace(
            self, features=features[rows], targets=targets[rows], columns=columns[rows]
        )

    def shifted(self, by: np.ndarray) -> "Task":
        """The same of features that are less by so much, of dense ones."""
        return dataclasses.replace(self, features=self.features - by) if by.any() else self

    def reordered(self, order: np.ndarray) -> "Task":
        """Of features in another order."""
        if np.array_equal(order, np.arange(len(order))):
            return self
        return dataclasses.replace(self, features=self.features[:, order])

    @property
    def num_numbers(self) -> float:
        """Of a product of the features with all weights of a model."""
        sparse = scipy.sparse.issparse(self.features)
        return float(self.features.nnz if sparse else self.features.size) * self.num_outputs

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
    def rooms(self) -> tuple[int, int]:
        """Rows and columns on the device: sparse features as they are, dense ones filled up."""
        shape = self.features.shape
        if scipy.sparse.issparse(self.features):
            return shape
        rows, columns = rooms(shape)
        return rows, self.width or columns

    @cached_property
    def on_device(self) -> tuple[Any, Any]:
        """Features and targets, moved once for all problems."""
        targets = filled(self.targets, self.rooms[0])
        return self._moved(self.features), placed(targets)

    @cached_property
    def squares_on_device(self):
        """The squares of the features."""
        return self._moved(self.squares)

    def _moved(self, features):
        sparse = scipy.sparse.issparse(features)
        if sparse:
            return as_features(features)
        return placed(filled(features, *self.rooms))


class Level(NamedTuple):
    """A task of the rows that a level uses, and where these stand among all."""

    task: Task
    rows: np.ndarray | slice

    def room(self, weights: np.ndarray) -> np.ndarray:
        """Weights of all rows, (rows, models), as the level's task has room for."""
        return filled(weights[self.rows], self.task.rooms[0])

    def of(self, weights: np.ndarray) -> Rows:
        """Its rows on the device, of such weights."""
        return Rows(*self.task.on_device, placed(self.room(weights)))


@dataclasses.dataclass(frozen=True)
class Models:
    """The models of a plan: the means and variances of their own training rows.

    `of_one_split`: whether penalties are searched on one split in place of folds.
    """

    task: Task
    plan: Plan
    means: np.ndarray
    variances: np.ndarray
    of_one_split: bool

    @classmethod
    def of(cls, task: Task, plan: Plan, of_one_split: bool) -> "Models":
        """The moments are computed once."""
        means, variances = moments(task.features, task.squares, plan.train)
        return cls(task, plan, means, variances, of_one_split)

    @property
    def factors(self) -> np.ndarray:
        """What a feature is multiplied by; zero for a constant one."""
        varies = self.variances > 0
        scales = 1 / np.sqrt(np.where(varies, self.variances, 1)) if self.task.scale else 1.0
        return np.where(varies, scales, 0.0)

    @property
    def centres(self) -> np.ndarray:
        """What is subtracted from features. Nothing from sparse ones: the intercept, which has
        no penalty, makes up for it."""
        sparse = scipy.sparse.issparse(self.task.features)
        return np.zeros_like(self.means) if sparse else self.means

    def stacked(self, penalties: Penalties) -> Stacked:
        """All models as one problem, with room for rows of no weight and features of none."""
        task, plan = self.task, self.plan
        units = (
            filled(part, len(part), task.rooms[1]) for part in (self.centres, self.factors)
        )
        return stacked(
            self.trains.of(plan.train),
            self.watches.of(plan.valid),
            loss=task.loss,
            scaling=Scaling(*placed(list(units))),
            penalties=penalties,
            num_outputs=task.num_outputs,
        )

    @cached_property
    def trains(self) -> Level:
        """The rows that models are trained on."""
        return self._level(self.plan.train)

    @cached_property
    def watches(self) -> Level:
        """The rows that tune or judge them."""
        return self._level(self.plan.valid + self.plan.judge)

    def _level(self, weights: np.ndarray) -> Level:
        """All rows, where each is used: folds then have one task for both levels."""
        used = weights.any(axis=1)
        if used.all():
            return Level(self.task, slice(None))
        rows, width = np.flatnonzero(used), self.task.rooms[1]
        return Level(dataclasses.replace(self.task.at(rows), width=width), rows)

    def penalties(self, descriptions: np.ndarray, groups: np.ndarray) -> Penalties:
        """How penalties follow from the runs' variables, whose free ones have room for as
        many groups as features."""
        columns = self.task.rooms[1]
        return Penalties(
            *placed(
                [
                    self.plan.run.astype(np.int32),
                    filled(descriptions, len(descriptions), columns),
                    filled(groups, columns),
                ]
            )
        )

    def outer(self, log_penalties: np.ndarray | float, num_descriptions: int) -> Outer:
        """The runs' variables where each has one penalty for all features."""
        runs, sizes = self.plan.num_runs, (num_descriptions, self.task.rooms[1])
        shared = np.broadcast_to(log_penalties, (runs,))
        return placed(Outer(shared, *(np.zeros((runs, size)) for size in sizes)))

    def own(self, y: Weights) -> tuple[np.ndarray, np.ndarray]:
        """The weights of the features that there are, and the intercepts."""
        columns = self.task.features.shape[1]
        return np.asarray(y.weights)[:, :columns], np.asarray(y.intercept)

    @cached_property
    def sets(self) -> Sets | None:
        """The rows that the same models train on."""
        return Sets.of(self.plan.train[self.trains.rows])

    @property
    def large(self) -> bool:
        """Whether time is dearer than the last digits."""
        rows, columns = self.task.features.shape
        return self.of_one_split and rows * columns > _LARGE

    @property
    def single(self) -> bool:
        """Whether conjugate gradient is to work in single precision: where that is faster,
        and does not solve the problem at once."""
        numbers = self.trains.task.num_numbers * len(self.plan.run)
        return self.task.loss != "squared" and numbers > _MANY

    @property
    def tolerances(self) -> Tolerances:
        """For all solves."""
        if self.large:
            return ENOUGH
        return QUADRATIC if self.task.loss == "squared" else EXACT

    def preconditioner(self, problem, x, y: Weights) -> Preconditioner:
        """For solves at x and near by, from y.

        Where it is costly, that of x and y is kept.
        """
        task = self.trains.task
        (rows, size), outputs = task.features.shape, task.num_outputs
        one = len(self.plan.run) * size**2
        each = outputs > 1 and _FEW * size <= rows and one * outputs * rows <= _COSTLY
        numbers = one * outputs if each else one
        if numbers > _MOST_NUMBERS:
            return Preconditioner(problem, task.squares_on_device)
        if numbers * rows <= _CHEAP:
            return Preconditioner(problem, each=each)
        return Preconditioner(problem, each=each, sets=self.sets).freeze(x, y)
