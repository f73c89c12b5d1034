"""What the figures of gradient errors share: the errors along a run, and their picture."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ..._study.trajectory import trajectory
from ...solvers import Direct
from ...solvers._base import AbstractSolver

# Okabe and Ito's palette, one colour an estimator throughout.
COLORS = {"g1": "#0072B2", "g2": "#D55E00", "g3": "#009E73", "y": "#777777"}
NAMES = {
    "g1": "analytic, g1",
    "g2": "automatic, g2",
    "g3": "implicit, g3",
    "y": "iterate, |y - y*|",
}
_SEEDS = 5
STYLES = {"g1": "-", "g2": "--", "g3": "-.", "y": ":"}


def gradient_errors(
    problem: Any,
    inner: Any,
    x: Any,
    y0: Any,
    steps: np.ndarray,
    gradient: Any,
    solution: Any = None,
    linear: AbstractSolver | None = None,
    project: Any = lambda g: g,
) -> dict[str, np.ndarray]:
    """The norms of the errors of the three gradients at given steps, all of one run.

    `project` is applied to gradients before they are compared.
    """
    path = trajectory(problem, inner, x, y0, at=steps, linear=linear or Direct())
    off = lambda g: np.linalg.norm(
        project(np.asarray(g)) - project(np.asarray(gradient)), axis=1
    )
    found = {"t": np.asarray(steps), "g1": off(path.analytic), "g2": off(path.automatic)}
    found["g3"] = off(path.implicit)
    if solution is not None:
        found["y"] = np.linalg.norm(np.asarray(path.y) - np.asarray(solution), axis=1)
    return found


def medians(
    measure: Callable[[int], dict[str, float]], seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """What is measured at a seed, and its medians over that and the next four seeds.

    A mixture of modes spoils the slope of one seed in ten, and a fault that of all. NaN at
    any of the seeds makes a median NaN.
    """
    found = [measure(s) for s in range(seed, seed + _SEEDS)]
    return found[0], {name: float(np.median([f[name] for f in found])) for name in found[0]}


def picture(curves: dict[str, np.ndarray], title: str, log_steps: bool = False) -> Figure:
    """Errors against steps, on a logarithmic axis."""
    figure = Figure((5.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for name in ("y", "g1", "g2", "g3"):
        if name in curves:
            values = np.where(curves[name] > 0, curves[name], np.nan)
            axes.plot(curves["t"], values, STYLES[name], color=COLORS[name], label=NAMES[name])
    axes.set(xlabel="inner iterations t", ylabel="error, Euclidean norm", title=title)
    axes.set_yscale("log")
    if log_steps:
        axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure


def safe_step(loss: Any, x: Any) -> float:
    """1 / smoothness at x."""
    return 1 / float(loss.constants(x).smoothness)


def legacy_normal(seed: int, *shapes: tuple[int, ...]) -> list[Any]:
    """Standard normal arrays in the order and from the generator of the public code."""
    random = np.random.RandomState(seed)
    return [jnp.asarray(random.randn(*shape)) for shape in shapes]
