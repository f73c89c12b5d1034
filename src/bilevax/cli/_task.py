"""The problem and the algorithm of a run, with defaults that need no tuning."""

import dataclasses
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from optax.projections import projection_box

from .. import algorithms, problems
from .._adaptive import adaptive_step
from .._algorithm import Algorithm
from .._chunks import State
from .._curvature import curvature
from .._minimize import initial_state
from .._problem import BilevelProblem
from .._projection import projected
from .._tree import as_scalar
from ..problems._losses import accuracy, explained, scores
from ..problems._penalised import as_features
from ._errors import UnusableError
from ._scaling import Scaling
from ._settings import Settings
from ._tables import Table

_INNER_STEPS, _ADJOINT_STEPS = 20, 10
# Outer steps between two measurements of the inner smoothness.
MEASURE_EVERY = 50
# All penalties as shares of the loss's smoothness: where they start, and the bounds within
# which they stay. Below the least a penalty does nothing; above the largest a weight is
# zero for all purposes, and the measured inner step, 1 / smoothness, stays stable.
_START, _LEAST, _LARGEST = 1e-3, 1e-7, 0.5
# A dense system of more unknowns than this is not for `ba`.
_MOST_UNKNOWNS = 5000


@dataclasses.dataclass(frozen=True)
class Task:
    """What `bx.minimize` needs, and the units to read its answer in.

    - `unit`: the penalty that x = 0 stands for: a weight w with the log-penalty x adds
      `unit * exp(x) * w**2 / 2` to the mean training loss, on scaled features.
    """

    problem: BilevelProblem
    algorithm: Algorithm
    metrics: Any
    scaling: Scaling
    unit: float
    start: State


def build(settings: Settings, table: Table) -> Task:
    """The task of a run."""
    scaling = Scaling.of(table, settings.named)
    train, valid, test = (_on_device(scaling.rows(rows)) for rows in table.parts.values())
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
    algorithm = _algorithm(settings, made.y0.size)
    key = jax.random.key(settings.seed)
    at_unit = jnp.zeros_like(made.x0)
    start = initial_state(made.problem, algorithm, at_unit, made.y0, key=key)
    start = State(start.loop, start.cost + measured.cost.on_host())
    score = accuracy if table.class_names else explained
    rows = {"validation": made.problem.outer_data, "test": test}
    metrics = Measure(made.problem.outer, score, rows, scaling.unit**2)
    return Task(made.problem, algorithm, metrics, scaling, unit, start)


class Measure(eqx.Module):
    """The losses (times `unit`) and scores of the weights on validation and test rows."""

    loss: Any
    score: Any = eqx.field(static=True)
    rows: dict[str, Any]
    unit: Any = eqx.field(converter=as_scalar)

    def __call__(self, x, y) -> dict[str, Any]:
        found = {}
        for part, (features, targets) in self.rows.items():
            loss = self.loss(x, y, (features, targets))
            found[f"{part}_loss"] = jnp.asarray(self.unit, loss.dtype) * loss
            one_hot = self.score is accuracy and targets.ndim == 2
            wanted = jnp.argmax(targets, axis=1) if one_hot else targets
            found[f"{part}_score"] = self.score(scores(features, y), wanted)
        return found


def _algorithm(settings: Settings, unknowns: int) -> Algorithm:
    """The preset with what was asked for, within bounds on x."""
    name = settings.algorithm
    if name == "ba" and unknowns > _MOST_UNKNOWNS:
        raise UnusableError(
            f"--algorithm ba solves dense systems, and this model has {unknowns:,} weights; "
            f"it is for up to {_MOST_UNKNOWNS:,}. Take amigo-cg."
        )
    preset = getattr(algorithms, name.replace("-", "_"))
    accepted = inspect.signature(preset).parameters
    defaults = {"inner_steps": _INNER_STEPS, "adjoint_steps": _ADJOINT_STEPS}
    options: dict[str, Any] = {"batch_size": settings.batch_size}
    for option, default in defaults.items():
        given = getattr(settings, option)
        if option not in accepted:
            if given is not None:
                raise UnusableError(
                    f"--{option.replace('_', '-')} has no meaning for --algorithm {name}."
                )
        elif given is not None or not callable(accepted[option].default):
            options[option] = given or default
    outer = adaptive_step() if settings.step_size is None else settings.step_size
    made = preset(outer_step_size=outer, **options)
    bounds = np.log(_LEAST / _START), np.log(_LARGEST / _START)
    return Algorithm(made.hypergradient, made.outer, projected(projection_box, *bounds))


def _on_device(rows):
    features, targets = rows
    return as_features(features), jnp.asarray(targets)


def _one_hot(rows, num: int):
    """One column a class, where there are classes."""
    features, targets = rows
    return (features, jax.nn.one_hot(targets, num)) if num else rows
