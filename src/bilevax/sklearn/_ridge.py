"""Ridge regression with a penalty for each feature, for scikit-learn's users."""

import numpy as np
from sklearn.base import RegressorMixin

from ._base import AdaptiveCV, canonical, present
from ._task import Task


class AdaptiveRidgeCV(RegressorMixin, AdaptiveCV):
    """Ridge regression whose penalties, one for each feature, are learned by
    cross-validation, and taken only where they are better than a shared one.

    The best shared penalty of a grid is found as by `RidgeCV`. From there, hypergradients of
    the cross-validated loss tune the penalties of features: as a function of what features are
    like (the "theta" family), or each on its own ("free"). Both are judged by nested
    cross-validation, on rows that took no part in the tuning. A family is taken where it
    gains there by more than two standard errors, and by more than one where each fold is
    judged at a step that the others chose; "free" beside "theta" where it gains another.
    Otherwise the model is that of `RidgeCV`.

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
        A family stops where eight steps gained less than this share of its loss; and, whatever
        `tol`, where the last four of eight were worse than an earlier one by more than one
        standard error, on the rows that took no part.
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
        that was judged its `..._validation_loss`, `..._judged_loss` and `..._judged_error`,
        the standard error of its difference to the shared start, at every step.
    n_iter_ : int
        Steps that were made, of the family with the most.
    step_ : int
        The step at which the family was taken: the first that is as good as the best; 0 where
        the shared penalty was kept.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are strings.

    See Also
    --------
    AdaptiveLogisticRegressionCV : The same for classes.
    sklearn.linear_model.RidgeCV : One penalty for all features.

    Notes
    -----
    The first fit of a process compiles for some ten seconds, later ones of tables of about that
    size do not. Where the environment's `JAX_COMPILATION_CACHE_DIR` names a folder, programs
    are kept there for other processes.

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
        X, y, weights, groups, there = present(X, y.astype(float), weights, groups)
        centre = np.average(y, weights=weights)
        spread = np.sqrt(np.average((y - centre) ** 2, weights=weights))
        spread = spread if spread > 0 else 1.0
        targets = (y - centre) / spread
        task = Task(canonical(X), targets, targets[:, None], "squared", self.scale)
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
