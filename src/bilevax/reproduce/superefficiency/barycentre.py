"""Fig. 4a, b: the loss that a Wasserstein barycentre reaches, and the time it takes.

Mirror descent from the uniform histogram, with t iterations of Sinkhorn from zero (kernel
domain) for g1 and g2. The error is that of the last x, by the transport costs themselves:
l(x) - l(x*) is integrated from the exact gradient between the two, which loses no digits
where they nearly agree. The time is that until the cost stays within 1e-6 of its last value,
relatively: outer steps (interpolated) times the seconds a step, the lowest decile of a run.

The optimum is that of iterative Bregman projections (Benamou et al. 2015), which share
nothing with what is compared; its gradient's spread is reported.

As in the public code's command line, n = 1000, N = 10, epsilon 0.1, step 0.1 and 2000 steps;
quick: n = 50, N = 5, epsilon 0.05, step 0.5, 1500 steps. To the powers of 2 some t are
added for the slope, which is fitted from t = 6 on.

Times compare in the full form only. Sweeps of the quick one spend their time on exponentials,
which g2 does not take again: its ratio of times is near 1.5 and the two are about equal.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ..._run.minimize import minimize
from ...algorithms._base import Algorithm
from ...algorithms._mirror import mirror_descent
from ...hypergradients import Analytic, Unrolled
from ...problems import EntropicTransport, wasserstein_barycentre
from ...problems._transport import centred
from ...solvers import Sinkhorn
from .._fit import log_steps, slope
from .._outcome import Check, Outcome, at_most, reported, within
from ._curves import COLORS, NAMES, STYLES

_log = logging.getLogger(__name__)
_ESTIMATORS = {"g1": Analytic, "g2": Unrolled}
_INNER = (1, 2, 4, 6, 8, 12, 16, 20, 32, 64)
# Smaller errors are rounding: of differences of losses, and where they are integrated.
_ROUNDING, _INTEGRATED = 1e-13, 1e-25
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)
_LATE = 6  # the first t of the slope's window
_REACHED = 1e-6
_EVERY = 5  # outer steps between two records
_RECORDS = 40  # of them, whose losses are computed
_LOSS_STEPS = 200
_LEVELS = 8


class _Recipe(NamedTuple):
    size: int
    histograms: int
    regularization: float
    step_size: float
    steps: int


_QUICK = _Recipe(50, 5, 0.05, 0.5, 1500)
_FULL = _Recipe(1000, 10, 0.1, 0.1, 2000)


def make(quick: bool = False, seed: int = 0) -> Outcome:
    """Final errors and times of both estimators, for each number of inner iterations."""
    recipe = _QUICK if quick else _FULL
    transport = _transport(recipe, seed)
    loss = _loss(transport)
    best = _barycentre(transport)
    lowest = float(loss(best[None])[0])
    columns: dict[str, Any] = {"t": np.asarray(_INNER)}
    for name, estimator in _ESTIMATORS.items():
        runs = []
        for t in _INNER:
            _log.info("%s with t = %d of up to %d", name, t, _INNER[-1])
            inexact = estimator(Sinkhorn(t), warm_start_inner=False)
            runs.append(_run(transport, inexact, recipe, loss))
        finals, seconds, per_step = zip(*runs, strict=True)
        columns[f"{name}_error"] = np.array([_excess(transport, best, x) for x in finals])
        columns[f"{name}_seconds"] = np.array(seconds)
        columns[f"{name}_seconds_per_step"] = np.array(per_step)
    checks = [
        *_checks(columns, abs(lowest)),
        _sooner(columns, quick),
        reported("spread of G at the optimum", jnp.ptp(_gradient(transport, best))),
    ]
    return Outcome(columns, _picture(columns), checks)


def _transport(recipe: _Recipe, seed: int) -> EntropicTransport:
    """Random histograms on a grid of [0, 1], squared distances."""
    random = np.random.RandomState(seed)
    histograms = random.rand(recipe.histograms, recipe.size)
    histograms /= histograms.sum(axis=1, keepdims=True)
    grid = np.linspace(0, 1, recipe.size)
    cost = (grid[:, None] - grid) ** 2
    return EntropicTransport(cost, histograms, recipe.regularization, domain="kernel")


def _potentials(transport: EntropicTransport, x: Any) -> Any:
    """Those of an x by Sinkhorn."""
    dual = transport.dual()
    sweep = lambda _, y: dual.sweep(x, y)
    return jax.lax.fori_loop(0, _LOSS_STEPS, sweep, transport.y0())


def _loss(transport: EntropicTransport) -> Callable[[Any], np.ndarray]:
    """The sums of the transport costs of several x, by Sinkhorn from zero."""

    @eqx.filter_jit
    def losses(transport, xs):
        def one(x):
            y = _potentials(transport, x)
            return transport.distance(transport.objective(x, y))

        return jax.vmap(one)(xs)

    return lambda xs: np.asarray(losses(transport, xs))


@eqx.filter_jit
def _barycentre(transport: EntropicTransport, steps: int = 1000) -> Any:
    """Iterative Bregman projections: x is the geometric mean of the plans' marginals."""
    b, kernel = transport.histogram, jnp.exp(-transport.cost / transport.regularization)

    def marginals(u):
        other = (b / (u @ kernel)) @ kernel.T
        return jnp.exp(jnp.mean(jnp.log(other), axis=0)), other

    def project(_, u):
        x, other = marginals(u)
        return x / other

    x, _ = marginals(jax.lax.fori_loop(0, steps, project, jnp.ones_like(b)))
    return x / jnp.sum(x)


