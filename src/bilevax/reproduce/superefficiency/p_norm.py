"""Fig. 2c: errors of the gradients where convergence is slow, on the p-norm with p = 4.

n = 5, m = 10, D with orthonormal rows, seed 8, step 0.1, 500,000 steps. The implicit
gradient is exact wherever no residual is zero, by the pseudo-inverse's closed form.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..._study.trajectory import trajectory
from ...problems import PNormRegression
from ...solvers import GradientDescent
from .._fit import log_steps, slope
from .._outcome import Outcome, at_most, within
from ._curves import picture

_PUBLISHED = 8


def make(quick: bool = False, seed: int = _PUBLISHED) -> Outcome:
    """The errors and their powers of t.

    The quick form, and other seeds, take |x| between 0.5 and 1.5 with random signs:
    coordinates near zero spoil the exponent.
    """
    random = np.random.RandomState(seed)
    left, _, right = np.linalg.svd(random.randn(5, 10))
    design = left @ right[:5]
    x = random.randn(5)
    if quick or seed != _PUBLISHED:
        x = random.uniform(0.5, 1.5, 5) * random.choice([-1, 1], 5)
    loss = PNormRegression(design, 4)
    last = 10_000 if quick else 100_000 if seed != _PUBLISHED else 500_000
    steps = log_steps(50, last)
    # g* = 0 here, so that errors are the gradients themselves.
    path = trajectory(loss.problem, GradientDescent(0.1), jnp.asarray(x), loss.y0, at=steps)
    third = jax.vmap(lambda y: loss.implicit_gradient(jnp.asarray(x), y))(path.y)
    norm = lambda g: np.linalg.norm(np.asarray(g), axis=1)
    curves = {"t": steps, "g1": norm(path.analytic), "g2": norm(path.automatic)}
    curves["g3"] = norm(third)
    late = steps >= (last / 30 if quick or seed != _PUBLISHED else 1e4)
    checks = [
        within("power of t of g1", slope(curves["g1"], steps, late), -1.55, -1.45),
        within("power of t of g2", slope(curves["g2"], steps, late), -3.1, -2.9),
        within("slope of g2 against g1", slope(curves["g2"], curves["g1"], late), 1.9, 2.1),
        at_most("g3 / g1, at most", np.max(curves["g3"] / curves["g1"]), 1e-12),
    ]
    shown = {name: curves[name] for name in ("t", "g1", "g2")}
    return Outcome(curves, picture(shown, "p-norm, p = 4", log_steps=True), checks)
