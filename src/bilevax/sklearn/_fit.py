"""The scheme: folds, the shared start, the families, the choice, the refit."""

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.linalg
import scipy.sparse
from threadpoolctl import threadpool_limits

from .._core.kept import programs_kept
from .._core.program import program
from ._choice import Choice, Gain, Judged, choose, gain, overfits, stale
from ._descriptions import NUM_OWN, descriptions, standardised
from ._device import placed
from ._penalties import Outer, Penalties
from ._plan import Plan, everything, nested, one_split, trains
from ._search import (
    START,
    TRACE,
    Start,
    Trace,
    family_run,
    refit,
    shared_refit,
    shared_start,
)
from ._task import Models, Task
from ._watch import Watch

# Rows x features x models beyond which one split takes the place of the folds.
LARGE = 2e8
# Numbers of a product with all weights of a model, to which one split is cut for the search.
MOST_SEARCHED = 5e7
# Numbers that the refit reads beside models without rows, rather than compile its own program.
_MOST_BESIDE = 2e7
# Further from zero than so many times its range, a column is moved there.
_SPANS = 10
_FAMILIES = {"auto": ("theta", "free"), "feature": ("free",), "group": ("free",), "shared": ()}


class Options(NamedTuple):
    """What the user asked for."""

    penalty: str
    grid: np.ndarray
    groups: np.ndarray  # of the features
    features: np.ndarray | None  # further descriptions, (features, more)
    max_iter: int
    tol: float

    def reordered(self, order: np.ndarray) -> "Options":
        """Of features in another order."""
        features = None if self.features is None else self.features[order]
        return self._replace(groups=self.groups[order], features=features)

    @property
    def num_descriptions(self) -> int:
        """Of a feature, bilevax's own and the user's."""
        return NUM_OWN + (0 if self.features is None else self.features.shape[1])


class Weighted(NamedTuple):
    """The rows: their weights, how many each stands for, and what stands and falls together."""

    weights: np.ndarray
    counts: np.ndarray
    clusters: np.ndarray

    def at(self, rows: Any) -> "Weighted":
        """The same of some rows."""
        return Weighted(*(part[rows] for part in self))


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
    judged: Judged
    converged: bool

    @property
    def num_steps(self) -> int:
        """Of the family with the most; the first of a trace is the start."""
        return max((len(trace.judged) - 1 for trace in self.traces.values()), default=0)

    def cv_results(self, grid: np.ndarray) -> dict[str, np.ndarray]:
        """Losses of the main run on the grid and at every step, and judged losses."""
        found = {"alphas": grid, "mean_validation_loss": self.start.losses[:, 0]}
        main = self.plan.run == 0
        for family, trace in self.traces.items():
            found[f"{family}_validation_loss"] = trace.validation[:, main].mean(axis=1)
            found[f"{family}_judged_loss"] = np.array([*map(self.judged.mean, trace.judged)])
            paired = trace.judged - trace.judged[0]
            errors = [*map(self.judged.standard_error, paired)]
            found[f"{family}_judged_error"] = np.array(errors)
        return found


def fit(
    task: Task,
    folds: list,
    weights: np.ndarray,
    clusters,
    options: Options,
    watch: Watch,
    counts: np.ndarray | None = None,
) -> Fitted:
    """The whole scheme, in float64 whatever JAX's default is.

    `folds`: pairs of indices; or one triple, of rows to train, to tune and to judge on.
    `counts`: how many rows each stands for, where weights say more than that.
    """
    # XLA calls LAPACK from threads of its own. With further threads in each call, a small
    # factorisation takes a hundred times as long. scipy.linalg is imported here so that its
    # library is there to limit.
    far, order = _far(task.features), _by_use(task.features)
    counts = weights if counts is None else counts
    rows = Weighted(weights, counts, clusters)
    with threadpool_limits(1, user_api="blas"), jax.enable_x64(True), programs_kept():
        found = _fit(
            task.shifted(far).reordered(order), folds, rows, options.reordered(order), watch
        )
    place = np.argsort(order)
    coefficients = found.coefficients[:, place]
    return found._replace(
        coefficients=coefficients,
        intercept=found.intercept - coefficients @ far,
        penalties=found.penalties[place],
    )


