"""Bilevel optimisation and hypergradients on JAX."""

from . import algorithms, problems, schedules
from ._algorithm import Algorithm
from ._cost import Cost
from ._hypergradient import Hypergradient, hypergradient
from ._minimize import Solution, State, minimize
from ._problem import BilevelProblem, FixedPointProblem, MinProblem
from ._result import Result
from ._sampling import FullBatch, RandomRows
from .hypergradients import Implicit
from .solvers import CG, Descent, Direct, FixedPointIteration, GradientDescent, Neumann

__version__ = "0.1.0"

__all__ = [
    "CG",
    "Algorithm",
    "BilevelProblem",
    "Cost",
    "Descent",
    "Direct",
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
    "State",
    "algorithms",
    "hypergradient",
    "minimize",
    "problems",
    "schedules",
]
