"""Runs of figures 1d-f and 4: penalties of words, learned within a budget of time."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from ... import algorithms
from ..._core.result import Result, is_code
from ..._rows.data import as_data
from ..._run.minimize import minimize
from ...problems import penalised_logistic
from ._clock import Clock
from ._posts import Posts
from ._records import measured

# So that 60, 400 and 1,000 of 1,000 steps are recorded, at which rules look.
_RECORDS = 50
_NONE: Mapping[str, Any] = {}
_T, _N = {"inner_steps": 10}, {"adjoint_steps": 10}
# Of methods whose adjoint moves along gradients, and of those with a series.
_BETA, _ETA = {"adjoint_step_size": 10.0}, {"adjoint_step_size": 0.5}
OPTIONS: dict[str, dict[str, Any]] = {
    "amigo_cg": _T | _N,
    "amigo_gd": _T | _N | _BETA,
    "aid_cg": _T | _N,
    "aid_cg_ws": _T | _N,
    "aid_gd": _T | _N | _BETA,
    "aid_fp": _T | _N,
    "aid_n": _T | _N | _BETA,
    "itd": _T,
    "reverse": _T,
    "stocbio": _T | _N | _ETA,
    "bsa": _T | _N | _ETA,
    "ttsa": _N | _ETA,
    "mrbo": _N | _ETA,
    "vrbo": _N | _ETA,
}


class Learned(NamedTuple):
    """A run: what was recorded, whether its time was up before its steps were, and of a run
    that failed, why."""

    history: dict[str, np.ndarray]
    cut: bool
    failure: str = ""

    @property
    def last(self) -> int:
        """The step that was recorded last."""
        return int(self.history["step"][-1])

    def at(self, step: int, name: str) -> float:
        """What was recorded last up to a step; NaN where the run has not got there, and an
        infinite loss where it has failed before."""
        if self.last < step:
            return float("inf" if self.failure and name == "loss" else "nan")
        place = np.searchsorted(self.history["step"], step, side="right") - 1
        return float(self.history[name][place])


def common_step(runs: Iterable[Learned]) -> int:
    """How far all runs got; those that failed do not count, unless all did."""
    found = list(runs)
    return min(one.last for one in [r for r in found if not r.failure] or found)


class Job(NamedTuple):
    """A run with constant steps from x = 0 and y = 0, until its steps or its CPU seconds are
    up. `options` replace those of the method; batches of `None` are all rows."""

    rows: Posts
    method: str
    batch_size: int | None
    steps: int
    seed: int
    budget: float = np.inf
    options: Mapping[str, Any] = _NONE


def learn(job: Job) -> Learned:
    """What a run comes to."""
    rows, steps = job.rows, job.steps
    task = penalised_logistic(rows.train, rows.valid)
    arrays = [(as_data(_single(X)), jnp.asarray(b)) for X, b in (rows.valid, rows.test)]
    clock = Clock(job.budget)
    solution = minimize(
        task.problem,
        algorithm(job.method, rows.step_size, job.batch_size, job.options),
        jnp.zeros_like(task.x0),
        task.y0,
        num_steps=steps,
        key=jax.random.key(job.seed),
        record_every=max(1, steps // _RECORDS),
        metrics=Partial(measured, *arrays),
        callback=clock,
    )
    history = solution.history | {"seconds": clock.seconds(solution.history["step"])}
    ended = any(is_code(solution.result, code) for code in (Result.successful, Result.stopped))
    short = int(solution.state.loop.step) < steps
    return Learned(history, ended and short, "" if ended else Result[solution.result])


def algorithm(
    method: str,
    step_size: float,
    batch_size: int | None,
    options: Mapping[str, Any] = _NONE,
) -> Any:
    """alpha = gamma."""
    steps = {"outer_step_size": step_size, "inner_step_size": step_size}
    others = {**OPTIONS[method], **options, "batch_size": batch_size}
    return getattr(algorithms, method)(**steps, **others)


def _single(features: Any) -> Any:
    return features.astype(np.float32)
