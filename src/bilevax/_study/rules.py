"""The rules of `bx.recommend`, on numbers alone."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .recommendation import Recommendation

_Number = float | int


class Case(NamedTuple):
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


def of_noise(case: Case, error, negligible) -> Recommendation:
    """R0: what is smaller than the noise of the outer loop needs no better gradient."""
    reason = (
        f"The error {error:.3g} of the analytic gradient is at most {negligible:.3g}, "
        "below which the noise of the outer loop dominates."
    )
    return Recommendation("analytic", case.t, "R0", reason, {})


def _of_bilevel(case: Case) -> Recommendation | None:
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


def _of_small(case: Case) -> Recommendation | None:
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


def _of_linear(case: Case) -> Recommendation | None:
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


def _of_slow(case: Case) -> Recommendation:
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


_RULES: tuple[Callable[[Case], Recommendation | None], ...]
_RULES = (_of_bilevel, _of_small, _of_linear, _of_slow)


def _compare(case: Case, cost: _Number) -> tuple[bool, str]:
    """Whether a gradient with the automatic one's rate is worthwhile at a cost, and why."""
    if case.kind == "stochastic":
        return _constant_noise(case)
    if case.kind == "decreasing" and case.target is not None:
        return _decreasing_noise(case, case.target, cost)
    power = case.power / 2 if case.kind == "decreasing" else case.power
    return _at_equal_time(case, power, cost)


def _constant_noise(case: Case) -> tuple[bool, str]:
    """Whether the analytic gradient does not reach the target."""
    if case.target is None or case.step_size is None:
        return True, "with a constant stochastic step its noise floor is the lower one"
    floor = case.analytic * math.sqrt(case.step_size)
    below = case.target < floor
    return below, (
        f"the target {case.target:.3g} is {'below' if below else 'not below'} the noise "
        f"floor {floor:.3g} of the analytic one at the constant step {case.step_size:.3g}"
    )


def _decreasing_noise(case: Case, target: _Number, cost: _Number) -> tuple[bool, str]:
    """The times to reach the target, compared."""
    threshold = case.analytic / case.automatic * (case.analytic / cost**case.power)
    below = target < threshold
    return below, (
        f"the target {target:.3g} is {'below' if below else 'not below'} the "
        f"{threshold:.3g} that both reach in the same time (cost ratio {cost:.3g}, steps "
        f"like t^-{case.power:.3g})"
    )


def _at_equal_time(case: Case, power: _Number, cost: _Number) -> tuple[bool, str]:
    """The errors in the same time, after t iterations of one, compared."""
    exponent = math.log(case.automatic / case.analytic) / power
    threshold = cost * math.exp(min(exponent, 700.0))  # which is near the largest float
    above = case.t > threshold
    return above, (
        f"{case.t} iterations are {'more' if above else 'not more'} than the "
        f"{threshold:.3g} where both have the same error in the same time (cost ratio "
        f"{cost:.3g}, analytic error like t^-{power:.3g})"
    )


def decide(case: Case) -> Recommendation:
    """What the first rule says that has something to say; the last one always has."""
    return next(found for rule in _RULES if (found := rule(case)) is not None)
