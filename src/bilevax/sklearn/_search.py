"""The tuning runs: the best shared penalty, then a family of penalties by hypergradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._core.program import program
from .._core.result import Result
from .._run.minimize import minimize
from ..algorithms._adaptive import adaptive_steps
from ..algorithms._base import Algorithm
from ..hypergradients import Implicit
from ..problems._stacked import Stacked, Weights
from ..solvers._equation import InnerEquation
from ..solvers._separable import SeparableCG, SeparableNewton
from ._device import placed
from ._penalties import Outer, Penalties
from ._task import Models, Tolerances

_NEWTON, _PRODUCTS = 50, 500
# Outer steps between two looks at whether a run still gains.
_BLOCK = 8
# How far a log-penalty may move in a step.
_DISTANCES = {
    family: Outer(*map(np.float64, distances))
    for family, distances in {"theta": (1.0, 1.0, 0.0), "free": (1.0, 0.0, 0.5)}.items()
}


class Trace(NamedTuple):
    """What a run was at each of its steps, the first being the shared start.

    - `judged`: (steps, rows), each row's mean loss over the models it judges;
    - `validation`: (steps, models);
    - `x`: an `Outer` of (steps, runs, ...).
    """

    judged: np.ndarray
    validation: np.ndarray
    x: Outer


# Their structures.
_LEAF: Any = 0
TRACE = Trace(_LEAF, _LEAF, Outer(_LEAF, _LEAF, _LEAF))


class Judge(eqx.Module):
    """Losses of all models, on rows that judge them and on those that validate them."""

    outer: Any
    rows: Any
    judge: Float[Array, "models rows"]
    valid: Float[Array, "models rows"]

    def losses(self, y) -> Float[Array, "models rows"]:
        """Of every model on every row."""
        features, targets = self.rows
        return self.outer.losses(self.outer.scaling.scores(features, y), targets)

    def validation(self, losses: Array) -> Array:
        """Each model's mean over the rows that validate it."""
        return _mean(self.valid, losses, axis=1)

    def __call__(self, x, y) -> dict[str, Array]:
        losses = self.losses(y)
        judged = _mean(self.judge, losses, axis=0)
        return {"judged": judged, "validation": self.validation(losses), **x._asdict()}


def _mean(weights: Array, losses: Array, axis: int) -> Array:
    """The weighted mean, 0 where nothing counts."""
    total = jnp.sum(weights, axis=axis)
    return jnp.sum(weights * losses, axis=axis) / jnp.where(total > 0, total, 1)


@program
def solve(problem, preconditioner, x, y, tol, single):
    """The models at x, and how their solve ended."""
    solver = _newton(preconditioner, tol, single)
    equation = InnerEquation(problem, x)
    state = solver.init(equation, y)
    y, _, _, result = solver.solve(equation, y, state, jax.random.key(0), jnp.int32(0))
    return y, result == Result.successful


@program
def _validation(judge: Judge, y):
    return judge.validation(judge.losses(y))


class Start(NamedTuple):
    """The best shared penalty of each run, and the models there.

    `losses`: (penalties, runs), the mean validation losses over the grid; NaN where large data
    were not tried, since more penalty had been better for a while.
    """

    log_penalties: np.ndarray
    losses: np.ndarray
    models: Weights


START = Start(_LEAF, _LEAF, Weights(_LEAF, _LEAF))


def shared_start(models: Models, grid: np.ndarray, num_descriptions: int) -> Start:
    """Every run's best penalty of a grid, the same for all features."""
    made, plan = _shared(models, num_descriptions), models.plan
    problem, y = made.problem, made.y0
    judge = _judge(models, problem)
    order, found, losses = (
        np.argsort(grid)[::-1],
        {},
        np.full((len(grid), plan.num_runs), np.nan),
    )
    tol = np.asarray(models.tolerances.grid)
    for n, i in enumerate(order):
        x = models.outer(np.log(grid[i]), num_descriptions)
        preconditioner = models.preconditioner(problem, x, y)
        y, _ = solve(problem, preconditioner, x, y, tol, models.single)
        found[i] = jax.device_get(y)
        losses[i] = run_means(plan, np.asarray(_validation(judge, y)))
        if models.large and _rises(losses[order[: n + 1]]):
            break
    best = np.nanargmin(losses, axis=0)
    each = list(enumerate(best[plan.run]))
    chosen = [np.stack([found[i][part][m] for m, i in each]) for part in (0, 1)]
    return Start(np.log(grid)[best], losses, Weights(*placed(chosen)))


def _rises(losses: np.ndarray) -> bool:
    """Whether less penalty has been worse, twice, for every run."""
    return len(losses) > 2 and bool(np.all(np.diff(losses[-3:], axis=0) > 0))


def _shared(models: Models, num_descriptions: int) -> Stacked:
    """The models under penalties that nothing has an effect on yet."""
    shape = models.means.shape
    nothing = np.zeros((*shape, num_descriptions)), np.zeros(shape[1], int)
    made = models.stacked(models.penalties(*nothing))
    # As later weights are, or the first solve would be a program of its own.
    return Stacked(made.problem, placed(made.y0))


