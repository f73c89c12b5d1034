"""The rules by which the figures are judged, P0 to P8 of our reading of section 5.

Which values of lambda are primary was decided after seeing runs of seeds 0 to 4, and
thresholds come from the same runs: on those the rules tell of changes. Other seeds are
independent evidence.
"""

import dataclasses
from typing import Any

import numpy as np

from ...theory import sid as theory
from .._fit import rate, slope
from .._outcome import Check, at_least, at_most, within
from ._methods import EPOCHS, METHODS
from ._setting import BATCHES, Split

PRIMARY, STRESS = (0.01, 0.03, 0.1, 0.3), (1.0, 3.0, 10.0)
LATE = (400, 3000)  # steps among which the slopes of P6 are fitted
_at = {epochs: i for i, epochs in enumerate(EPOCHS)}


class Runs:
    """Relative squared errors of the methods, axes (runs, budgets, lambdas), and the rest;
    `last` has those of all methods and variants at the last budget."""

    def __init__(self, found: dict[str, dict[str, np.ndarray]], sizes: np.ndarray):
        relative = {m: f["gradient"] / sizes[:, None] for m, f in found.items()}
        self.raw = found
        self.relative = {m: relative[m] for m in METHODS}
        self.last = {m: e[:, -1] for m, e in relative.items()}
        self.mean = {m: e.mean(axis=0) for m, e in self.relative.items()}
        self._sizes = sizes

    def beside(self, other: "Runs") -> "Runs":
        """With as many runs at other penalties."""
        join = lambda a, b: np.concatenate([a, b], axis=-1)
        found = {
            m: {name: join(values, other.raw[m][name]) for name, values in of.items()}
            for m, of in self.raw.items()
        }
        return Runs(found, join(self._sizes, other._sizes))

    def ratio(self, above: str, below: str, lam: int, epochs: int = 60) -> float:
        """Of two mean errors."""
        return float(self.mean[above][_at[epochs], lam] / self.mean[below][_at[epochs], lam])

    def wins(self, lam: int, epochs: int = 60) -> float:
        """The share of runs in which decreasing steps are better than all rows."""
        dec, batch = (self.relative[m][:, _at[epochs], lam] for m in ("dec", "batch"))
        return float(np.mean(dec < batch))

    def early(self, lam: int) -> float:
        """The largest of mean(const) / mean(batch) up to 20 epochs."""
        until = [i for e, i in _at.items() if e <= 20]
        return max(
            float(self.mean["const"][i, lam] / self.mean["batch"][i, lam]) for i in until
        )

    def plateau(self, lam: int) -> float:
        """The mean square distance of const after t = 3000 steps over that after 500."""
        distance = self.raw["const"]["y"].mean(axis=0)[:, lam]
        return float(distance[_at[60]] / distance[_at[10]])


def advantages(
    runs: Runs, lam: int, name: str, least: float | int, share: float
) -> list[Check]:
    """P1 and P2: decreasing steps beat all rows."""
    label = "P2" if name == "multi" else "P1"
    return [
        at_least(
            f"{label} batch / dec at 60 epochs, {name}", runs.ratio("batch", "dec", lam), least
        ),
        at_least(f"{label} runs with dec < batch, {name}", runs.wins(lam), share),
    ]


def constants(runs: Runs, lam: int, name: str, least: float | int) -> list[Check]:
    """P3 and P4: constant steps are soon better than all rows, and end above decreasing."""
    return [
        at_least(
            f"P3 const / dec at 60 epochs, {name}", runs.ratio("const", "dec", lam), least
        ),
        at_most(f"P4 const / batch up to 20 epochs, {name}", runs.early(lam), 1),
    ]


def plateau(runs: Runs, lam: int, name: str, split: Split, x: Any) -> list[Check]:
    """P5: constant steps end in their ball."""
    ball = theory.constant_step_floor(**of_map(split, x)._asdict() | {"step_size": 1.0})
    last = runs.raw["const"]["y"].mean(axis=0)[[_at[10], _at[60]], lam].max()
    return [
        within(f"P5 plateau of const in y, {name}", runs.plateau(lam), 0.5, 1.5),
        at_most(f"P5 const in y / ball of Theorem 4.1, {name}", last / ball, 1),
    ]


def linear(runs: Runs, lam: int, name: str, q: float) -> list[Check]:
    """P7: all rows converge linearly, at a rate of at most q, on t = 10 to 30."""
    epochs, checks = (20, 30, 40, 50, 60), []
    t = np.array(epochs) / 2
    for quantity in ("y", "v", "gradient"):
        squares = runs.raw["batch"][quantity].mean(axis=0)[[_at[e] for e in epochs], lam]
        norms = np.sqrt(squares)
        straight = np.corrcoef(t, np.log(norms))[0, 1] ** 2
        checks += [
            at_most(f"P7 rate of batch in {quantity}, {name}", rate(norms, t), q + 0.005),
            at_least(f"P7 R^2 of that fit in {quantity}, {name}", straight, 0.98),
        ]
    return checks


def crossover(runs: Runs, of_one: int, of_ten: int) -> list[Check]:
    """P8: from lambda = 1 on all rows win in the end, at 10 from the start."""
    return [
        at_least(
            "P8 batch / dec at 20 epochs, lambda 1", runs.ratio("batch", "dec", of_one, 20), 1
        ),
        at_most("P8 batch / dec at 60 epochs, lambda 1", runs.ratio("batch", "dec", of_one), 1),
        at_most(
            "P8 batch / dec at 20 epochs, lambda 10", runs.ratio("batch", "dec", of_ten, 20), 1
        ),
        at_most(
            "P8 batch / dec at 60 epochs, lambda 10", runs.ratio("batch", "dec", of_ten), 1
        ),
    ]


def slopes(
    found: dict[str, np.ndarray], t: np.ndarray, beta: float, name: str, bound: np.ndarray
) -> list[Check]:
    """P6: the powers of gamma + t, of means over repeats, on one split; and Theorem 4.2."""
    mean = {quantity: squares.mean(axis=0) for quantity, squares in found.items()}
    of = lambda quantity: slope(mean[quantity], beta + t)
    return [
        within(f"P6 power of dec in y, {name}", of("y"), -1.2, -0.8),
        within(f"P6 power of dec in v, {name}", of("v"), -1.3, -0.75),
        at_most(f"P6 power of dec in the hypergradient, {name}", of("gradient"), -0.8),
        at_most(f"P6 dec in y / bound of Theorem 4.2, {name}", np.max(mean["y"] / bound), 1),
    ]


def of_map(split: Split, x: Any) -> theory.GradientMap:
    """The map of gradient descent on batches, with the noise that Remark 4.2 bounds."""
    noise = theory.linear_model_noise(
        loss_lipschitz=1.0,
        mean_squared_norm=split.squared_norm,
        batch_size=len(split.train[1]) // BATCHES,
    )
    smooth, strong = split.largest + float(np.max(x)), float(np.min(x))
    return theory.gradient_map(smoothness=smooth, strong_convexity=strong, gradient_noise=noise)


def renamed(checks: list[Check], words: str) -> list[Check]:
    """The same checks with something added to their names."""
    return [dataclasses.replace(check, name=f"{check.name}, {words}") for check in checks]
