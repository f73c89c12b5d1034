r"""Which of the three gradients to take, and with how many iterations.

Here numbers are stated and checked; `rules` decides on them, and `observed` finds those of a
problem at hand.
"""

import difflib
import math
from typing import Any

import numpy as np
from jaxtyping import PyTree

from .._core.types import Key
from ..problems._base import Problem
from ..solvers._base import IterativeSolver
from ..theory.superefficiency import negligible_error
from .observed import check_live, observe
from .recommendation import Recommendation
from .rules import Case, decide, of_noise

_Number = float | int
_Count = int | np.integer


def recommend(
    problem: Problem | None = None,
    inner: IterativeSolver | None = None,
    x: PyTree = None,
    y0: PyTree = None,
    *,
    key: Key | None = None,
    inner_size: _Count | None = None,
    outer_size: _Count | None = None,
    steps: _Count | None = None,
    convergence: str | None = None,
    power: _Number | None = None,
    memory: _Number | None = None,
    cost_ratio: _Number | None = None,
    implicit_ratio: _Number | None = None,
    target: _Number | None = None,
    batch_rows: _Count | None = None,
    invertible: bool | None = None,
    bilevel: bool | None = None,
    step_size: _Number | None = None,
    analytic_scale: _Number = 1.0,
    automatic_scale: _Number = 1.0,
    analytic_error: _Number | None = None,
    outer_noise: _Number | None = None,
    outer_step_size: _Number | None = None,
    outer_strong_convexity: _Number | None = None,
    outer_smoothness: _Number | None = None,
) -> Recommendation:
    r"""Says which gradient of $x \mapsto f(x, y^*(x))$ to take, and how many iterations.

    From stated numbers, or measured on a problem: what is stated overrides what is
    measured. With m numbers in y and n in x, t iterations that read b rows each, a
    memory of M floats and $g^2$ costing c times $g^1$, the first row that applies decides:

    | rule | if | then |
    |---|---|---|
    | R0 | $\lvert g^1 - g^* \rvert$ is below the noise of the outer loop | $g^1$ |
    | R1 | bilevel: $g^1$ is biased | $g^3$ as in R2 without the 10, else $g^2$ as in R4 |
    | R2 | $mbt \ge 10 (m^3 + m^2 n)$, $m(m+n) \le M$, H invertible | $g^3$ |
    | R3 | linear convergence | $g^1$ with ct iterations if $c \ge 2$ or $mt > M$, else $g^2$ |
    | R4 | slower convergence | $g^2$ where it is worthwhile, else $g^1$ in its time |

    Where the time r of $g^3$ beside $g^1$ is known, it takes the place of the operations: R1
    and R2 then ask that it be less than that of $g^2$, with linear convergence also less than
    2, as $g^3$ is worth twice the iterations. With slower convergence R2 asks that $g^3$ be
    worthwhile too, at the cost r, or 1 and the share of the solve.

    At a cost q, $g^2$ or $g^3$ is worthwhile for a target below $A_1 \sqrt\rho$ with a
    constant stochastic step $\rho$, for one below $A_1^2 / (A_2 q^\alpha)$ with steps
    $\rho_0 t^{-\alpha}$, and for $t > q (A_2 / A_1)^{1/a}$ where
    $|g^1 - g^*| \approx A_1 t^{-a}$ and $|g^2 - g^*| \approx A_2 t^{-2a}$; otherwise $g^1$
    takes qt iterations. $g^2$ is taken in reverse mode if $mt \le M$, with checkpoints if
    $2 m \sqrt t \le M$, in forward mode if $2mn \le M$ and $n < 10$, through the last
    $\lfloor M / m \rfloor$ steps if $m \le M$; q is c, but c + 1 with checkpoints and n + 1
    in forward mode. The rule is asymptotic, and its operation counts are those of a dense
    linear model.

    **Arguments:**

    - `problem`, `inner`, `x`, `y0`, `key`: where to measure, as in `bx.hypergradient`; the
      solver must be iterative and without a tolerance. One run shows the convergence,
      and compiled gradients of at most 1000 steps are timed: results depend on the machine.
    - `inner_size`, `outer_size`: m and n, in numbers.
    - `steps`: t, the iterations of $g^2$ that can be afforded.
    - `convergence`: `"linear"`, `"stochastic"` (random rows, constant step), `"decreasing"`
      (random rows, decreasing steps) or `"sublinear"`.
    - `power`: $\alpha$ in (0, 1] of decreasing steps, $a > 0$ of a sublinear decay of the
      error of $g^1$ (measured: of the residual).
    - `memory`: M, in floats; without, there is no limit.
    - `cost_ratio`: c, at least 1; 3 if neither stated nor measured.
    - `implicit_ratio`: the time of $g^3$ over that of $g^1$, at least 1; measured where a
      dense solve has no more operations than the run.
    - `target`: the error to reach, in the units of the gradient, where R4 compares with it;
      without, the smallest error that the time allows.
    - `batch_rows`: b, in rows; n without data.
    - `invertible`: whether H is invertible, or its kernel declared as a gauge; true if
      neither stated nor measured.
    - `bilevel`: whether the outer objective is not the inner one.
    - `step_size`: $\rho$, for a target with a constant stochastic step.
    - `analytic_scale`, `automatic_scale`: $A_1$, $A_2$, in the units of the gradient.
    - `analytic_error`, `outer_noise`, `outer_step_size`, `outer_strong_convexity`,
      `outer_smoothness`: for R0, all or none: the error of $g^1$ after t iterations, and
      the rest as in `bx.theory.superefficiency.outer_distance`.

    **Returns:** a `Recommendation`; its method `estimator(inner)` makes the estimator.

    >>> import bilevax as bx
    >>> advice = bx.recommend(
    ...     inner_size=100, outer_size=50, steps=700, convergence="linear", cost_ratio=3)
    >>> advice.gradient, advice.steps, advice.rule
    ('analytic', 2100, 'R3')
    >>> advice.estimator(bx.GradientDescent(0.1)).inner.num_steps
    2100

    **Reference:** P. Ablin, G. Peyré and T. Moreau, Super-efficiency of automatic
    differentiation for functions defined as a minimum, ICML 2020, section 4.2.
    """
    stated: dict[str, Any] = {
        "inner_size": inner_size,
        "outer_size": outer_size,
        "steps": steps,
        "convergence": convergence,
        "power": power,
        "memory": memory,
        "cost_ratio": cost_ratio,
        "implicit_ratio": implicit_ratio,
        "batch_rows": batch_rows,
        "invertible": invertible,
        "bilevel": bilevel,
        "step_size": step_size,
    }
    scales = {"analytic_scale": analytic_scale, "automatic_scale": automatic_scale}
    _check_stated(stated | scales | {"target": target})
    outer = {
        "outer_noise": outer_noise,
        "outer_step_size": outer_step_size,
        "outer_strong_convexity": outer_strong_convexity,
        "outer_smoothness": outer_smoothness,
    }
    negligible = _negligible(analytic_error, outer)
    live = {"problem": problem, "inner": inner, "x": x, "y0": y0}
    if any(value is not None for value in live.values()):
        check_live(live)
        stated = observe(problem, inner, x, y0, key, stated)
    case = _case(stated, scales, target)
    if analytic_error is not None and analytic_error <= negligible:
        return of_noise(case, analytic_error, negligible)
    return decide(case)