def _far(features: Any) -> np.ndarray:
    """Means of dense columns that lie far from zero beside what they vary by, which sums of
    their squares would lose; 0 for others."""
    if scipy.sparse.issparse(features):
        return np.zeros(features.shape[1])
    span = np.max(features, axis=0) - np.min(features, axis=0)
    means = np.mean(features, axis=0)
    return np.where((span > 0) & (np.abs(means) > _SPANS * span), means, 0.0)


def _by_use(features: Any) -> np.ndarray:
    """An order of the columns: of sparse ones those with most entries come first, so that
    most of what a product reads of the weights lies side by side."""
    num = features.shape[1]
    if not scipy.sparse.issparse(features):
        return np.arange(num)
    return np.argsort(-np.bincount(features.indices, minlength=num), kind="stable")


def is_large(shape: tuple[int, int], cv) -> bool:
    """Whether one split takes the place of so many folds, where they are a number."""
    return isinstance(cv, numbers.Integral) and shape[0] * shape[1] * float(cv) ** 2 > LARGE


def _fit(whole, folds, all_rows: Weighted, options: Options, watch: Watch) -> Fitted:
    task, rows, of_one_split = whole, all_rows, len(folds[0]) == 3
    if of_one_split:
        searched, folds = _searched(whole, folds[0])
        task, rows = whole.at(searched), all_rows.at(searched)
    plan = _plan(task, folds, rows.weights)
    models = Models.of(task, plan, of_one_split)
    search = lambda: shared_start(models, options.grid, options.num_descriptions)
    start = watch.part("shared", START, search)
    shared = float(np.exp(start.log_penalties[0]))
    watch.say(f"{len(plan.run)} models; the best shared penalty is {shared:.3g}")
    families, why = _FAMILIES[options.penalty], ""
    if families and not plan.enough:
        families, why = (), "Too few folds can be judged: one shared penalty is kept."
    traces, seen = {}, plan.judge.sum(axis=1) > 0
    judged = Judged(rows.weights, rows.clusters, _folds(plan), rows.counts).at(seen)

    def ends(losses: np.ndarray) -> bool:
        losses = losses[:, seen]
        return overfits(losses, judged) or (models.large and stale(losses, judged))

    if families:
        described = _descriptions(models, models.own(start.models)[0], options)
        for family in families:
            if watch.late():
                break
            run = _run(models, start, described, family, options, ends, watch)
            traces[family] = _on(seen, run)
            watch.say(f"{family}: {len(run.judged) - 1} steps")
    if families and not traces:
        why = "There was no time for others: one shared penalty is kept."
    choice = choose(traces, judged) if traces else Choice("shared", 0)
    found = gain(traces, judged, choice, why)
    watch.say(found.sentence)
    model = _refitted(whole, models, all_rows.weights, start, traces, choice, options)
    coefficients, intercept, penalties, converged = model
    return Fitted(
        coefficients,
        intercept,
        penalties,
        shared,
        choice,
        found,
        start,
        traces,
        plan,
        judged,
        converged,
    )