@eqx.filter_jit
def _gradient(transport: EntropicTransport, x: Any) -> Any:
    """The exact gradient of the loss, without the constant that means nothing there."""
    return centred(-jnp.sum(_potentials(transport, x)[0], axis=0))


def _excess(transport: EntropicTransport, best: Any, x: Any) -> float:
    """The loss at x less that at the optimum."""
    at = lambda node: jnp.vdot(
        _gradient(transport, best + (1 + node) / 2 * (x - best)), x - best
    )
    return float(sum(w / 2 * at(node) for node, w in zip(_NODES, _WEIGHTS, strict=True)))


def _run(
    transport: EntropicTransport, estimator: Any, recipe: _Recipe, loss: Any
) -> tuple[Any, float, float]:
    """The last x, the seconds until its loss is nearly reached, and the seconds a step."""
    x0 = jnp.full(recipe.size, 1 / recipe.size)
    solution = minimize(
        wasserstein_barycentre(transport),
        Algorithm(estimator, *mirror_descent(recipe.step_size)),
        x0,
        transport.y0(),
        num_steps=recipe.steps,
        record_every=_EVERY,
        metrics=lambda x, _: {"x": x},
    )
    history = solution.history
    looked_at = log_steps(_RECORDS, len(history["step"])) - 1
    steps = np.concatenate([[0], history["step"][looked_at]])
    losses = loss(jnp.concatenate([x0[None], history["x"][looked_at]]))
    # Other work, and the compilation of chunks, slow down some of the steps.
    per_step = np.quantile(np.diff(history["seconds"]) / np.diff(history["step"]), 0.1)
    return solution.x, _steps_to_reach(losses, steps) * per_step, per_step


def _steps_to_reach(losses: np.ndarray, steps: np.ndarray) -> float:
    """The step from which on the loss stays close to its last value."""
    target = _REACHED * abs(losses[-1])
    off = np.maximum(np.abs(losses - losses[-1]), _ROUNDING)
    last = np.flatnonzero(off > target)[-1]
    logs = np.log(off[[last + 1, last]])
    return float(np.interp(np.log(target), logs, steps[[last + 1, last]]))


def _checks(columns: dict[str, np.ndarray], scale: float) -> list[Check]:
    """What the paper claims of the errors."""
    t = columns["t"]
    one, two = columns["g1_error"], columns["g2_error"]
    rises = max(np.diff(error[t >= 4]).max() for error in (one, two))
    late = (t >= _LATE) & (one > _INTEGRATED) & (two > _INTEGRATED)
    cost = columns["g2_seconds_per_step"] / columns["g1_seconds_per_step"]
    return [
        at_most(
            "largest rise of the loss with t, from t = 4, relative", rises / scale, _INTEGRATED
        ),
        within("slope of g2's errors against g1's", slope(two, one, late), 1.6, 2.2),
        at_most("difference at t = 1, relative", abs(one[0] - two[0]) / scale, 1e-12),
        reported("time of g2 / time of g1, median", np.median(cost)),
    ]


def _sooner(columns: dict[str, np.ndarray], quick: bool) -> Check:
    """Of error levels that both reach, those that g1 reaches sooner (interpolated)."""
    logs = {}
    for name in _ESTIMATORS:
        error, seconds = columns[f"{name}_error"], columns[f"{name}_seconds"]
        keep = error > _INTEGRATED
        order = np.argsort(error[keep])
        logs[name] = np.log(error[keep][order]), np.log(seconds[keep][order])
    lowest = max(error[0] for error, _ in logs.values())
    highest = min(error[-1] for error, _ in logs.values())
    levels = np.linspace(lowest, highest, _LEVELS)
    count = np.sum(np.interp(levels, *logs["g1"]) < np.interp(levels, *logs["g2"]))
    title = f"error levels of {_LEVELS} at which g1 is faster"
    return reported(title, count) if quick else within(title, count, 3, _LEVELS)


def _picture(columns: dict[str, np.ndarray]) -> Figure:
    """Final errors against t and against time, beside their values at t = 1 of g1."""
    figure = Figure((9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name in _ESTIMATORS:
        error, seconds = columns[f"{name}_error"], columns[f"{name}_seconds"]
        shown = np.where(error > _INTEGRATED, error / columns["g1_error"][0], np.nan)
        look: Any = {"color": COLORS[name], "label": NAMES[name], "ls": STYLES[name]}
        left.plot(columns["t"], shown, marker="o", ms=3, **look)
        right.plot(seconds / columns["g1_seconds"][0], shown, marker="o", ms=3, **look)
    left.set(xlabel="inner iterations t", ylabel="final error / that at t = 1")
    left.set(title="Wasserstein barycentre", yscale="log")
    right.set(xlabel="time to the final loss / that of g1 at t = 1", xscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    return figure
