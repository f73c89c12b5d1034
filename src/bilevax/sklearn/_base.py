"""What the estimators share: parameters, their checks, and what a fit leaves behind."""

import difflib
import numbers
import warnings
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ._fit import Fitted, Options, fit, is_large
from ._splits import splits, three_parts
from ._task import Task
from ._usual import CLASS_GRID, NUMBER_GRID
from ._watch import Printing, Watch

PENALTIES = ("auto", "feature", "group", "shared")


class AdaptiveCV(BaseEstimator):
    """What the classifier and the regressor share."""

    coef_: Any
    intercept_: Any
    classes_: Any
    # Set by the command line, which shows how a fit gets on and keeps its parts.
    _watch: Watch | None = None

    def __init__(
        self,
        *,
        cv=5,
        penalty="auto",
        alphas=None,
        feature_groups=None,
        penalty_features=None,
        scale=True,
        max_iter=32,
        tol=1e-3,
        random_state=None,
        verbose=0,
    ):
        self.cv = cv
        self.penalty = penalty
        self.alphas = alphas
        self.feature_groups = feature_groups
        self.penalty_features = penalty_features
        self.scale = scale
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _fit(self, task: Task, labels, weights, groups, present, counts=None) -> Fitted:
        """`labels`: the targets by which folds are made; `present`: which of the rows that were
        given count at all, to which the other arguments are cut; `counts`: as in `fit`."""
        cv = 5 if self.cv is None else self.cv
        features, classifier = task.features, task.loss != "squared"
        options = self._options(features.shape[1], classifier)
        if is_large(features.shape, cv):
            folds = [three_parts(labels, classifier, self.random_state)]
        else:
            folds = splits(cv, features, labels, groups, classifier, self.random_state, present)
        clusters = np.arange(len(labels)) if groups is None else np.asarray(groups)
        watch = self._watch or (Printing() if self.verbose else Watch())
        found = fit(task, folds, weights, clusters, options, watch, counts)
        if not found.converged:
            warnings.warn(_UNCONVERGED, ConvergenceWarning, stacklevel=3)
        self.penalties_ = found.penalties
        self.shared_penalty_ = found.shared_penalty
        self.family_ = found.choice.family
        self.step_ = found.choice.step
        self.n_iter_ = found.num_steps
        self.gain_ = found.gain
        self.cv_results_ = found.cv_results(options.grid)
        return found

    def _options(self, num_features: int, classifier: bool) -> Options:
        if self.penalty not in PENALTIES:
            near = difflib.get_close_matches(str(self.penalty), PENALTIES, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"penalty must be one of {', '.join(PENALTIES)}; got {self.penalty!r}.{hint}"
            )
        if self.penalty == "group" and self.feature_groups is None:
            raise ValueError("penalty='group' needs feature_groups=, one for each feature.")
        whole = isinstance(self.max_iter, numbers.Integral) and self.max_iter >= 1
        if not whole or not self.tol >= 0:
            raise ValueError(
                f"max_iter must be an int of at least 1 and tol at least 0; got "
                f"{self.max_iter!r} and {self.tol!r}."
            )
        return Options(
            self.penalty,
            self._grid(CLASS_GRID if classifier else NUMBER_GRID),
            self._groups(num_features),
            self._described(num_features),
            self.max_iter,
            self.tol,
        )

    def _grid(self, default: np.ndarray) -> np.ndarray:
        grid = default if self.alphas is None else np.asarray(self.alphas, float)
        if grid.ndim != 1 or len(grid) == 0 or not np.all((grid > 0) & np.isfinite(grid)):
            raise ValueError(f"alphas must be positive numbers, got {self.alphas!r}.")
        return grid

    def _groups(self, num_features: int) -> np.ndarray:
        if self.feature_groups is None or self.penalty == "feature":
            return np.arange(num_features)
        groups = np.asarray(self.feature_groups)
        if groups.shape != (num_features,):
            raise ValueError(
                f"feature_groups must name a group for each of the {num_features} features, "
                f"got shape {groups.shape}."
            )
        return np.unique(groups, return_inverse=True)[1]

    def _described(self, num_features: int) -> np.ndarray | None:
        if self.penalty_features is None:
            return None
        given = np.asarray(self.penalty_features, float)
        given = given[:, None] if given.ndim == 1 else given
        if given.ndim != 2 or len(given) != num_features or not np.all(np.isfinite(given)):
            raise ValueError(
                f"penalty_features must hold finite numbers, one row for each of the "
                f"{num_features} features; got shape {np.shape(self.penalty_features)}."
            )
        return given

    def _checked(self, X, y, sample_weight, **checks) -> tuple[Any, Any, np.ndarray]:
        """Features, targets and weights, as scikit-learn checks them."""
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=np.float64, ensure_min_samples=2, **checks
        )
        weights = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        return X, y, weights

    def _scores(self, X) -> np.ndarray:
        check_is_fitted(self)
        rows: Any = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        return rows @ np.atleast_2d(self.coef_).T + self.intercept_


def present(X, y, weights, groups):
    """Only the rows that count, and which those are."""
    there = weights > 0
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (len(y),):
            raise ValueError(f"groups must name one for each of the {len(y)} rows.")
        groups = groups[there]
    return X[there], y[there], weights[there], groups, there


def canonical(X):
    """Sparse features of few columns dense, where that takes little memory."""
    if scipy.sparse.issparse(X) and np.prod(X.shape, dtype=float) <= _DENSE:
        return X.toarray()
    return X


_DENSE = 2e7
_UNCONVERGED = (
    "The final model did not converge: its features may be on very different scales (pass "
    "scale=True), or the targets separable with next to no penalty (pass larger alphas)."
)
