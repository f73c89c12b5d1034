"""Estimators for scikit-learn's users."""

from ._choice import Gain
from ._estimators import AdaptiveLogisticRegressionCV, AdaptiveRidgeCV

__all__ = ["AdaptiveLogisticRegressionCV", "AdaptiveRidgeCV", "Gain"]
