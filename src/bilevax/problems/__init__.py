"""Ready-made problems, with what is known of their solutions."""

from ._cleaning import HyperCleaning, corrupt_labels, hyper_cleaning
from ._distillation import Distillation, Distilled, distillation
from ._losses import cross_entropy, log_loss, squared_error
from ._penalised import (
    Penalised,
    penalised_binary_logistic,
    penalised_logistic,
    penalised_ridge,
)
from ._quadratic import Quadratic, quadratic, quadratic_form
from ._quadratic_energy import amigo_constants, total_energy
from ._regressions import LogisticRegression, PNormRegression, RidgeRegression
from ._transport import EntropicTransport, wasserstein_barycentre

__all__ = [
    "Distillation",
    "Distilled",
    "EntropicTransport",
    "HyperCleaning",
    "LogisticRegression",
    "PNormRegression",
    "Penalised",
    "Quadratic",
    "RidgeRegression",
    "amigo_constants",
    "corrupt_labels",
    "cross_entropy",
    "distillation",
    "hyper_cleaning",
    "log_loss",
    "penalised_binary_logistic",
    "penalised_logistic",
    "penalised_ridge",
    "quadratic",
    "quadratic_form",
    "squared_error",
    "total_energy",
    "wasserstein_barycentre",
]
