"""Estimators of the gradient of x -> f(x, y*(x))."""

from ._analytic import Analytic
from ._base import AbstractHypergradient, HypergradientState
from ._implicit import Implicit
from ._joint import Joint
from ._unrolled import Unrolled

__all__ = [
    "AbstractHypergradient",
    "Analytic",
    "HypergradientState",
    "Implicit",
    "Joint",
    "Unrolled",
]
