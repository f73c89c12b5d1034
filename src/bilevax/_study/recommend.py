r"""Which of the three gradients to take, and with how many iterations.

The rule works on numbers alone; `_recommend_measure` finds those of a problem at hand.
"""

import difflib
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import PyTree

from .._core.types import Key
from ..hypergradients import Analytic, Implicit, Unrolled
from ..hypergradients._base import Estimator
from ..problems._base import Problem
from ..solvers import AbstractIterativeSolver, Direct
from ..solvers._base import IterativeSolver, Solver
from ..theory.superefficiency import negligible_error
from .recommend_measure import HAS_TOLERANCE, NOT_ITERATIVE, check_live, measure

_Number = float | int
_Count = int | np.integer


class Recommendation(NamedTuple):
    r"""Which gradient, with how many iterations, and why.

    - `gradient`: `"analytic"` ($g^1$), `"automatic"` ($g^2$) or `"implicit"` ($g^3$).
    - `steps`: the iterations of the inner solver.
    - `rule`: the row of the table of `bx.recommend` that decided, `"R0"` to `"R4"`.
    - `reason`: a sentence with the numbers that decided.
    - `options`: what `bx.Unrolled` takes beside the solver; empty for the others.
    """

    gradient: Literal["analytic", "automatic", "implicit"]
    steps: int
    rule: Literal["R0", "R1", "R2", "R3", "R4"]
    reason: str
    options: dict[str, Any]

    def estimator(self, inner: IterativeSolver, linear: Solver | None = None) -> Estimator:
        """The recommended estimator, whose inner solver takes the recommended steps.

        **Arguments:** `inner`: the solver; its own number of steps is replaced, a function
        of the outer step too. `linear`: of `bx.Implicit`, by default `bx.Direct()`.
        """
        if not isinstance(inner, AbstractIterativeSolver):
            raise TypeError(NOT_ITERATIVE.format(inner))
        if self.gradient == "automatic" and inner.stops_early:
            raise ValueError(HAS_TOLERANCE)
        inner = eqx.tree_at(lambda s: s.num_steps, inner, self.steps)
        if self.gradient == "analytic":
            return Analytic(inner)
        if self.gradient == "automatic":
            return Unrolled(inner, **self.options)
        return Implicit(inner, Direct() if linear is None else linear)


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
        stated = measure(problem, inner, x, y0, key, stated)
    case = _case(stated, scales, target)
    if analytic_error is not None and analytic_error <= negligible:
        return _of_noise(case, analytic_error, negligible)
    return next(found for rule in _RULES if (found := rule(case)) is not None)


