"""Runs of figures 1d-f and 4: penalties of words, learned within a budget of time."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from ... import algorithms
from ..._rows.data import as_data
from ..._run.minimize import minimize
from ...problems import cross_entropy, penalised_logistic
from ._posts import Posts

_STEPS = 10  # T and N
_RECORDS = 30
# Of methods whose adjoint moves along gradients, and of those with a series.
_BETA, _ETA = 10.0, 0.5
_OPTIONS: dict[str, dict[str, Any]] = {
    "amigo_cg": {"inner_steps": _STEPS, "adjoint_steps": _STEPS},
    "amigo_gd": {"inner_steps": _STEPS, "adjoint_steps": _STEPS, "adjoint_step_size": _BETA},
    "aid_cg": {"inner_steps": _STEPS, "adjoint_steps": _STEPS},
    "aid_cg_ws": {"inner_steps": _STEPS, "adjoint_steps": _STEPS},
    "aid_gd": {"inner_steps": _STEPS, "adjoint_steps": _STEPS, "adjoint_step_size": _BETA},
    "aid_fp": {"inner_steps": _STEPS, "adjoint_steps": _STEPS},
    "aid_n": {"inner_steps": _STEPS, "adjoint_steps": _STEPS, "adjoint_step_size": _BETA},
    "itd": {"inner_steps": _STEPS},
    "reverse": {"inner_steps": _STEPS},
    "stocbio": {"inner_steps": _STEPS, "adjoint_steps": _STEPS, "adjoint_step_size": _ETA},
    "bsa": {"inner_steps": _STEPS, "adjoint_steps": _STEPS, "adjoint_step_size": _ETA},
    "ttsa": {"adjoint_steps": _STEPS, "adjoint_step_size": _ETA},
    "mrbo": {"adjoint_steps": _STEPS, "adjoint_step_size": _ETA},
    "vrbo": {"adjoint_steps": _STEPS, "adjoint_step_size": _ETA},
}


class Learned(NamedTuple):
    """A run: what was recorded, and whether its time was up before its steps were."""

    history: dict[str, np.ndarray]
    cut: bool

    def at(self, step: int, name: str) -> float:
        """What was recorded last up to a step; NaN where the run has not got there."""
        taken = self.history["step"]
        if taken[-1] < step:
            return float("nan")
        return float(self.history[name][np.searchsorted(taken, step, side="right") - 1])


def learn(
    rows: Posts, method: str, batch_size: int | None, steps: int, seed: int, budget: float
) -> Learned:
    """From x = 0 and y = 0 with constant steps, until the steps or the seconds are up."""
    task = penalised_logistic(rows.train, rows.valid)
    arrays = [(as_data(_single(X)), jnp.asarray(b)) for X, b in (rows.valid, rows.test)]
    solution = minimize(
        task.problem,
        algorithm(method, rows.step_size, batch_size),
        jnp.zeros_like(task.x0),
        task.y0,
        num_steps=steps,
        key=jax.random.key(seed),
        record_every=max(1, steps // _RECORDS),
        metrics=Partial(_measured, *arrays),
        callback=_Expired(budget),
    )
    return Learned(solution.history, int(solution.state.loop.step) < steps)


class _Expired:
    """Whether so many seconds have passed since it was first asked, when all is compiled."""

    def __init__(self, budget: float):
        self._budget, self._started = budget, None

    def __call__(self, solution: Any) -> bool:
        now = time.perf_counter()
        if self._started is None:
            self._started = now
        return now - self._started > self._budget


def algorithm(method: str, step_size: float, batch_size: int | None) -> Any:
    """alpha = gamma."""
    sizes = {"batch_size": batch_size}
    steps = {"outer_step_size": step_size, "inner_step_size": step_size}
    return getattr(algorithms, method)(**steps, **_OPTIONS[method], **sizes)


def _measured(valid, test, x, y):
    del x
    right = lambda scores, labels: jnp.mean(jnp.argmax(scores, axis=1) == labels)
    of_valid, of_test = valid[0] @ y, test[0] @ y
    return {
        "loss": cross_entropy(of_valid, valid[1]),
        "accuracy": right(of_valid, valid[1]),
        "test accuracy": right(of_test, test[1]),
    }


def _single(features: Any) -> Any:
    return features.astype(np.float32)
