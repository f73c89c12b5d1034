"""What the figures of stochastic gradient descent share: many runs together."""

import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from ..._study.trajectory import trajectory
from ...problems import LogisticRegression
from ...solvers import SGD, Direct
from ._curves import COLORS, NAMES, STYLES

_log = logging.getLogger(__name__)
# Runs that share one compiled call: enough to fill the processor, few enough for memory.
_TOGETHER = 100


class Setting(NamedTuple):
    """A logistic regression, with what its runs are compared to."""

    loss: LogisticRegression
    x: Array
    gradient: Any
    jacobian: Array

    @classmethod
    def of(cls, seed: int, num: int, features: int, penalty: float, scaled: bool) -> "Setting":
        """Standard normal D and x; `scaled` divides D by the root of the features."""
        random = np.random.RandomState(seed)
        design = random.randn(num, features) / (np.sqrt(features) if scaled else 1)
        x = jnp.asarray(random.randn(num))
        loss = LogisticRegression(design, penalty)
        y = loss.solution(x)
        hessian = jax.hessian(loss.objective, argnums=1)(x, y)
        cross = jax.jacobian(jax.grad(loss.objective), argnums=1)(x, y)
        return cls(loss, x, loss.gradient(x), -jnp.linalg.solve(hessian, cross.T).T)


def published(seed: int) -> Setting:
    """The public code's problem: n = 50, m = 30, penalty 1/n beside the mean."""
    return Setting.of(seed, 50, 30, 1 / 50, scaled=False)


def well_conditioned(seed: int) -> Setting:
    """A problem that is past its transient soon: n = 20, m = 10, penalty 0.5."""
    return Setting.of(seed, 20, 10, 0.5, scaled=True)


def errors(
    setting: Setting, schedules: Any, repetitions: int, steps: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Errors of g1, g2, g3 and J at given steps, of every schedule and repetition.

    `schedules` is a step size, or a schedule, with a leading axis. The path sees one row
    a step; gradients are those of all rows, and J is differentiated on the path's rows.
    Arrays have the axes (schedules, repetitions, steps).
    """
    num = len(jax.tree.leaves(schedules)[0])

    def run(schedule, key):
        path = trajectory(
            setting.loss.problem,
            SGD(schedule, 1, 1),
            setting.x,
            setting.loss.y0,
            at=steps,
            linear=Direct(),
            key=key,
        )
        off = lambda g: jnp.linalg.norm(g - setting.gradient, axis=-1)
        return {
            "g1": off(path.analytic),
            "g2": off(path.automatic),
            "g3": off(path.implicit),
            "J": jnp.linalg.norm(path.jacobian - setting.jacobian, axis=(1, 2)),
        }

    keys = jax.random.split(jax.random.key(seed), num * repetitions)
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, repetitions, axis=0), schedules)
    together = jax.jit(jax.vmap(run))
    taken = lambda part: jax.tree.map(lambda leaf: leaf[part], (repeated, keys))
    parts = []
    for start in range(0, num * repetitions, _TOGETHER):
        _log.info("%d of %d runs are done", start, num * repetitions)
        parts.append(jax.device_get(together(*taken(slice(start, start + _TOGETHER)))))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: e.reshape(num, repetitions, len(steps)) for name, e in joined.items()}


def band_picture(title: str, label: str, at: np.ndarray, found: dict[str, np.ndarray]):
    """Means over repetitions, with the band between the first and the last decile."""
    colors, names = COLORS | {"J": COLORS["y"]}, NAMES | {"J": "Jacobian, |J - J*|"}
    figure = Figure((5.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, runs in found.items():
        axes.plot(
            at, runs.mean(axis=0), STYLES.get(name, ":"), color=colors[name], label=names[name]
        )
        low, high = np.quantile(runs, [0.1, 0.9], axis=0)
        axes.fill_between(at, low, high, color=colors[name], alpha=0.2, linewidth=0)
    axes.set(xlabel=label, ylabel="error (mean, deciles)", title=title)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure
