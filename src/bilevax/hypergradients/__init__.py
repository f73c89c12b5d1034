"""Estimators of the gradient of x -> f(x, y*(x))."""

from ._base import AbstractHypergradient, AbstractHypergradientState
from ._implicit import Implicit

__all__ = ["AbstractHypergradient", "AbstractHypergradientState", "Implicit"]
