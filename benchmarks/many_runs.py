"""Many runs in one program against the same runs one after the other.

16 runs of AmIGO from different starts on a quadratic with dx = 200, dy = 100, T = N = 10, in
float32. Both sides are compiled chunks alone; that they take the same steps is checked.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx
from bilevax._run.loop import RECORDS, chunk
from bilevax._run.stacked import chunk_of_many, together

RUNS, STEPS = 16, 200
STEP_SIZES = {"outer_step_size": 0.01, "inner_step_size": 0.5, "inner_steps": 10}
ALGORITHMS = {
    "AmIGO-GD": bx.algorithms.amigo_gd(**STEP_SIZES, adjoint_step_size=0.5, adjoint_steps=10),
    "AmIGO-CG": bx.algorithms.amigo_cg(**STEP_SIZES, adjoint_steps=10),
}
LIMITS = {"AmIGO-GD": 2.5, "AmIGO-CG": 2.0}


def measure() -> list[Row]:
    problem = bx.problems.quadratic(200, 100, inner_condition=10.0, dtype=jnp.float32).problem
    return [_row(problem, name, algorithm) for name, algorithm in ALGORITHMS.items()]


def _row(problem, name: str, algorithm: bx.Algorithm) -> Row:
    x0s = jax.random.normal(jax.random.key(0), (RUNS, 200))
    starts = [bx.initial_state(problem, algorithm, x0, jnp.zeros(100)).loop for x0 in x0s]
    stacked, ended = together(starts), np.zeros(RUNS, bool)
    never, (every, first, *limits) = np.asarray(-np.inf), np.int32([1, 0, RECORDS, STEPS, 1])

    def alone():
        fixed = problem, algorithm, None, never, every
        return [chunk(*fixed, start, *limits)[0].x for start in starts]

    def many():
        fixed = problem, algorithm, None, None, never
        return chunk_of_many(*fixed, stacked, ended, (every, first, *limits))[0].x

    np.testing.assert_allclose(many(), np.stack(alone()), rtol=1e-4, atol=1e-5)
    seconds = interleaved({"alone": alone, "many": many}, compiled=True)
    ratio = seconds["alone"] / seconds["many"]
    job, against = f"{RUNS} runs of {name}", "one after the other, how many times slower"
    each = seconds["many"] / RUNS / STEPS
    return Row("quadratic 200 x 100", job, against, each, ratio, LIMITS[name], larger=True)
