"""Bilevel optimisation and hypergradients on JAX."""

import importlib
from typing import TYPE_CHECKING

from . import algorithms, problems, schedules, theory
from ._adaptive import adaptive_step
from ._algorithm import Algorithm
from ._chunks import State
from ._constants import Constants
from ._cost import Cost
from ._curvature import Curvature, curvature
from ._error_bound import ErrorBound, error_bound
from ._hypergradient import Hypergradient, hypergradient
from ._minimize import Solution, initial_state, minimize
from ._minimum import argmin, minimum
from ._mirror import mirror_descent
from ._problem import BilevelProblem, FixedPointProblem, MinProblem
from ._projection import projected
from ._recommend import Recommendation, recommend
from ._result import Result
from ._sampling import Batches, Epochs, FullBatch, RandomRows
from ._sparse import SparseMatrix
from ._steps import check_steps, with_measured_steps
from ._trajectory import Trajectory, trajectory
from .hypergradients import Analytic, Implicit, Unrolled
from .solvers import (
    CG,
    SGD,
    AcceleratedGradientDescent,
    Descent,
    Direct,
    FixedPointIteration,
    GradientDescent,
    Neumann,
    Sinkhorn,
)

if TYPE_CHECKING:
    from . import datasets

__version__ = "0.1.0"

__all__ = [
    "CG",
    "SGD",
    "AcceleratedGradientDescent",
    "Algorithm",
    "Analytic",
    "Batches",
    "BilevelProblem",
    "Constants",
    "Cost",
    "Curvature",
    "Descent",
    "Direct",
    "Epochs",
    "ErrorBound",
    "FixedPointIteration",
    "FixedPointProblem",
    "FullBatch",
    "GradientDescent",
    "Hypergradient",
    "Implicit",
    "MinProblem",
    "Neumann",
    "RandomRows",
    "Recommendation",
    "Result",
    "Sinkhorn",
    "Solution",
    "SparseMatrix",
    "State",
    "Trajectory",
    "Unrolled",
    "adaptive_step",
    "algorithms",
    "argmin",
    "check_steps",
    "curvature",
    "datasets",
    "error_bound",
    "hypergradient",
    "initial_state",
    "minimize",
    "minimum",
    "mirror_descent",
    "problems",
    "projected",
    "recommend",
    "schedules",
    "theory",
    "trajectory",
    "with_measured_steps",
]


def __getattr__(name: str):
    # Imported when asked for: only this part needs scikit-learn.
    if name == "datasets":
        return importlib.import_module(".datasets", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
