"""(c): scikit-learn's usual practice, one shared penalty by cross-validation.

`LogisticRegressionCV(scoring="neg_log_loss")` or
`RidgeCV(scoring="neg_mean_squared_error")`, refitted on all rows. `LogisticRegressionCV` is
solved to convergence: with its default solver and tolerance it stops early at small
penalties on classes that a plane nearly separates (wine). Its choice and its test loss are
then not those of the minimum of its own criterion, for better or worse: on wine, whose
folds choose next to no penalty, stopping early is one. So both are measured.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV, RidgeCV

from ._parts import Parts

# P of `P w**2 / 2` beside the summed loss: 1 / C of LogisticRegression, alpha of Ridge.
CLASS_GRID, NUMBER_GRID = np.logspace(-4, 4, 10), np.logspace(-4, 4, 17)
# The tolerance is that of the gradient of the mean loss. Of scikit-learn's solvers this one
# comes to it for the least work on all the sets, 1-8 times that of the default settings.
_CONVERGED = {"solver": "newton-cg", "tol": 1e-10, "max_iter": 1000}


def shared_logistic(parts: Parts, converged: bool = True) -> Any:
    """Fitted; or else with the default solver, tolerance and number of iterations."""
    options: dict[str, Any] = {"Cs": 1 / CLASS_GRID, "cv": parts.folds}
    options |= _CONVERGED if converged else {}
    model = LogisticRegressionCV(scoring="neg_log_loss", **options)
    with _quietly(converged):
        return model.fit(*parts.train)


def shared_ridge(parts: Parts) -> Any:
    """Fitted, which is exact."""
    model = RidgeCV(alphas=NUMBER_GRID, cv=parts.folds, scoring="neg_mean_squared_error")
    return model.fit(*parts.train)


def penalty(model: Any) -> float:
    """The one that was chosen."""
    if hasattr(model, "alpha_"):
        return float(model.alpha_)
    # An array of equal numbers before scikit-learn 1.10.
    return 1 / float(np.ravel(model.C_)[0])


@contextlib.contextmanager
def _quietly(converged: bool) -> Iterator[None]:
    """Without warnings of names that will change, and of the default's early stop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if not converged:
            warnings.simplefilter("ignore", ConvergenceWarning)
        yield
