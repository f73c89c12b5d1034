"""Estimators of the gradient of x -> f(x, y*(x))."""

from ._analytic import Analytic
from ._base import AbstractHypergradient, HypergradientState
from ._finite_difference import FiniteDifference
from ._implicit import Implicit
from ._joint import Joint
from ._one_step import OneStep
from ._penalised import DynamicBarrier
from ._penalty import Penalty
from ._unrolled import Unrolled

__all__ = [
    "AbstractHypergradient",
    "Analytic",
    "DynamicBarrier",
    "FiniteDifference",
    "HypergradientState",
    "Implicit",
    "Joint",
    "OneStep",
    "Penalty",
    "Unrolled",
]
