"""Given batches name rows that are there, whoever draws them and wherever."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx

ROWS = jnp.arange(4.0)
OUT = [[0, 1], [2, 9]]
MESSAGE = "Batches names rows 0 to 9; the data have rows 0 to 3"


def loss(x, y, batch):
    return jnp.mean((batch * y - x) ** 2) + y**2


BILEVEL = bx.BilevelProblem(loss, loss, outer_data=ROWS, inner_data=ROWS)
MINIMUM = bx.MinProblem(loss, ROWS)
MAP = bx.FixedPointProblem(
    lambda x, y: y**2, lambda x, y, b: 0.1 * y * jnp.mean(b) + x, inner_data=ROWS
)
DESCENT, CG = bx.GradientDescent(0.1, 2), bx.CG(2)


def descent():
    return bx.GradientDescent(0.1, 2, batch_size=bx.Batches(OUT))


ESTIMATORS = {
    "inner": lambda: bx.Implicit(descent(), CG),
    "adjoint": lambda: bx.Implicit(DESCENT, bx.CG(2, batch_size=bx.Batches(OUT))),
    "cross": lambda: bx.Implicit(DESCENT, CG, cross_batch_size=bx.Batches(OUT)),
    "outer": lambda: bx.Implicit(DESCENT, CG, outer_batch_size=bx.Batches(OUT)),
    "analytic": lambda: bx.Analytic(descent()),
    "unrolled": lambda: bx.Unrolled(descent(), outer_batch_size=bx.Batches(OUT)),
    "neumann": lambda: bx.Implicit(
        DESCENT, bx.Neumann(step_size=0.1, batch_size=bx.Batches(OUT))
    ),
    "accelerated": lambda: bx.Analytic(
        bx.AcceleratedGradientDescent(0.1, 2, batch_size=bx.Batches(OUT))
    ),
}


@pytest.mark.parametrize("problem", [BILEVEL, MINIMUM], ids=["bilevel", "minimum"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators(name, problem):
    make = ESTIMATORS[name]
    gradient = lambda x: bx.hypergradient(problem, make(), x, 0.0).gradient
    calls = (
        lambda: gradient(1.0),
        lambda: jax.jit(gradient)(1.0),
        lambda: jax.vmap(gradient)(jnp.ones(2)),
        lambda: bx.minimize(problem, bx.Algorithm(make(), 0.1), 1.0, 0.0),
    )
    for call in calls:
        with pytest.raises(ValueError, match=MESSAGE):
            call()


def test_functions_and_paths():
    calls = (
        lambda: bx.minimum(MINIMUM, 0.0, descent())(1.0),
        lambda: jax.jit(lambda x: bx.minimum(loss, 0.0, descent(), data=ROWS)(x))(1.0),
        lambda: bx.minimum(MINIMUM, 0.0, gradient=bx.Unrolled(descent()))(1.0),
        lambda: jax.grad(lambda x: bx.argmin(loss, 0.0, descent(), data=ROWS)(x))(1.0),
        lambda: bx.argmin(MAP, 0.0, descent())(1.0),
        lambda: bx.argmin(
            loss, 0.0, DESCENT, linear=bx.CG(2, batch_size=bx.Batches(OUT)), data=ROWS
        )(1.0),
        lambda: bx.trajectory(MINIMUM, descent(), 1.0, 0.0, at=[0, 1]),
        lambda: bx.recommend(MINIMUM, descent(), 1.0, 0.0),
    )
    for call in calls:
        with pytest.raises(ValueError, match=MESSAGE):
            call()


def test_a_resumed_run():
    eight = bx.BilevelProblem(loss, loss, outer_data=ROWS, inner_data=jnp.arange(10.0))
    algorithm = bx.Algorithm(bx.Implicit(descent(), CG), 0.1)
    state = bx.minimize(eight, algorithm, 1.0, 0.0, num_steps=1).state
    with pytest.raises(ValueError, match=MESSAGE):
        bx.minimize(BILEVEL, algorithm, num_steps=1, state=state)


def test_the_level_counts():
    ten = jnp.arange(10.0)
    estimator = bx.Implicit(DESCENT, CG, outer_batch_size=bx.Batches(OUT))
    h = bx.hypergradient(
        bx.BilevelProblem(loss, loss, outer_data=ten, inner_data=ROWS), estimator, 1.0, 0.0
    )
    assert h.result == bx.Result.successful and h.cost.rows.outer_gradient == len(OUT[0])


def test_indices_that_are_no_rows_of_any_data():
    for batches in ([[0, -1]], np.array([[2**32 + 1]]), np.array([[2**31]], np.uint32)):
        with pytest.raises(ValueError, match="Batches names rows"):
            bx.Batches(batches)


def test_batches_that_are_traced_are_clipped():
    def gradient(batches):
        inner = bx.GradientDescent(0.1, 1, batch_size=bx.Batches(batches))
        return bx.hypergradient(MINIMUM, bx.Analytic(inner), 1.0, 0.0).gradient

    out, within = (jax.jit(gradient)(jnp.array([b])) for b in ([-3, 9], [0, 3]))
    assert out == within
