"""Fig. 1: errors of the three gradients on a small logistic regression.

The paper does not give its sizes. Here n = 20, m = 10, the penalty is 0.1 beside the mean
of the losses, and the step 1 / smoothness.
"""

import numpy as np

from ...problems import LogisticRegression
from ...solvers import GradientDescent
from .._fit import log_steps, rate, slope, window
from .._outcome import Outcome, within
from ._curves import gradient_errors, legacy_normal, picture, safe_step


def make(quick: bool = False, seed: int = 0) -> Outcome:
    """The errors, and slopes of g2 and g3 against g1."""
    design, x = legacy_normal(seed, (20, 10), (20,))
    loss = LogisticRegression(design, 0.1)
    steps = log_steps(40 if quick else 120, 600)
    inner = GradientDescent(safe_step(loss, x))
    y = loss.solution(x)
    curves = gradient_errors(loss.problem, inner, x, loss.y0, steps, loss.gradient(x), y)
    second = window(curves["g1"], curves["g2"])
    third = window(curves["g1"], curves["g3"], start=1e-1, floor=1e-14)
    rates = [np.log(rate(curves[name], steps, second)) for name in ("g1", "y")]
    checks = [
        within("rate of g1 / rate of y", rates[0] / rates[1], 0.9, 1.1),
        within("slope of g2 against g1", slope(curves["g2"], curves["g1"], second), 1.8, 2.2),
        within("slope of g3 against g1", slope(curves["g3"], curves["g1"], third), 1.8, 2.2),
    ]
    return Outcome(curves, picture(curves, "Small logistic regression"), checks)
