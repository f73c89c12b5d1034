"""Fig. 3a: where the gradients stop improving under SGD, against its step size.

Logistic regression with n = 50, m = 30, seed 42; 20 steps from 1e-3 to 1e-1, one row a
step, 500,000 steps, 10 repetitions; errors averaged over 26 moments of the last half.
Steps above 1e-2 have not reached their asymptotic regime, and are not fitted. The quick
form is a well-conditioned problem with n = 20, m = 10 and 8 steps up to 10^-1.5.
"""

import jax.numpy as jnp
import numpy as np

from .._fit import slope
from .._outcome import Outcome, reported, within
from ._sgd import band_picture, errors, published, well_conditioned


def make(quick: bool = False, seed: int = 42) -> Outcome:
    """The floors and their powers of the step size."""
    setting = well_conditioned(seed) if quick else published(seed)
    sizes = np.logspace(-3, -1.5, 8) if quick else np.logspace(-3, -1, 20)
    last = 200_000 if quick else 500_000
    steps = np.linspace(last // 2, last, 26).astype(int)
    found = errors(setting, jnp.asarray(sizes), 10, steps, seed)
    # (repetitions, step sizes), averaged over the moments.
    runs = {name: e.mean(axis=2).T for name, e in found.items()}
    floors = {name: e.mean(axis=0) for name, e in runs.items()}
    fitted = sizes <= (1 if quick else 1e-2)
    power = lambda name: slope(floors[name], sizes, fitted)
    checks = [
        within("power of the step of g1", power("g1"), 0.4, 0.6),
        within("power of the step of g2", power("g2"), 0.85, 1.2),
        within("power of the step of g3", power("g3"), 0.85, 1.2),
        within("power of the step of |J - J*|", power("J"), 0.4, 0.6),
        within("slope of g2 against g1", slope(floors["g2"], floors["g1"], fitted), 1.8, 2.2),
        reported("g2 / g1 at the largest step", floors["g2"][-1] / floors["g1"][-1]),
    ]
    picture = band_picture("SGD with constant steps", "step size", sizes, runs)
    return Outcome({"step_size": sizes, **floors}, picture, checks)
