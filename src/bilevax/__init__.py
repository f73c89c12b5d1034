"""Bilevel optimisation and hypergradients on JAX."""

from . import algorithms, problems, schedules
from ._algorithm import Algorithm
from ._cost import Cost
from ._curvature import Curvature, check_steps, curvature, with_measured_steps
from ._hypergradient import Hypergradient, hypergradient
from ._minimize import Solution, State, minimize
from ._minimum import argmin, minimum
from ._problem import BilevelProblem, FixedPointProblem, MinProblem
from ._projection import projected
from ._result import Result
from ._sampling import Batches, Epochs, FullBatch, RandomRows
from ._sparse import SparseMatrix
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
)

__version__ = "0.1.0"

__all__ = [
    "CG",
    "SGD",
    "AcceleratedGradientDescent",
    "Algorithm",
    "Analytic",
    "Batches",
    "BilevelProblem",
    "Cost",
    "Curvature",
    "Descent",
    "Direct",
    "Epochs",
    "FixedPointIteration",
    "FixedPointProblem",
    "FullBatch",
    "GradientDescent",
    "Hypergradient",
    "Implicit",
    "MinProblem",
    "Neumann",
    "RandomRows",
    "Result",
    "Solution",
    "SparseMatrix",
    "State",
    "Unrolled",
    "algorithms",
    "argmin",
    "check_steps",
    "curvature",
    "hypergradient",
    "minimize",
    "minimum",
    "problems",
    "projected",
    "schedules",
    "with_measured_steps",
]
