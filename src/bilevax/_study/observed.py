"""The numbers that `recommend` needs, measured on a problem."""

import math
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree

from .._core.result import Result
from .._rows.batch import full
from .._rows.samplers import common_block_size
from .._run.arguments import checked
from .._run.hypergradient import hypergradient
from .._run.steps import with_measured_steps
from ..hypergradients import Analytic, Implicit, Unrolled
from ..problems._base import AbstractProblem, MinProblem
from ..schedules import evaluate
from ..solvers import AbstractIterativeSolver, Direct
from ..solvers._directions import SteepestDescent
from ..solvers._equation import InnerEquation

_RECORDS = 12
_TIMED_STEPS, _REPEATS = 1000, 5
_CONSTANT = 0.05  # the power of t below which a step counts as constant
_DECREASED = 0.9  # of the first residual, from where on a run is taken to converge

NOT_ITERATIVE = (
    "inner must be an iterative solver, such as bx.GradientDescent(step_size, num_steps), "
    "got {!r}."
)
HAS_TOLERANCE = (
    "The automatic gradient differentiates a fixed number of steps, and this solver stops "
    "at a tolerance: leave out its tol."
)

_NO_DECREASE = "The inner residual does not decrease: shorten the step, or state convergence=."


def check_live(live: dict[str, Any]) -> None:
    """Raise unless a run and its unrolled derivative can be measured."""
    missing = [name for name, value in live.items() if value is None]
    if missing:
        raise ValueError(
            f"To measure, pass {', '.join(missing)} too: recommend(problem, inner, x, y0)."
        )
    inner = live["inner"]
    if not isinstance(inner, AbstractIterativeSolver):
        raise TypeError(NOT_ITERATIVE.format(inner))
    if inner.stops_early:
        raise ValueError(HAS_TOLERANCE)


def observe(problem: Any, inner: Any, x, y0, key, stated: dict[str, Any]) -> dict[str, Any]:
    """What was stated, and in the place of each `None` what a measurement tells."""
    x, y, _, key = checked(problem, Analytic(inner), {"x": x, "y0": y0}, None, key)
    inner = with_measured_steps(inner, problem, x, y)
    if stated["steps"] is None and callable(inner.num_steps):
        raise ValueError(
            "The inner number of steps is a function of the outer step: state steps=, how "
            "many of them to look at."
        )
    known = _sizes(problem, inner, x, y) | _given(stated)
    inner = eqx.tree_at(lambda s: s.num_steps, inner, known["steps"])
    steps = np.unique(np.geomspace(1, known["steps"], _RECORDS).round().astype(int))
    norms, end = _run(problem, inner, x, y, key, jnp.asarray(steps))
    known = _convergence(problem, inner, steps, np.asarray(norms), known) | known
    limit = float(known.get("memory", math.inf))
    if "invertible" not in known:
        known["invertible"] = _is_invertible(problem, inner, x, end, key, known, limit)
    return dict.fromkeys(stated) | _ratios(problem, inner, x, y, key, known, limit) | known


def _given(stated: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stated.items() if value is not None}


def _sizes(problem: AbstractProblem, inner: AbstractIterativeSolver, x, y) -> dict[str, Any]:
    m, n = optax.tree.size(y), optax.tree.size(x)
    data = problem.inner_data
    return {
        "inner_size": m,
        "outer_size": n,
        "steps": inner.num_steps,
        "batch_rows": n if data is None else inner.sampler.rows(data),
        "bilevel": not isinstance(problem, MinProblem),
    }


@eqx.filter_jit
def _run(problem, inner, x, y, key, steps):
    """The norms of the residual on all rows after so many steps, and the last y."""
    run = inner.prepare(
        InnerEquation(problem, x), y, inner.init(InnerEquation(problem, x), y), key, 0
    )
    batch = full(problem.inner_data, common_block_size(inner))

    def segment(carry, length):
        carry = run.advance(inner, carry, length)
        return carry, optax.tree.norm(problem.residual(x, carry[0], batch))

    carry, norms = jax.lax.scan(segment, run.carry, jnp.diff(steps, prepend=0))
    return norms, carry[0]


def _convergence(problem, inner, steps, norms, known: dict[str, Any]) -> dict[str, Any]:
    """The kind of convergence with its power or step size; nothing for what is stated."""
    if not np.all(np.isfinite(norms)):
        raise ValueError("The inner run ended in NaN or infinite numbers: shorten its step.")
    kind = known.get("convergence")
    if kind in ("linear", "sublinear") or (kind is None and not inner.random):
        if kind == "linear" or (kind == "sublinear" and "power" in known):
            return {}
        return _fit(steps, norms, kind)
    return _of_steps(inner, known["steps"])


def _of_steps(inner: AbstractIterativeSolver, num: int) -> dict[str, Any]:
    """Of a random solver: what its rule of steps tells."""
    rule = getattr(inner, "transformation", getattr(inner, "direction", None))
    if not isinstance(rule, SteepestDescent):
        return {"convergence": "stochastic"}
    early, late = max(num // 8, 1), max(num - 1, 2)
    first, last = (float(evaluate(rule.step_size, i, 0)) for i in (early, late))
    if not min(first, last) > 0:
        raise ValueError(
            "The step of the inner solver falls to zero within the run: state convergence=, "
            "and power= or step_size=."
        )
    power = -math.log(last / first) / math.log((1 + late) / (1 + early))
    if power < _CONSTANT:
        return {"convergence": "stochastic", "step_size": last}
    return {"convergence": "decreasing", "power": min(power, 1.0)}


def _fit(steps, norms, kind: str | None) -> dict[str, Any]:
    """Whether the later half of a run is straighter against t or against log t."""
    if norms[-1] > _DECREASED * norms[0]:
        raise ValueError(_NO_DECREASE)
    above = norms > 100 * np.finfo(norms.dtype).eps * np.max(norms)
    t, logs = steps[above], np.log(norms[above])
    t, logs = t[len(t) // 2 :], logs[len(logs) // 2 :]
    if len(t) < 3:
        if not np.all(above) and kind is None:
            return {"convergence": "linear"}  # rounding was reached within a few steps
        raise ValueError(
            "The inner run is too short to tell how it converges: state convergence= and "
            "its power, or look at more steps."
        )
    if logs[-1] >= logs[0]:
        raise ValueError(_NO_DECREASE)
    fits = [np.polyfit(scale, logs, 1, full=True) for scale in (t, np.log(t))]
    (_, linear, *_), (line, powers, *_) = fits
    if kind is None and np.sum(linear) <= np.sum(powers):
        return {"convergence": "linear"}
    return {"convergence": "sublinear", "power": float(-line[0])}


def _ratios(problem, inner, x, y, key, known: dict[str, Any], limit: float) -> dict[str, Any]:
    """The times of the automatic and the implicit gradient over that of the analytic one."""
    steps = known["steps"]
    timed = int(min(steps, _TIMED_STEPS, max(limit // known["inner_size"], 1)))
    inner = eqx.tree_at(lambda s: s.num_steps, inner, timed)
    wanted: dict[str, Any] = {}
    if "cost_ratio" not in known:
        wanted["cost_ratio"] = Unrolled(inner)
    if "implicit_ratio" not in known and known["invertible"] and _is_cheap(known, limit):
        wanted["implicit_ratio"] = Implicit(inner, Direct())
    if not wanted:
        return {}
    seconds = _seconds({"": Analytic(inner)} | wanted, problem, x, y, key)
    # The solve takes as long however long the run is.
    scale = {"cost_ratio": 1.0, "implicit_ratio": timed / steps}
    beyond = lambda name: max(seconds[name] / seconds[""] - 1, 0.0)
    return {name: 1 + scale[name] * beyond(name) for name in wanted}


def _seconds(estimators: dict[str, Any], problem, x, y, key) -> dict[str, float]:
    """The least time of each gradient, compiled."""
    gradient = eqx.filter_jit(
        lambda problem, e, x, y, key: hypergradient(problem, e, x, y, key=key).gradient
    )
    inputs = {name: (problem, e, x, y, key) for name, e in estimators.items()}
    for of_one in inputs.values():
        jax.block_until_ready(gradient(*of_one))
    seconds = dict.fromkeys(estimators, math.inf)
    for _ in range(_REPEATS):
        # In turn, so that all see the same machine.
        for name, of_one in inputs.items():
            start = time.perf_counter()
            jax.block_until_ready(gradient(*of_one))
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def _is_cheap(known: dict[str, Any], limit: float) -> bool:
    """Whether a dense solve has room, and fewer operations than the run."""
    m, n = known["inner_size"], known["outer_size"]
    run = m * known["batch_rows"] * known["steps"]
    return m * (m + n) <= limit and m**3 + m**2 * n <= run


def _is_invertible(problem, inner, x, end, key, known: dict[str, Any], limit: float) -> bool:
    """Whether the dense solve succeeds at the end of the run; tried where it is cheap."""
    if not _is_cheap(known, limit):
        return True
    step = eqx.tree_at(lambda s: s.num_steps, inner, 1)
    h = hypergradient(problem, Implicit(step, Direct()), x, end, key=key)
    return bool(h.result == Result.successful)