def _case(stated: dict[str, Any], scales: dict[str, Any], target) -> Case:
    """The numbers with their defaults; raises where one is missing."""
    needed = ["inner_size", "outer_size", "steps", "convergence"]
    kind = stated["convergence"]
    if kind in ("decreasing", "sublinear"):
        needed.append("power")
    if kind == "stochastic" and target is not None:
        needed.append("step_size")
    missing = [name for name in needed if stated[name] is None]
    if missing:
        raise ValueError(
            f"Not known: {', '.join(missing)}. State them, or pass problem, inner, x and y0 "
            "to have them measured where they can be."
        )
    if kind == "decreasing" and stated["power"] > 1:
        raise ValueError(
            f"power must be at most 1 for decreasing steps, got {stated['power']}: with a "
            "larger one steps t^-power stop before the solution."
        )
    default = lambda name, value: value if stated[name] is None else stated[name]
    return Case(
        m=int(stated["inner_size"]),
        n=int(stated["outer_size"]),
        t=int(stated["steps"]),
        b=int(default("batch_rows", stated["outer_size"])),
        memory=default("memory", math.inf),
        c=default("cost_ratio", 3),
        kind=kind,
        power=stated["power"],
        step_size=stated["step_size"],
        target=target,
        invertible=default("invertible", True),
        bilevel=default("bilevel", False),
        analytic=scales["analytic_scale"],
        automatic=scales["automatic_scale"],
        implicit_ratio=stated["implicit_ratio"],
    )


def _negligible(analytic_error, outer: dict[str, Any]) -> float:
    """The error that the noise of the outer loop hides; none where R0 was not asked for."""
    given = outer | {"analytic_error": analytic_error}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return 0.0
    if missing:
        names = ", ".join(missing)
        raise ValueError(f"To compare with the noise of the outer loop, state {names} too.")
    if not 0 <= analytic_error < math.inf:
        raise ValueError(f"analytic_error must be finite and at least 0, got {analytic_error}.")
    return float(negligible_error(**outer, printed=True))


def _check_stated(stated: dict[str, Any]) -> None:
    kind = stated["convergence"]
    if kind is not None and kind not in _KINDS:
        near = difflib.get_close_matches(str(kind).lower(), _KINDS, 1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"convergence must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}.{hint}"
        )
    for name in ("cost_ratio", "implicit_ratio"):
        ratio = stated[name]
        if ratio is not None and ratio < 1:
            raise ValueError(f"{name} must be at least 1, got {ratio}: the run is part of it.")
    for name, value in stated.items():
        if value is None or isinstance(value, str | bool):
            continue
        if name in _COUNTS and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}: it is a count.")
        if not value > 0 or (math.isinf(value) and name != "memory"):
            raise ValueError(f"{name} must be positive and finite, got {value}.")


_KINDS = ("linear", "stochastic", "decreasing", "sublinear")
_COUNTS = ("inner_size", "outer_size", "steps", "batch_rows")
