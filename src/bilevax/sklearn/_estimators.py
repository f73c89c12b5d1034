"""Estimators for scikit-learn's users: linear models with a penalty for each feature."""

import difflib
import numbers
import warnings
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ._fit import LARGE, Fitted, Options, fit
from ._splits import splits, three_parts
from ._task import Task

PENALTIES = ("auto", "feature", "group", "shared")