def run_means(plan, of_models: np.ndarray) -> np.ndarray:
    """Each run's mean over its models."""
    sums = np.bincount(plan.run, of_models, plan.num_runs)
    return sums / np.bincount(plan.run, minlength=plan.num_runs)


def family_run(
    models: Models,
    start: Start,
    descriptions: np.ndarray,
    groups: np.ndarray,
    family: str,
    num_steps: int,
    tol: float,
    overfits: Callable[[np.ndarray], bool],
) -> Trace:
    """All runs of a family side by side, from the shared start.

    They end after `num_steps`; or after a block of steps within which none has gained more
    than `tol` of its loss, or of whose judged losses so far, (steps, rows), `overfits` says so.
    """
    plan = models.plan
    problem = models.stacked(models.penalties(descriptions, groups)).problem
    x0 = models.outer(start.log_penalties, descriptions.shape[2])
    judge, state, y, records = _judge(models, problem), None, start.models, []
    # The losses of step t belong to the penalties after step t - 1.
    for length in _blocks(num_steps + 1):
        x = x0 if state is None else state.loop.x
        preconditioner = models.preconditioner(problem, x, y)
        estimator = _estimator(preconditioner, models.tolerances, models.single)
        algorithm = Algorithm(estimator, adaptive_steps(_DISTANCES[family]))
        solution = minimize(
            problem, algorithm, x0, y, num_steps=length, metrics=judge, state=state
        )
        state, y = solution.state, solution.y
        records.append(solution.history)
        if solution.result != Result.successful:
            break
        ended = _idle(plan, records, tol) or overfits(_trace(models, x0, records).judged)
        if ended and len(records) > 1:
            break
    return _trace(models, x0, records)


def _blocks(num_steps: int) -> list[int]:
    """Lengths: one alone, as no other step is as long as the first, then equal ones."""
    whole, rest = divmod(num_steps - 1, _BLOCK)
    return [1] + [_BLOCK] * whole + [rest] * (rest > 0)


def _estimator(preconditioner, tolerances: Tolerances, single: bool) -> Implicit:
    linear = SeparableCG(
        preconditioner=preconditioner,
        num_steps=_PRODUCTS,
        tol=tolerances.adjoint,
        single=single,
    )
    return Implicit(_newton(preconditioner, tolerances.steps, single), linear)


def _newton(preconditioner, tol, single: bool) -> SeparableNewton:
    return SeparableNewton(
        preconditioner=preconditioner,
        num_steps=_NEWTON,
        tol=tol,
        num_products=_PRODUCTS,
        single=single,
    )


def _idle(plan, records: list, tol: float) -> bool:
    """Whether no run has gained more than `tol` of its loss within the last block."""
    first, last = (run_means(plan, records[-1]["validation"][i]) for i in (0, -1))
    return bool(np.all(first - last <= tol * np.abs(first)))


def _trace(models: Models, x0: Outer, records: list) -> Trace:
    watches, num = models.watches, len(models.plan.judge)
    joined: Any = lambda name: np.concatenate([record[name] for record in records])
    after = Outer(*(joined(name) for name in Outer._fields))
    at = jax.tree.map(lambda a, b: np.concatenate([np.asarray(a)[None], b[:-1]]), x0, after)
    found = joined("judged")
    judged = np.zeros((len(found), num))
    # Without the room for more.
    judged[:, watches.rows] = found[:, : len(watches.task.targets)]
    return Trace(judged, joined("validation"), at)


def _judge(models: Models, problem) -> Judge:
    features, targets, _ = problem.outer_data
    plan, room = models.plan, models.watches.room
    parts = placed([room(plan.judge).T, room(plan.valid).T])
    return Judge(problem.outer, (features, targets), *parts)


def shared_refit(
    models: Models, grid: np.ndarray, log_penalty: float, num_descriptions: int, kept: bool
):
    """The models of a plan under one penalty, and whether they are solved: to rounding, if
    they are `kept` and not only described, or there is time for it.

    Those of large data go down the grid, as the search did: from zero a small penalty takes
    longer than all larger ones and it.
    """
    made, tolerances = _shared(models, num_descriptions), models.tolerances
    tol, y = tolerances.steps if models.large and not kept else tolerances.refit, made.y0
    larger = np.sort(np.log(grid))[::-1]
    for each in larger[larger > log_penalty] if models.large else ():
        x = models.outer(each, num_descriptions)
        y, _ = _solved(models, made.problem, x, y, tolerances.grid)
    return _solved(models, made.problem, models.outer(log_penalty, num_descriptions), y, tol)


def refit(models: Models, penalties: Penalties, x: Outer, y: Weights):
    """The models at x, from y, to be kept."""
    return _solved(models, models.stacked(penalties).problem, x, y, models.tolerances.refit)


def _solved(models: Models, problem, x: Outer, y: Weights, tol: float) -> tuple[Weights, bool]:
    preconditioner = models.preconditioner(problem, x, y)
    y, converged = solve(problem, preconditioner, x, y, np.asarray(tol), models.single)
    return y, bool(converged)
