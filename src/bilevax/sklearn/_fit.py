"""The scheme: folds, the shared start, the families, the choice, the refit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..problems._stacked import Weights
from ._choice import Choice, Gain, Judged, choose, gain
from ._descriptions import descriptions, standardised
from ._penalties import Outer, Penalties
from ._plan import Plan, Split, nested, one_split, trains
from ._search import Start, Trace, family_run, refit, shared_start
from ._splits import three_parts
from ._task import Models, Task

# Rows x features x models beyond which one split takes the place of the folds.
LARGE = 2e8
_FAMILIES = {"auto": ("theta", "free"), "feature": ("free",), "group": ("free",), "shared": ()}


class Options(NamedTuple):
    """What the user asked for."""

    penalty: str
    grid: np.ndarray
    groups: np.ndarray  # of the features
    features: np.ndarray | None  # further descriptions, (features, more)
    max_iter: int
    tol: float


class Fitted(NamedTuple):
    """A model on features and targets as they came, and how it was found."""

    coefficients: np.ndarray  # (outputs, features)
    intercept: np.ndarray
    penalties: np.ndarray
    shared_penalty: float
    choice: Choice
    gain: Gain
    start: Start
    traces: dict[str, Trace]
    plan: Plan
    converged: bool


def fit(task: Task, folds: list[Split], weights: np.ndarray, clusters, options: Options):
    """The whole scheme, in float64 whatever JAX's default is."""
    with jax.enable_x64(True):
        return _fit(task, folds, weights, clusters, options)


def plan_of(task: Task, folds: list[Split], weights: np.ndarray, random_state) -> tuple:
    """The models to fit, and the fold of each row, -1 where none judges it."""
    num = len(folds) ** 2
    if np.prod(task.features.shape, dtype=float) * num > LARGE:
        parts = three_parts(task.targets, task.loss != "squared", random_state)
        return one_split(parts, weights)
    return nested(folds, weights, task.columns)


def _fit(task, folds, weights, clusters, options: Options) -> Fitted:
    plan = _plan(task, folds, weights)
    models = Models.of(task, plan)
    start = shared_start(models, options.grid)
    families, why = _FAMILIES[options.penalty], ""
    if families and not plan.enough:
        families, why = (), "Too few folds can be judged: one shared penalty is kept."
    traces, seen = {}, plan.judge.sum(axis=1) > 0
    if families:
        described = _descriptions(models, np.asarray(start.models.weights), options)
        for family in families:
            traces[family] = _on(seen, _run(models, start, described, family, options))
    judged = Judged(weights[seen], clusters[seen], _folds(plan)[seen])
    choice = choose(traces, judged) if traces else Choice("shared", 0)
    found = gain(traces, judged, choice, why)
    return _refitted(task, weights, start, traces, choice, found, plan, options)


def _plan(task: Task, folds: list[Split], weights: np.ndarray) -> Plan:
    if len(folds) == 1 and len(folds[0]) == 3:
        return one_split(folds[0], weights)
    for train, test in folds:
        mask = np.zeros(len(weights), bool)
        mask[train] = True
        if not trains(mask, weights, task.columns) or weights[test].sum() == 0:
            raise ValueError(_UNUSABLE)
    return nested(folds, weights, task.columns)


def _run(models, start, described, family, options: Options) -> Trace:
    # A few numbers are learned within a few steps.
    steps = min(options.max_iter, 8) if family == "theta" else options.max_iter
    return family_run(models, start, described, options.groups, family, steps, options.tol)


def _on(rows: np.ndarray, trace: Trace) -> Trace:
    return trace._replace(judged=trace.judged[:, rows])


def _folds(plan: Plan) -> np.ndarray:
    """The run that judges each row; of several, the first."""
    judges = np.stack([plan.judge[:, plan.run == r].sum(axis=1) for r in range(plan.num_runs)])
    return np.argmax(judges > 0, axis=0)


def _descriptions(models: Models, fitted: np.ndarray, options: Options) -> np.ndarray:
    own = descriptions(models, fitted)
    if options.features is None:
        return own
    shape = (len(own), *options.features.shape)
    given = standardised(np.broadcast_to(options.features, shape), models.variances > 0)
    return np.concatenate([own, given], axis=2)


def _refitted(task, weights, start, traces, choice, found, plan, options) -> Fitted:
    """On all rows, at the mean of the runs' penalties."""
    everything = np.ones((len(weights), 1)) * weights[:, None]
    models = Models.of(task, Plan(np.zeros(1, int), everything, everything, everything, True))
    log_shared = start.log_penalties[0]
    y, converged = refit(models, None, jnp.asarray(log_shared))
    penalties = np.full(task.features.shape[1], np.exp(log_shared))
    if choice.family != "shared":
        described = _descriptions(models, np.asarray(y.weights), options)
        rule = Penalties(jnp.zeros(1, jnp.int32), jnp.asarray(described), jnp.asarray(options.groups))
        at = lambda part: jnp.asarray(part[choice.step].mean(axis=0, keepdims=True))
        x = Outer(*map(at, traces[choice.family].x))
        y, converged = refit(models, rule, x, y)
        penalties = np.asarray(rule(x))[0]
    coefficients, intercept = _as_they_came(models, y)
    shared = float(np.exp(log_shared))
    return Fitted(
        coefficients, intercept, penalties, shared, choice, found, start, traces, plan, converged
    )


def _as_they_came(models: Models, y: Weights) -> tuple[np.ndarray, np.ndarray]:
    scaling = models.scaling
    raw = np.asarray(scaling.factors[0][:, None] * y.weights[0])
    return raw.T, np.asarray(y.intercept[0]) - np.asarray(scaling.means[0]) @ raw


_UNUSABLE = (
    "Each split needs rows to test on, and training rows of every class, or with more than one "
    "target: pass cv=StratifiedKFold(k) with fewer folds, or more rows."
)
