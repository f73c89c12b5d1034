"""Estimators for scikit-learn's users."""

from ._choice import Gain
from ._logistic import AdaptiveLogisticRegressionCV
from ._ridge import AdaptiveRidgeCV

__all__ = ["AdaptiveLogisticRegressionCV", "AdaptiveRidgeCV", "Gain"]
