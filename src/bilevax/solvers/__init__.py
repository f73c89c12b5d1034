"""Solvers of equations, for the inner problem and the adjoint system alike."""

from ._accelerated import AcceleratedGradientDescent
from ._base import AbstractIterativeSolver, AbstractSolver, Solve, SolverState
from ._cg import CG
from ._descent import SGD, Descent, GradientDescent
from ._direct import Direct
from ._fixed_point import FixedPointIteration
from ._heavy_ball import HeavyBall
from ._neumann import Neumann
from ._newton import Newton
from ._nystrom import Nystrom
from ._optimistix import Optimistix
from ._reduced import SAG, SVRG, ReducedDescent
from ._sinkhorn import Sinkhorn
from ._stochastic_fixed_point import StochasticFixedPoint
from ._watch import Watch

__all__ = [
    "CG",
    "SAG",
    "SGD",
    "SVRG",
    "AbstractIterativeSolver",
    "AbstractSolver",
    "AcceleratedGradientDescent",
    "Descent",
    "Direct",
    "FixedPointIteration",
    "GradientDescent",
    "HeavyBall",
    "Neumann",
    "Newton",
    "Nystrom",
    "Optimistix",
    "ReducedDescent",
    "Sinkhorn",
    "Solve",
    "SolverState",
    "StochasticFixedPoint",
    "Watch",
]
