"""All runs of the comparison, each made once and kept by `bx.sweep`."""

import functools
import pathlib
from typing import Any, NamedTuple

import numpy as np

from ...._sweep.sweep import sweep
from ._methods import algorithm
from ._problems import contest
from ._timed import timed


class Plan(NamedTuple):
    """Problems and methods; multiples of x's step that are tried; CPU seconds a run; how often
    a reported run is looked at; the store, and where data are."""

    problems: tuple[str, ...]
    methods: tuple[str, ...]
    grid: tuple[float, ...]
    seconds: float
    points: int
    seed: int
    store: pathlib.Path
    data: pathlib.Path | None
    quick: bool

    def run(self, settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What each setting came to; what failed has no points."""
        # Times of runs side by side would be those of a busy machine.
        function = functools.partial(one, data=self.data, quick=self.quick)
        name = "quick contest" if self.quick else "contest"
        runs = sweep(function, settings, store=self.store, jobs=1, name=name)
        return [run.metrics or _NOTHING for run in runs]


_NOTHING: dict[str, list[float]] = {"seconds": [], "rows": [], "steps": [], "values": []}


def one(
    problem: str,
    method: str,
    step: float,
    seconds: float,
    points: int,
    seed: int,
    *,
    data: pathlib.Path | None,
    quick: bool,
) -> dict[str, list[float]]:
    """The value function along a run, which no time is counted for."""
    task = contest(problem, data, quick)
    found, y = {name: [] for name in _NOTHING}, task.y
    seen = timed(task, algorithm(task, method, step), seconds, points, seed)
    for spent, solution in seen:
        value, y = task.value_at(solution.x, y)
        found["seconds"].append(spent)
        found["rows"].append(int(solution.cost.rows.total))
        found["steps"].append(int(solution.state.loop.step))
        found["values"].append(value)
    return found


class Compared(NamedTuple):
    """On one problem: the multiple that each method was tuned to, its runs by seed, the longer
    runs of the two best, the least value that any run has seen, and how often a whole run was
    looked at."""

    steps: dict[str, float]
    runs: dict[tuple[str, int], dict[str, Any]]
    longer: dict[str, dict[str, Any]]
    least: float
    points: int

    def has_failed(self, run: dict[str, Any]) -> bool:
        """Whether a run, reported or longer, ended with a failure and not after its time."""
        return len(run["values"]) < self.points


def compared(plan: Plan, problem: str) -> Compared:
    """Tuned on one seed, reported on the two after it."""
    base = {"problem": problem, "seconds": plan.seconds}
    tries = [
        base | {"method": method, "step": step, "points": 1, "seed": plan.seed}
        for method in plan.methods
        for step in plan.grid
    ]
    ends = [end(run) for run in plan.run(tries)]
    by_method = np.reshape(ends, (len(plan.methods), len(plan.grid)))
    chosen = np.array(plan.grid)[np.argmin(by_method, axis=1)]
    steps = dict(zip(plan.methods, chosen.tolist(), strict=True))
    settings = [
        base | {"method": m, "step": steps[m], "points": plan.points, "seed": plan.seed + i}
        for m in plan.methods
        for i in (1, 2)
    ]
    found = plan.run(settings)
    runs = {(s["method"], s["seed"]): run for s, run in zip(settings, found, strict=True)}
    longer = _longer(plan, settings, ranked(runs)[:2])
    seen = [run["values"] for run in (*found, *longer.values())]
    least = min([*ends, *(value for values in seen for value in values)])
    return Compared(steps, runs, longer, least, plan.points)


def _longer(plan: Plan, settings: list[dict[str, Any]], best: list[str]):
    """Ten times as long, by the methods that are ahead."""
    first = {s["method"]: s for s in reversed(settings)}
    longer = [first[method] | {"seconds": 10 * plan.seconds} for method in best]
    return dict(zip(best, plan.run(longer), strict=True))


def ranked(runs: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
    """Methods by the mean of their last values."""
    means = {m: np.mean([end(run) for (n, _), run in runs.items() if n == m]) for m, _ in runs}
    return sorted(means, key=lambda method: float(means[method]))


def end(run: dict[str, Any]) -> float:
    """The last value that was seen; infinite where the run has failed before the first look."""
    return run["values"][-1] if run["values"] else np.inf
