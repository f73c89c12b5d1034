"""The problem and the algorithm of a run, with defaults that need no tuning."""

import dataclasses
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from optax.projections import projection_box

from ... import algorithms, problems
from ..._rows.data import all_rows
from ..._run.chunks import State
from ..._run.curvature import curvature
from ..._run.minimize import initial_state
from ...algorithms._adaptive import adaptive_step
from ...algorithms._base import Algorithm
from ...algorithms._projected import projected
from ...problems._base import BilevelProblem
from ...problems._losses import accuracy, explained, scores
from ...problems._penalised import as_features
from .._errors import UnusableError
from .._options import option
from .._settings import ADJOINT_STEPS, INNER_STEPS, Settings
from .._tables import Rows, Table
from .devices import spread_over
from .scaling import Scaling

# All penalties as shares of the loss's smoothness: where they start, and the bounds within
# which they stay. Below the least a penalty does nothing; above the largest a weight is
# zero for all purposes, and the measured inner step, 1 / smoothness, stays stable.
_START, _LEAST, _LARGEST = 1e-3, 1e-7, 0.5
# Scaled numbers to predict whose squares float32 holds, with room.
_MOST_DEVIATIONS = 1e15
# A dense system of more unknowns than this is not for `ba`.
_MOST_UNKNOWNS = 5000


@dataclasses.dataclass(frozen=True)
class Task:
    """What `bx.minimize` needs, and the units to read its answer in.

    - `unit`: the penalty that x = 0 stands for: a weight w with the log-penalty x adds
      `unit * exp(x) * w**2 / 2` to the mean training loss, on scaled features.
    - `loss_unit`: what a loss of 1 on scaled targets is on targets as they came.
    - `loss_of_zero`: the validation loss of zero weights, as they came.
    """

    problem: BilevelProblem
    algorithm: Algorithm
    metrics: Any
    scaling: Scaling
    unit: float
    start: State
    loss_unit: float
    loss_of_zero: float

    def in_units(self, history: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The history with losses on targets as they came, in float64 for their range."""
        losses = [name for name in history if name.endswith("_loss")]
        return history | {name: self.loss_unit * history[name].astype(float) for name in losses}


def build(settings: Settings, table: Table) -> Task:
    """The task of a run."""
    spread = spread_over(settings.devices)
    scaling = Scaling.of(table, settings.named)
    rows = [scaling.rows(part) for part in table.parts.values()]
    if not table.class_names:
        _check_deviations(rows)
    train, valid, test = map(_on_device, rows)
    make: Any = problems.penalised_logistic
    if settings.model == "ridge":
        make = problems.penalised_ridge
        num = len(table.class_names)
        train, valid, test = (_one_hot(rows, num) for rows in (train, valid, test))
    try:
        # Without a penalty, to see the smoothness of the loss alone.
        bare = make(train, valid, penalty=settings.penalty, strength=0.0)
    except ValueError as error:
        raise UnusableError(str(error)) from error
    measured = curvature(bare.problem, bare.x0, bare.y0)
    if not np.isfinite(measured.smoothness):
        raise UnusableError(
            f"The numbers of {settings.dataset} are too large: scale them down."
        )
    unit = _START * float(measured.smoothness)
    made = make(train, valid, penalty=settings.penalty, strength=unit * bare.y0.size / 2)
    outer, inner = spread(made.problem.outer_data), spread(made.problem.inner_data)
    problem = dataclasses.replace(made.problem, outer_data=outer, inner_data=inner)
    algorithm = _algorithm(settings, made.y0.size)
    key = jax.random.key(settings.seed)
    at_unit = jnp.zeros_like(made.x0)
    start = initial_state(problem, algorithm, at_unit, made.y0, key=key)
    start = State(start.loop, start.cost + measured.cost.on_host())
    score = accuracy if table.class_names else explained
    metrics = Measure(problem.outer, score, {"validation": outer, "test": spread(test)})
    loss_unit = scaling.unit**2
    zero = loss_unit * _loss_of_zero(settings, table, rows[1][1])
    return Task(problem, algorithm, metrics, scaling, unit, start, loss_unit, zero)


def _check_deviations(rows: list[Rows]) -> None:
    """Raises where scaled numbers to predict are beyond the range of float32's squares."""
    farthest = max(float(np.max(np.abs(targets))) for _, targets in rows)
    if not farthest <= _MOST_DEVIATIONS:
        raise UnusableError(
            f"A label is {farthest:.3g} standard deviations away from the mean of the training "
            "rows, too far to judge a model by: leave its row out, or mend the labels."
        )


def _loss_of_zero(settings: Settings, table: Table, targets: np.ndarray) -> float:
    """The mean loss of predicting zero, on scaled targets."""
    num = len(table.class_names)
    if settings.model == "logistic":
        return float(np.log(num))
    return 0.5 if num else float(np.mean(targets.astype(float) ** 2)) / 2


class Measure(eqx.Module):
    """The losses and scores of the weights on validation and test rows."""

    loss: Any
    score: Any = eqx.field(static=True)
    rows: dict[str, Any]

    def __call__(self, x, y) -> dict[str, Any]:
        found = {}
        for part, (features, targets) in all_rows(self.rows).items():
            found[f"{part}_loss"] = self.loss(x, y, (features, targets))
            one_hot = self.score is accuracy and targets.ndim == 2
            wanted = jnp.argmax(targets, axis=1) if one_hot else targets
            found[f"{part}_score"] = self.score(scores(features, y), wanted)
        return found


def _algorithm(settings: Settings, unknowns: int) -> Algorithm:
    """The preset with what was asked for, within bounds on x."""
    name = settings.algorithm or ""
    if name == "ba" and unknowns > _MOST_UNKNOWNS:
        raise UnusableError(
            f"--algorithm ba solves dense systems, and this model has {unknowns:,} weights; "
            f"it is for up to {_MOST_UNKNOWNS:,}. Take amigo-cg."
        )
    preset = getattr(algorithms, name.replace("-", "_"))
    accepted = inspect.signature(preset).parameters
    defaults = {"inner_steps": INNER_STEPS, "adjoint_steps": ADJOINT_STEPS}
    options: dict[str, Any] = {}
    if "batch_sizes" in accepted:
        options["batch_size"] = settings.batch_size
    elif settings.batch_size is not None:
        raise UnusableError(_NO_MEANING.format(option("batch_size"), name))
    for steps, default in defaults.items():
        given = getattr(settings, steps)
        if steps not in accepted:
            if given is not None:
                raise UnusableError(_NO_MEANING.format(option(steps), name))
        elif given is not None or not callable(accepted[steps].default):
            options[steps] = given or default
    outer = adaptive_step() if settings.step_size is None else settings.step_size
    made = preset(outer_step_size=outer, **options)
    bounds = np.log(_LEAST / _START), np.log(_LARGEST / _START)
    return Algorithm(made.hypergradient, made.outer, projected(projection_box, *bounds))


_NO_MEANING = "{} has no meaning for --algorithm {}."


def _on_device(rows):
    features, targets = rows
    return as_features(features), jnp.asarray(targets)


def _one_hot(rows, num: int):
    """One column a class, where there are classes."""
    features, targets = rows
    return (features, jax.nn.one_hot(targets, num)) if num else rows
