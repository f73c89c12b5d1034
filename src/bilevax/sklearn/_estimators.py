"""Estimators for scikit-learn's users: linear models with a penalty for each feature."""

import difflib
import warnings
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import compute_sample_weight
from sklearn.utils.extmath import softmax
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ._fit import Fitted, Options, fit, is_large
from ._splits import splits, three_parts
from ._task import Task

PENALTIES = ("auto", "feature", "group", "shared")


class _AdaptiveCV(BaseEstimator):
    """What the classifier and the regressor share."""

    coef_: Any
    intercept_: Any
    classes_: Any

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

    def _fit(self, task: Task, labels, weights, groups, present) -> Fitted:
        """`labels`: the targets by which folds are made; `present`: which of the rows that were
        given count at all, to which the other arguments are cut."""
        features, classifier = task.features, task.loss != "squared"
        options = self._options(features.shape[1], classifier)
        if is_large(features.shape, self.cv):
            folds = [three_parts(labels, classifier, self.random_state)]
        else:
            folds = splits(
                self.cv, features, labels, groups, classifier, self.random_state, present
            )
        clusters = np.arange(len(labels)) if groups is None else np.asarray(groups)
        found = fit(task, folds, weights, clusters, options, bool(self.verbose))
        if not found.converged:
            warnings.warn(_UNCONVERGED, ConvergenceWarning, stacklevel=3)
        self.penalties_ = found.penalties
        self.shared_penalty_ = found.shared_penalty
        self.family_ = found.choice.family
        self.n_iter_ = found.choice.step
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
        if self.max_iter < 1 or not self.tol >= 0:
            raise ValueError(
                f"max_iter must be at least 1 and tol at least 0; got {self.max_iter} and "
                f"{self.tol}."
            )
        return Options(
            self.penalty,
            self._grid(10 if classifier else 17),
            self._groups(num_features),
            self._described(num_features),
            self.max_iter,
            self.tol,
        )

    def _grid(self, num: int) -> np.ndarray:
        grid = (
            np.logspace(-4, 4, num) if self.alphas is None else np.asarray(self.alphas, float)
        )
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
        """Features, targets and weights, without the rows that count for nothing."""
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


def _present(X, y, weights, groups):
    """Only the rows that count."""
    there = weights > 0
    groups = None if groups is None else np.asarray(groups)
    if groups is not None and groups.shape != (len(y),):
        raise ValueError(f"groups must name one for each of the {len(y)} rows.")
    groups = None if groups is None else groups[there]
    return X[there], y[there], weights[there], groups, there


def _canonical(X):
    """Sparse features of few columns dense, where that takes little memory."""
    if scipy.sparse.issparse(X) and np.prod(X.shape, dtype=float) <= _DENSE:
        return X.toarray()
    return X


_DENSE = 2e7
_UNCONVERGED = (
    "The final model did not converge: its features may be on very different scales (pass "
    "scale=True), or the targets separable with next to no penalty (pass larger alphas)."
)


class AdaptiveRidgeCV(RegressorMixin, _AdaptiveCV):
    """Ridge regression whose penalties, one for each feature, are learned by
    cross-validation, and taken only where they are better than a shared one.

    The best shared penalty of a grid is found as by `RidgeCV`. From there, hypergradients of
    the cross-validated loss tune the penalties of features: as a function of what features are
    like (the "theta" family), or each on its own ("free"). Both are judged by nested
    cross-validation, on rows that took no part in the tuning; what does not gain by more
    than one standard error is not taken, and the model is that of `RidgeCV`.

    Parameters
    ----------
    cv : int, splitter or iterable of index pairs, default=5
        The folds. An int stands for `KFold`, shuffled if `random_state` is given. Very large
        data (rows x features x models above 2e8) are split once, 60/20/20, instead.
    penalty : {"auto", "feature", "group", "shared"}, default="auto"
        Which families are judged beside the shared penalty: both, only that of a free
        penalty for each feature, only that of one for each group, or none.
    alphas : array-like of float, default=None
        The grid of shared penalties, in the units of `Ridge(alpha=...)`; by default 17
        numbers from 1e-4 to 1e4.
    feature_groups : array-like of shape (n_features,), default=None
        Names of groups. The features of a group share their free penalty.
    penalty_features : array-like of shape (n_features, n_descriptions), default=None
        Numbers that describe the features, for penalties to depend on, beside bilevax's own:
        relevance, variance, and size in the shared fit.
    scale : bool, default=True
        Whether to bring features to unit variance before they are penalised. Each fold
        uses its own training rows.
    max_iter : int, default=32
        The most steps of a family.
    tol : float, default=1e-3
        A family stops where eight steps gained less than this share of its loss.
    random_state : int, RandomState instance or None, default=None
        Shuffles the rows before an int `cv` cuts them into folds.
    verbose : int, default=0
        Whether to print how the fit gets on.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Weights for the features as they came.
    intercept_ : float
        The intercept, which is not penalised.
    penalties_ : ndarray of shape (n_features,)
        P of `P w**2 / 2` beside half the sum of squares, on scaled features.
    shared_penalty_ : float
        The best shared penalty.
    family_ : str
        "shared", "theta" or "free".
    gain_ : Gain
        The paired difference of losses (`difference`, in units of the target's variance), its
        `interval`, and a `sentence`.
    cv_results_ : dict of ndarray
        Of the main run: `alphas` and `mean_validation_loss` on the grid, and for each family
        that was judged its `..._validation_loss` and `..._judged_loss` at every step.
    n_iter_ : int
        The step at which the family was taken.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are strings.

    See Also
    --------
    AdaptiveLogisticRegressionCV : The same for classes.
    sklearn.linear_model.RidgeCV : One penalty for all features.

    Examples
    --------
    >>> import numpy as np
    >>> from bilevax.sklearn import AdaptiveRidgeCV
    >>> random = np.random.default_rng(0)
    >>> X = random.normal(size=(60, 30))
    >>> y = X[:, 0] - X[:, 1] + 0.5 * random.normal(size=60)
    >>> model = AdaptiveRidgeCV().fit(X, y)
    >>> model.family_ in ("theta", "free")
    True
    """

    def fit(self, X, y, sample_weight=None, groups=None):
        """Find the penalties and the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.
        groups : array-like of shape (n_samples,), default=None
            Rows that stay together, for a group splitter.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        X, y, weights = self._checked(X, y, sample_weight, y_numeric=True)
        X, y, weights, groups, there = _present(X, y.astype(float), weights, groups)
        centre = np.average(y, weights=weights)
        spread = np.sqrt(np.average((y - centre) ** 2, weights=weights))
        spread = spread if spread > 0 else 1.0
        targets = (y - centre) / spread
        task = Task(_canonical(X), targets, targets[:, None], "squared", self.scale)
        found = self._fit(task, y, weights, groups, there)
        self.coef_ = spread * found.coefficients[0]
        self.intercept_ = float(spread * found.intercept[0] + centre)
        return self

    def predict(self, X):
        """Predict numbers.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._scores(X)[:, 0]


