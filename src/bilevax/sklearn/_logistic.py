"""Logistic regression with a penalty for each feature, for scikit-learn's users."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import compute_sample_weight
from sklearn.utils.extmath import softmax
from sklearn.utils.multiclass import check_classification_targets

from ._base import AdaptiveCV, canonical, present
from ._task import Task


class AdaptiveLogisticRegressionCV(ClassifierMixin, AdaptiveCV):
    """Logistic regression whose penalties, one for each feature, are learned by
    cross-validation, and taken only where they are better than a shared one.

    As `AdaptiveRidgeCV`, which says how, with the log loss: multinomial where there are more
    than two classes. Where nothing is gained the model is that of
    `LogisticRegressionCV(scoring="neg_log_loss")`, solved to convergence: on classes that a
    plane nearly separates, its own default tolerance stops early, and the two differ.

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
        A family stops where eight steps gained less than this share of its loss; and, whatever
        `tol`, where the last four of eight were worse than an earlier one by more than one
        standard error, on the rows that took no part.
    class_weight : dict or "balanced", default=None
        Multiplies the weights of rows, once, before the folds. Unlike those of `fit`, these
        weights do not say that there are more rows, or fewer.
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
    penalties_, shared_penalty_, family_, gain_, cv_results_, n_iter_, step_ :
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
        X, y, weights, groups, there = present(X, y, weights, groups)
        encoder = LabelEncoder().fit(y)
        self.classes_ = np.asarray(encoder.classes_)
        num = len(self.classes_)
        if num < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data "
                f"contains only one class: {self.classes_[0]!r}"
            )
        labels = np.asarray(encoder.transform(y))
        counts = weights
        if self.class_weight is not None:
            of_classes = compute_sample_weight(self.class_weight, y=y)
            if not np.all(of_classes > 0):
                raise ValueError("class_weight must be positive for every class in y.")
            weights = weights * of_classes
        loss = "binary" if num == 2 else "multinomial"
        columns = np.eye(num)[labels][:, (1 if num == 2 else 0) :]
        task = Task(canonical(X), labels, columns, loss, self.scale)
        found = self._fit(task, labels, weights, groups, there, counts)
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
