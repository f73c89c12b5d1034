"""Fig. 3b: errors of the gradients along SGD with decreasing steps.

With the paper's setting (n = 50, m = 30, seed 42, steps (1 + t)^-0.8, 500,000 of them, 10
repetitions) the errors are still in their transient, so that only the slope of g2 against
g1 is checked there. The powers of t are checked on a well-conditioned problem, n = 20,
m = 10, with 100 repetitions of 100,000 steps; that is all of the quick form.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ... import schedules
from .._fit import log_steps, slope
from .._outcome import Outcome, reported, within
from ._sgd import band_picture, errors, published, well_conditioned

_POWER = 0.8


def make(quick: bool = False, seed: int = 42) -> Outcome:
    """The errors against t, and their powers."""
    steps, runs, checks = _well_conditioned(seed, 40 if quick else 100)
    title = "SGD with decreasing steps, well-conditioned"
    columns = {"t_well_conditioned": steps}
    columns |= {f"{name}_well_conditioned": e.mean(axis=0) for name, e in runs.items()}
    if not quick:
        steps = log_steps(50, 500_000)
        runs = _errors(published(seed), steps, 10, seed)
        mean = {name: e.mean(axis=0) for name, e in runs.items()}
        late = steps >= 1e4
        against = slope(mean["g2"], mean["g1"], late)
        checks += [
            within("slope of g2 against g1, paper's setting", against, 1.6, 2.2),
            reported("power of t of g1, paper's setting", slope(mean["g1"], steps, late)),
            reported("power of t of g2, paper's setting", slope(mean["g2"], steps, late)),
        ]
        columns |= {"t": steps, **mean}
        title = "SGD with decreasing steps"
    return Outcome(columns, band_picture(title, "iterations t", steps, runs), checks)


def _well_conditioned(seed: int, repetitions: int):
    """Steps, errors and checks where theory applies within the run."""
    steps = log_steps(40, 100_000)
    runs = _errors(well_conditioned(seed), steps, repetitions, seed)
    late = steps >= 1e3
    power = lambda name: slope(runs[name].mean(axis=0), steps, late)
    expected = {"g1": (0.5, 0.06), "g2": (1.0, 0.1), "g3": (1.0, 0.1), "J": (0.5, 0.07)}
    checks = [
        within(
            f"power of t of {name}, well-conditioned",
            power(name),
            -_POWER * share - room,
            -_POWER * share + room,
        )
        for name, (share, room) in expected.items()
    ]
    return steps, runs, checks


def _errors(setting, steps: np.ndarray, repetitions: int, seed: int) -> dict[str, np.ndarray]:
    one = jax.tree.map(jnp.asarray, schedules.polynomial(1.0, _POWER))
    batched = jax.tree.map(lambda leaf: leaf[None], one)
    return {k: e[0] for k, e in errors(setting, batched, repetitions, steps, seed).items()}
