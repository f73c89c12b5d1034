"""Fig. A.3: the time of the three gradients of entropic transport costs.

Sinkhorn in the kernel domain, epsilon 1; 100 pairs of histograms of 1000 and 500 points,
each a problem of its own under vmap; the gradient in the one of 500, whose potential is
updated last. Five fresh problems, the least of five runs each, without compilation, the
linear algebra on one thread; curves are medians, bands go from the 10th to the 90th
percentile. Quick: 20 pairs of 200 and 100 points.

g3 factorises a matrix of 1500 x 1500 a pair. In the full form it is timed on 10 pairs, and
the time multiplied by 10: the pairs are factorised one by one.
"""

import logging
import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from threadpoolctl import threadpool_limits

from ..._run.hypergradient import hypergradient
from ...hypergradients import Analytic, Implicit, Unrolled
from ...problems import EntropicTransport
from ...solvers import Direct, Sinkhorn
from .._fit import slope
from .._outcome import Outcome, reported, within
from ._curves import COLORS, NAMES, STYLES

_log = logging.getLogger(__name__)
_PROBLEMS = 5
_RUNS = 5
_ESTIMATORS = {
    "g1": Analytic,
    "g2": Unrolled,
    "g3": lambda inner: Implicit(inner, Direct()),
}


class _Recipe(NamedTuple):
    size: int  # of x
    other_size: int
    pairs: int
    steps: tuple[int, ...]
    implicit_pairs: int  # of which g3 is timed


_QUICK = _Recipe(100, 200, 20, (4, 8, 16, 32, 64), 20)
_FULL = _Recipe(500, 1000, 100, (5, 8, 12, 18, 28, 43, 65, 100), 10)


def make(quick: bool = False, seed: int = 0) -> Outcome:
    """The times, their powers of t, and their ratio."""
    recipe, random = _QUICK if quick else _FULL, np.random.RandomState(seed)
    problems = [_problem(recipe, random) for _ in range(_PROBLEMS)]
    columns = {"t": np.asarray(recipe.steps)}
    with threadpool_limits(1, "blas"):
        for name in _ESTIMATORS:
            columns |= _times(name, problems, recipe)
    ratio = np.median(columns["g2"] / columns["g1"])
    beside = columns["g3"][-1] / columns["g1"][-1]
    power = lambda name: slope(columns[name], columns["t"])
    checks = [
        within("power of t of g1's time", power("g1"), 0.8, 1.25),
        within("power of t of g2's time", power("g2"), 0.8, 1.25),
        within("time of g2 / time of g1, median over t", ratio, 1.3, 6),
        within("power of t of g3's time", power("g3"), -0.3, 0.3),
        reported("time of g3 / time of g1 at the largest t", beside),
    ]
    return Outcome(columns, _picture(columns), checks)


def _problem(recipe: _Recipe, random: np.random.RandomState) -> tuple[Any, Any, Any]:
    """Squared distances of two normal clouds in the plane, and pairs of histograms."""
    first, second = random.randn(recipe.size, 1, 2), random.randn(recipe.other_size, 2)
    draw = lambda size: random.rand(recipe.pairs, size)
    xs, others = draw(recipe.size), draw(recipe.other_size)
    normalized = lambda h: jnp.asarray(h / h.sum(axis=1, keepdims=True))
    cost = jnp.asarray(((first - second) ** 2).sum(axis=-1))
    return cost, normalized(xs), normalized(others)


@eqx.filter_jit
def _gradients(estimator: Any, cost: Any, xs: Any, others: Any) -> Any:
    """One gradient a pair."""

    def one(x, other):
        transport = EntropicTransport(cost, other, 1.0, domain="kernel")
        return hypergradient(transport.problem, estimator, x, transport.y0()).gradient

    return jax.vmap(one)(xs, others)


def _times(name: str, problems: list[Any], recipe: _Recipe) -> dict[str, np.ndarray]:
    """Seconds of an estimator at each t: the median problem, and the band."""
    pairs = recipe.implicit_pairs if name == "g3" else recipe.pairs
    problems = [(cost, xs[:pairs], others[:pairs]) for cost, xs, others in problems]
    scale = recipe.pairs / pairs
    estimators = [_ESTIMATORS[name](Sinkhorn(t)) for t in recipe.steps]
    for estimator in estimators:
        jax.block_until_ready(_gradients(estimator, *problems[0]))
    seconds = []
    # All t in turn: where the machine has slow minutes, none of them has them alone.
    for number in range(_RUNS):
        _log.info("%s, run %d of %d", name, number + 1, _RUNS)
        seconds.append([[_seconds(one, problem) for problem in problems] for one in estimators])
    found = scale * np.min(seconds, axis=0)
    low, median, high = np.percentile(found, [10, 50, 90], axis=1)
    return {name: median, f"{name}_10": low, f"{name}_90": high}


def _seconds(estimator: Any, problem: Any) -> float:
    """Those of one run."""
    started = time.perf_counter()
    jax.block_until_ready(_gradients(estimator, *problem))
    return time.perf_counter() - started


def _picture(columns: dict[str, np.ndarray]) -> Figure:
    """Times against t, both logarithmic."""
    figure = Figure((5.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for name in _ESTIMATORS:
        steps, color = columns["t"], COLORS[name]
        axes.plot(steps, columns[name], STYLES[name], color=color, label=NAMES[name])
        band = columns[f"{name}_10"], columns[f"{name}_90"]
        axes.fill_between(steps, *band, color=color, alpha=0.2, lw=0)
    axes.set(xlabel="inner iterations t", ylabel="time of all gradients [s]")
    axes.set(title="Entropic transport", xscale="log", yscale="log")
    # Powers of ten and their multiples would stand one over the other.
    axes.set_xticks(columns["t"], [f"{steps:g}" for steps in columns["t"]])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure
