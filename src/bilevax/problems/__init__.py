"""Ready-made problems, with what is known of their solutions."""

from ._logistic import PenalisedLogistic, cross_entropy, penalised_logistic
from ._quadratic import Quadratic, quadratic, quadratic_form

__all__ = [
    "PenalisedLogistic",
    "Quadratic",
    "cross_entropy",
    "penalised_logistic",
    "quadratic",
    "quadratic_form",
]