class AdaptiveLogisticRegressionCV(ClassifierMixin, _AdaptiveCV):
    """Logistic regression whose penalties, one for each feature, are learned by
    cross-validation, and taken only where they are better than a shared one.

    As `AdaptiveRidgeCV`, which says how, with the log loss: multinomial where there are more
    than two classes. Where nothing is gained the model is that of
    `LogisticRegressionCV(scoring="neg_log_loss")`.

    Parameters
    ----------
    cv : int, splitter or iterable of index pairs, default=5
        The folds. An int stands for `StratifiedKFold`, shuffled if `random_state` is given.
        Very large data (rows x features x models above 2e8) are split once, 60/20/20, instead.
    penalty : {"auto", "feature", "group", "shared"}, default="auto"
        Which families are judged beside the shared penalty, as in `AdaptiveRidgeCV`.
    alphas : array-like of float, default=None
        The grid of shared penalties, 1 / C of `LogisticRegression`; by default 10 numbers
        from 1e-4 to 1e4.
    feature_groups : array-like of shape (n_features,), default=None
        Names of groups. The features of a group share their free penalty.
    penalty_features : array-like of shape (n_features, n_descriptions), default=None
        Numbers that describe the features, for penalties to depend on.
    scale : bool, default=True
        Whether to bring features to unit variance before they are penalised.
    max_iter : int, default=32
        The most steps of a family.
    tol : float, default=1e-3
        A family stops where eight steps gained less than this share of its loss.
    class_weight : dict or "balanced", default=None
        Multiplies the weights of rows, once, before the folds.
    random_state : int, RandomState instance or None, default=None
        Shuffles the rows before an int `cv` cuts them into folds.
    verbose : int, default=0
        Whether to print how the fit gets on.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights for the features as they came; for two classes, of the second.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        The intercepts, which are not penalised.
    penalties_, shared_penalty_, family_, gain_, cv_results_, n_iter_ :
        As in `AdaptiveRidgeCV`; losses are in nats a row.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are strings.

    See Also
    --------
    AdaptiveRidgeCV : The same for numbers.
    sklearn.linear_model.LogisticRegressionCV : One penalty for all features.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from bilevax.sklearn import AdaptiveLogisticRegressionCV
    >>> X, y = load_wine(return_X_y=True)
    >>> model = AdaptiveLogisticRegressionCV(penalty="shared").fit(X, y)
    >>> model.coef_.shape, bool(model.score(X, y) > 0.97)
    ((3, 13), True)
    """

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
        class_weight=None,
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            cv=cv,
            penalty=penalty,
            alphas=alphas,
            feature_groups=feature_groups,
            penalty_features=penalty_features,
            scale=scale,
            max_iter=max_iter,
            tol=tol,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X, y, sample_weight=None, groups=None):
        """Find the penalties and the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.
        groups : array-like of shape (n_samples,), default=None
            Rows that stay together, for a group splitter.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        X, y, weights = self._checked(X, y, sample_weight)
        check_classification_targets(y)
        X, y, weights, groups, there = _present(X, y, weights, groups)
        encoder = LabelEncoder().fit(y)
        self.classes_ = np.asarray(encoder.classes_)
        num = len(self.classes_)
        if num < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data "
                f"contains only one class: {self.classes_[0]!r}"
            )
        labels = np.asarray(encoder.transform(y))
        if self.class_weight is not None:
            weights = weights * compute_sample_weight(self.class_weight, y=y)
        loss = "binary" if num == 2 else "multinomial"
        columns = np.eye(num)[labels][:, (1 if num == 2 else 0) :]
        task = Task(_canonical(X), labels, columns, loss, self.scale)
        found = self._fit(task, labels, weights, groups, there)
        self.coef_, self.intercept_ = found.coefficients, found.intercept
        return self

    def decision_function(self, X):
        """Scores: one a row for two classes, otherwise one for each class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_proba(self, X):
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        scores = self._scores(X)
        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        return softmax(scores)

    def predict(self, X):
        """The most probable class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        scores = self._scores(X)
        if scores.shape[1] == 1:
            return self.classes_[(scores[:, 0] > 0).astype(int)]
        return self.classes_[np.argmax(scores, axis=1)]
