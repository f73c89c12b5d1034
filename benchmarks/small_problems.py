"""What a call costs beside the mathematics: two numbers, which take next to no time themselves.

The hypergradient of `Implicit(GradientDescent, CG)`, called as it is and under `jit`, and one
step of a resumed run, which is how a loop of one's own calls `minimize`. The same mathematics
written by hand, jitted, is what they are measured against; that they agree is checked.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx

T, INNER_STEP, OUTER_STEP, REPEATS = 30, 0.4, 0.1, 300


def outer(x, y):
    return (y - 1) ** 2 / 2


def inner(x, y):
    return (y - x) ** 2


@jax.jit
def by_hand(x, y):
    """Gradient descent, one step of conjugate gradient from zero, the cross product."""
    slope = jax.grad(inner, argnums=1)
    y = jax.lax.fori_loop(0, T, lambda _, y: y - INNER_STEP * slope(x, y), y)
    f_x, f_y = jax.grad(outer, argnums=(0, 1))(x, y)
    _, pullback = jax.vjp(slope, x, y)
    curved = f_y * pullback(f_y)[1]
    z = jnp.where(curved > 0, -(f_y**2) / curved, 0) * f_y
    return f_x + pullback(z)[0], y


@jax.jit
def step_by_hand(x, y):
    """One outer step."""
    gradient, y = by_hand(x, y)
    return x - OUTER_STEP * gradient, y


def measure() -> list[Row]:
    problem = bx.BilevelProblem(outer, inner)
    estimator = bx.Implicit(bx.GradientDescent(INNER_STEP, T), bx.CG(1))
    algorithm = bx.Algorithm(estimator, OUTER_STEP)
    start = jnp.float32(3.0), jnp.float32(0.0)
    state = bx.initial_state(problem, algorithm, *start)

    def hypergradient():
        return bx.hypergradient(problem, estimator, *start)

    compiled = jax.jit(lambda x, y: bx.hypergradient(problem, estimator, x, y))
    step = lambda: bx.minimize(problem, algorithm, num_steps=1, state=state)
    np.testing.assert_allclose(by_hand(*start)[0], hypergradient().gradient, rtol=1e-5)
    np.testing.assert_allclose(step_by_hand(*start)[0], step().x, rtol=1e-5)

    jobs = {
        "hypergradient outside of jit": (lambda: hypergradient().gradient, by_hand),
        "hypergradient under jit": (lambda: compiled(*start).gradient, by_hand),
        "one step of a resumed run": (lambda: step().x, step_by_hand),
    }
    rows = []
    for job, (ours, bare) in jobs.items():
        bare = lambda bare=bare: bare(*start)
        seconds = interleaved({"ours": ours, "bare": bare}, REPEATS)
        ratio = seconds["ours"] / seconds["bare"]
        rows.append(Row("two numbers", job, "the same by hand, jitted", seconds["ours"], ratio))
    return rows