def _searched(task: Task, split: Sequence[np.ndarray]) -> tuple[Any, list]:
    """The rows of one split on which penalties are searched, and the split in terms of these.

    All of them; but of large data as many as make a product with the features cheap, evenly
    spaced in each part. A penalty stands beside the summed loss, so that it carries over to
    more rows.
    """
    share = MOST_SEARCHED / task.num_numbers
    if share >= 1:
        return slice(None), [split]
    counts = [max(1, int(share * len(part))) for part in split]
    parts = [
        part[np.arange(num) * len(part) // num] for part, num in zip(split, counts, strict=True)
    ]
    rows = np.sort(np.concatenate(parts))
    return rows, [tuple(np.searchsorted(rows, part) for part in parts)]


def _plan(task: Task, folds: list, weights: np.ndarray) -> Plan:
    if len(folds[0]) == 3:
        return one_split(folds[0], weights)
    for train, test in folds:
        mask = np.zeros(len(weights), bool)
        mask[train] = True
        if not trains(mask, weights, task.columns) or weights[test].sum() == 0:
            raise ValueError(_NO_NUMBERS if task.loss == "squared" else _NO_CLASSES)
    return nested(folds, weights, task.columns)


def _run(models, start, described, family, options: Options, ends, watch: Watch) -> Trace:
    # A few numbers are learned within a few steps.
    steps = min(options.max_iter, 8) if family == "theta" else options.max_iter
    groups, tol = options.groups, options.tol
    run = lambda: family_run(models, start, described, groups, family, steps, tol, ends)
    return watch.part(f"{family}, {steps} steps", TRACE, run)


def _on(rows: np.ndarray, trace: Trace) -> Trace:
    return trace._replace(judged=trace.judged[:, rows])


def _folds(plan: Plan) -> np.ndarray:
    """The run that judges each row; of several, the first. Where one run judges all, the
    models are the same for all rows, and any parts of them serve."""
    if plan.num_runs == 1:
        return np.arange(len(plan.judge)) % 5
    judges = np.stack([plan.judge[:, plan.run == r].sum(axis=1) for r in range(plan.num_runs)])
    return np.argmax(judges > 0, axis=0)


def _descriptions(models: Models, fitted: np.ndarray, options: Options) -> np.ndarray:
    own = descriptions(models, fitted)
    if options.features is None:
        return own
    shape = (len(own), *options.features.shape)
    given = standardised(np.broadcast_to(options.features, shape), models.variances > 0)
    return np.concatenate([own, given], axis=2)


def _refitted(task: Task, searched: Models, weights, start, traces, choice, options: Options):
    """On all rows, at the mean of the runs' penalties: coefficients, (outputs, features), and
    intercepts for features as they came, the penalties, and whether that converged."""
    run = searched.plan.run
    numbers = np.prod(task.features.shape, dtype=float) * len(run) * task.num_outputs
    own = numbers > _MOST_BESIDE
    plan = everything(weights, np.zeros(1, int) if own else run)
    models = Models.of(task, plan, searched.of_one_split)
    log_shared, num = start.log_penalties[0], options.num_descriptions
    only = choice.family == "shared"
    y, converged = shared_refit(models, options.grid, log_shared, num, only)
    penalties = np.full(task.features.shape[1], np.exp(log_shared))
    if choice.family != "shared":
        described = _descriptions(models, models.own(y)[0], options)
        rule = models.penalties(described, options.groups)
        x = _of_every_run(traces[choice.family].x, choice.step, models.plan.num_runs)
        y, converged = refit(models, rule, x, y)
        penalties = np.asarray(_at(rule, x))[0, : len(penalties)]
    scaled, intercept = models.own(y)
    raw = (models.factors[0][:, None] * scaled[0]).T
    return raw, intercept[0] - raw @ models.centres[0], penalties, converged


@program
def _at(rule: Penalties, x: Outer) -> jax.Array:
    return rule(x)


def _of_every_run(x: Outer, step: int, num_runs: int) -> Outer:
    """The mean over runs of the penalties at a step, for each of so many runs."""
    means = (part[step].mean(axis=0) for part in x)
    return placed(Outer(*(np.broadcast_to(m, (num_runs, *m.shape)) for m in means)))


_NO_CLASSES = (
    "Each split needs rows of weight to test on, and training rows of every class: pass "
    "cv=StratifiedKFold(k) with fewer folds, or more rows."
)
_NO_NUMBERS = (
    "Each split needs rows of weight to test on, and training rows with more than one target: "
    "of a constant there is nothing to learn; of one that rarely changes, pass "
    "cv=KFold(k, shuffle=True) with fewer folds."
)
