"""Solvers of equations, for the inner problem and the adjoint system alike."""

from ._base import AbstractIterativeSolver, AbstractSolver, SolverState
from ._cg import CG
from ._descent import Descent, GradientDescent
from ._direct import Direct
from ._fixed_point import FixedPointIteration
from ._neumann import Neumann

__all__ = [
    "CG",
    "AbstractIterativeSolver",
    "AbstractSolver",
    "Descent",
    "Direct",
    "FixedPointIteration",
    "GradientDescent",
    "Neumann",
    "SolverState",
]