class _Case(NamedTuple):
    """All that rules R1 to R4 look at, in the letters of the table."""

    m: int
    n: int
    t: int
    b: int
    memory: float
    c: float
    kind: str
    power: Any
    step_size: float | None
    target: float | None
    invertible: bool
    bilevel: bool
    analytic: float  # A_1
    automatic: float  # A_2
    implicit_ratio: float | None

    @property
    def solve(self) -> int:
        """Operations of the dense solve of the implicit gradient."""
        return self.m**3 + self.m**2 * self.n

    @property
    def run(self) -> int:
        """Operations of the inner run."""
        return self.m * self.b * self.t

    @property
    def holds_matrix(self) -> bool:
        """Whether the implicit gradient has a matrix, and room for it."""
        return self.invertible and self.m * (self.m + self.n) <= self.memory

    @property
    def implicit_cost(self) -> _Number:
        """The time of the implicit gradient over that of the analytic one."""
        return 1 + self.solve / self.run if self.implicit_ratio is None else self.implicit_ratio

    @property
    def automatic_cost(self) -> _Number:
        """The time of the automatic gradient over that of the analytic one."""
        return self.c if self.storage is None else self.storage.cost

    def equal_steps(self, cost: _Number) -> int:
        """Iterations of the analytic gradient in the time of t that cost so much more."""
        # A ratio such as 2.3 must not lose an iteration to rounding.
        return math.floor(cost * self.t * (1 + 1e-12))

    @property
    def storage(self) -> "_Storage | None":
        """How the memory allows the automatic gradient, or `None`."""
        m, n, t, memory = self.m, self.n, self.t, self.memory
        if m * t <= memory:
            return _Storage({}, f"all {t} iterates, {m * t:.3g} floats, fit in memory", self.c)
        tight = f"{m * t:.3g} floats for all iterates exceed the memory of {memory:.3g}"
        if 2 * m * math.sqrt(t) <= memory:
            # The iterations are run once more.
            why = f"{tight}, where checkpoints fit"
            return _Storage({"checkpoint": "sqrt"}, why, self.c + 1)
        if 2 * m * n <= memory and n < _FEW:
            # One run more for each direction.
            why = f"{tight}, and forward mode takes only {n} directions"
            return _Storage({"mode": "forward"}, why, n + 1)
        if m <= memory:
            last = min(int(memory // m), t)
            return _Storage({"last": last}, f"{tight}, where the last {last} fit", self.c)
        return None


class _Storage(NamedTuple):
    """A way to take the automatic gradient, and its time over that of the analytic one."""

    options: dict[str, Any]
    why: str
    cost: _Number


_WORTH = 2  # iterations of the analytic gradient that one of the implicit is worth
_FEW = 10  # numbers of x, in each of which forward mode takes a run


def _of_noise(case: _Case, error, negligible) -> Recommendation:
    reason = (
        f"The error {error:.3g} of the analytic gradient is at most {negligible:.3g}, "
        "below which the noise of the outer loop dominates."
    )
    return Recommendation("analytic", case.t, "R0", reason, {})


def _of_bilevel(case: _Case) -> Recommendation | None:
    if not case.bilevel:
        return None
    biased = "The outer objective is not the inner one, so that the analytic gradient is biased"
    ratio = case.implicit_ratio
    solve = f"a dense solve of {case.solve:.3g} operations"
    run = f"the inner run of {case.run:.3g}" if ratio is None else "the automatic gradient"
    small = case.solve <= case.run if ratio is None else ratio < case.automatic_cost
    if case.holds_matrix and small:
        reason = f"{biased}, and {solve} costs no more than {run}."
        return Recommendation("implicit", case.t, "R1", reason, {})
    found = case.storage
    if found is None:
        raise ValueError(
            f"memory={case.memory:g} does not hold one y of {case.m} numbers, and the "
            "analytic gradient of a bilevel problem is biased: allow at least inner_size."
        )
    against = "H is singular, or its matrix does not fit in memory"
    if case.holds_matrix:
        against = f"{solve} costs more than {run}"
    reason = f"{biased}; {against}; {found.why}."
    return Recommendation("automatic", case.t, "R1", reason, found.options)


def _of_small(case: _Case) -> Recommendation | None:
    if not case.holds_matrix:
        return None
    ratio = case.implicit_ratio
    if ratio is None:
        small = 10 * case.solve <= case.run
        share = (
            f"of {case.solve:.3g} operations is at most a tenth of the run of {case.run:.3g}"
        )
    else:
        small = ratio < case.automatic_cost and (case.kind != "linear" or ratio < _WORTH)
        share = f"takes {ratio - 1:.2g} of the time of the inner run"
    if not small or (case.kind != "linear" and not _compare(case, case.implicit_cost)[0]):
        return None
    reason = f"With {case.m} numbers in y a dense solve {share}, and doubles the digits."
    return Recommendation("implicit", case.t, "R2", reason, {})


def _of_linear(case: _Case) -> Recommendation | None:
    if case.kind != "linear":
        return None
    tape = case.m * case.t
    time = f"takes the time of {case.c:.3g} x {case.t}"
    room = f"stores {tape:.3g} floats where {case.memory:.3g} are allowed"
    reason = (
        f"Convergence is linear, and the automatic gradient, worth {2 * case.t} iterations "
        f"of the analytic one, {room if case.c < 2 and tape > case.memory else time}."
    )
    if case.c < 2 and tape <= case.memory:
        return Recommendation("automatic", case.t, "R3", reason, {})
    return Recommendation("analytic", case.equal_steps(case.c), "R3", reason, {})


def _of_slow(case: _Case) -> Recommendation:
    worthwhile, comparison = _compare(case, case.automatic_cost)
    found = case.storage
    if worthwhile and found is not None:
        reason = f"The automatic gradient is worthwhile, since {comparison}; {found.why}."
        return Recommendation("automatic", case.t, "R4", reason, found.options)
    reason = f"The analytic gradient is enough, since {comparison}."
    if worthwhile:
        reason = (
            f"The analytic gradient is all that fits, since the memory of {case.memory:.3g} "
            f"floats does not hold one y of {case.m}."
        )
    steps = case.equal_steps(case.automatic_cost)
    return Recommendation("analytic", steps, "R4", reason, {})


_RULES: tuple[Callable[[_Case], Recommendation | None], ...]
_RULES = (_of_bilevel, _of_small, _of_linear, _of_slow)


def _compare(case: _Case, cost: _Number) -> tuple[bool, str]:
    """Whether a gradient with the automatic one's rate is worthwhile at a cost, and why."""
    if case.kind == "stochastic":
        return _constant_noise(case)
    if case.kind == "decreasing" and case.target is not None:
        return _decreasing_noise(case, case.target, cost)
    power = case.power / 2 if case.kind == "decreasing" else case.power
    return _at_equal_time(case, power, cost)


def _constant_noise(case: _Case) -> tuple[bool, str]:
    """Whether the analytic gradient does not reach the target."""
    if case.target is None or case.step_size is None:
        return True, "with a constant stochastic step its noise floor is the lower one"
    floor = case.analytic * math.sqrt(case.step_size)
    below = case.target < floor
    return below, (
        f"the target {case.target:.3g} is {'below' if below else 'not below'} the noise "
        f"floor {floor:.3g} of the analytic one at the constant step {case.step_size:.3g}"
    )


def _decreasing_noise(case: _Case, target: _Number, cost: _Number) -> tuple[bool, str]:
    """The times to reach the target, compared."""
    threshold = case.analytic / case.automatic * (case.analytic / cost**case.power)
    below = target < threshold
    return below, (
        f"the target {target:.3g} is {'below' if below else 'not below'} the "
        f"{threshold:.3g} that both reach in the same time (cost ratio {cost:.3g}, steps "
        f"like t^-{case.power:.3g})"
    )


def _at_equal_time(case: _Case, power: _Number, cost: _Number) -> tuple[bool, str]:
    """The errors in the same time, after t iterations of one, compared."""
    exponent = math.log(case.automatic / case.analytic) / power
    threshold = cost * math.exp(min(exponent, 700.0))  # which is near the largest float
    above = case.t > threshold
    return above, (
        f"{case.t} iterations are {'more' if above else 'not more'} than the "
        f"{threshold:.3g} where both have the same error in the same time (cost ratio "
        f"{cost:.3g}, analytic error like t^-{power:.3g})"
    )


def _case(stated: dict[str, Any], scales: dict[str, Any], target) -> _Case:
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
    return _Case(
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
