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

from sklearn.exceptions import ConvergenceWarning

from ...sklearn import _usual as usual
from ._parts import Parts

# The tolerance is that of the gradient of the mean loss. Of scikit-learn's solvers this one
# comes to it for the least work on all the sets, 1-8 times that of the default settings.
_CONVERGED = {"solver": "newton-cg", "tol": 1e-10, "max_iter": 1000}


def shared_logistic(parts: Parts, converged: bool = True) -> Any:
    """Fitted; or else with the default solver, tolerance and number of iterations."""
    options: dict[str, Any] = _CONVERGED if converged else {}
    grid, scoring = usual.CLASS_GRID, usual.CLASS_SCORING
    model = usual.shared_logistic(grid, parts.folds, scoring, **options)
    with _quietly(converged):
        return model.fit(*parts.train)


def shared_ridge(parts: Parts) -> Any:
    """Fitted, which is exact."""
    grid, scoring = usual.NUMBER_GRID, usual.NUMBER_SCORING
    return usual.shared_ridge(grid, parts.folds, scoring).fit(*parts.train)


@contextlib.contextmanager
def _quietly(converged: bool) -> Iterator[None]:
    """Without warnings of names that will change, and of the default's early stop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if not converged:
            warnings.simplefilter("ignore", ConvergenceWarning)
        yield
