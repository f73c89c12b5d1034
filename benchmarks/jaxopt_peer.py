"""Penalty learning on MNIST's 60,000 x 784 numbers, beside jaxopt 0.8.5.

jaxopt: gradient descent on the inner problem with implicit differentiation by conjugate
gradient, warm-started in y, its whole outer step jitted, by hand, in a Python loop. Both
sides take T = 10 fixed inner steps, N products without a tolerance, the same steps, data,
objectives, threads, and 50 outer steps. jaxopt's adjoint starts cold, as it has no other;
ours is compared cold at equal T and N (that both reach the same x is checked), and warm at
N = 3, where both reach the same validation loss.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx

T, OUTER_STEPS, INNER_STEP, OUTER_STEP = 10, 50, 0.05, 100.0


def peer(task, num_products: int):
    import jaxopt
    from jaxopt.linear_solve import solve_cg

    problem = task.problem
    solver = jaxopt.GradientDescent(
        lambda y, x, rows: problem.inner(x, y, rows),
        stepsize=INNER_STEP,
        maxiter=T,
        tol=0.0,
        acceleration=False,
        implicit_diff=True,
        implicit_diff_solve=functools.partial(solve_cg, maxiter=num_products, tol=0.0),
    )

    @jax.jit
    def step(x, y, train, valid):
        def value(x):
            new = solver.run(y, x, train).params
            return problem.outer(x, new, valid), new

        (loss, y), gradient = jax.value_and_grad(value, has_aux=True)(x)
        return x - OUTER_STEP * gradient, y, loss

    def run():
        x, y = task.x0, task.y0
        for _ in range(OUTER_STEPS):
            x, y, loss = step(x, y, problem.inner_data, problem.outer_data)
        return x, loss

    return run


def ours(task, preset, num_products: int):
    algorithm = preset(
        outer_step_size=OUTER_STEP,
        inner_step_size=INNER_STEP,
        inner_steps=T,
        adjoint_steps=num_products,
    )

    def run():
        solution = bx.minimize(
            task.problem,
            algorithm,
            task.x0,
            task.y0,
            num_steps=OUTER_STEPS,
            record_every=OUTER_STEPS,
        )
        return solution.x, jnp.asarray(solution.history["value"][-1])

    return run


def compare(name: str, task, limits, repeats: int) -> list[Row]:
    jobs = {
        "jaxopt, N = 10": peer(task, 10),
        "jaxopt, N = 3": peer(task, 3),
        "ours cold, N = 10": ours(task, bx.algorithms.aid_cg, 10),
        "ours warm, N = 10": ours(task, bx.algorithms.amigo_cg, 10),
        "ours warm, N = 3": ours(task, bx.algorithms.amigo_cg, 3),
    }
    ends = {job: jax.block_until_ready(run()) for job, run in jobs.items()}
    same = "jaxopt, N = 10", "ours cold, N = 10"
    np.testing.assert_allclose(*(ends[job][0] for job in same), rtol=1e-2, atol=1e-4)
    losses = [float(loss) for _, loss in ends.values()]
    assert max(losses) < min(losses) * 1.002, losses
    print(f"{name}: validation losses at the end", [round(loss, 5) for loss in losses])
    seconds = interleaved(jobs, repeats, compiled=True)
    base = seconds["jaxopt, N = 10"]
    faster = "jaxopt at N = 10, how many times slower"
    return [
        Row(name, job, faster, spent / OUTER_STEPS, base / spent, limits.get(job), larger=True)
        for job, spent in seconds.items()
        if job != "jaxopt, N = 10"
    ]


def measure() -> list[Row]:
    images, labels = bx.datasets.fetch_mnist(return_X_y=True)
    valid, valid_labels = bx.datasets.fetch_mnist(subset="test", return_X_y=True)
    odd = bx.problems.penalised_binary_logistic((images, labels % 2), (valid, valid_labels % 2))
    limits = {"ours cold, N = 10": 1.3, "ours warm, N = 3": 2.0}
    rows = compare("per-feature logistic, odd digits", odd, limits, 3)
    digits = bx.problems.penalised_logistic((images, labels), (valid, valid_labels))
    return rows + compare("per-feature logistic, 10 digits", digits, {}, 1)
