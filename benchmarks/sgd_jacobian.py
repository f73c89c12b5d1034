"""SGD with its Jacobian carried along, as for Fig. 3a of Ablin et al. (2020).

Logistic regression with 50 numbers in x and 30 in y, one row a step, 200 runs together, in
float64. A bare step is one product of each run's 50 x 30 Jacobian with a vector.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx

_RUNS, _STEPS = 200, 5000


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    random = np.random.RandomState(42)
    loss = bx.problems.LogisticRegression(random.randn(50, 30), 1 / 50)
    x, sizes = jnp.asarray(random.randn(50)), jnp.logspace(-3, -1, _RUNS)
    keys = jax.random.split(jax.random.key(0), _RUNS)

    @jax.jit
    def carried(sizes, keys):
        def run(size, key):
            inner = bx.SGD(size, 1, 1)
            path = bx.trajectory(loss.problem, inner, x, loss.y0, at=[_STEPS], key=key)
            return path.jacobian

        return jax.vmap(run)(sizes, keys)

    @jax.jit
    def bare(jacobians, vectors):
        step = lambda _, v: 1e-3 * jnp.einsum("rnm,rm->rn", jacobians, v)[:, :30]
        return jax.lax.fori_loop(0, _STEPS, step, vectors)

    jacobians = jnp.asarray(random.randn(_RUNS, 50, 30))
    vectors = jnp.asarray(random.randn(_RUNS, 30))
    jobs = {"carried": lambda: carried(sizes, keys), "bare": lambda: bare(jacobians, vectors)}
    seconds = interleaved(jobs, repeats=5)
    jax.config.update("jax_enable_x64", False)
    million = seconds["carried"] / (_RUNS * _STEPS / 1e6)
    job = f"{_RUNS} runs of {_STEPS} steps"
    ratio = seconds["carried"] / seconds["bare"]
    return [
        Row("sgd_jacobian", job, "bare products", seconds["carried"], ratio),
        Row("sgd_jacobian", "a million steps of one run", "1 second", million, million, 2.0),
    ]
