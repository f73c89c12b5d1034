"""Problems the tests share: each with x, y far from any solution."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import bilevax as bx


class Case(NamedTuple):
    """A problem with a point, and its functions without data, for independent checks."""

    problem: object
    x: object
    y: object
    outer: object
    residual: object  # F(x, y), whose Jacobians a reference takes densely
    inner_step: float


def quadratic():
    q = bx.problems.quadratic(7, 5, inner_condition=6.0, coupling=0.3, seed=1)
    x, y = jnp.linspace(-1, 1, 7), jnp.linspace(0.5, 2, 5)
    A_f, A_g, B_g, C_f = (np.asarray(a) for a in (q.A_f, q.A_g, q.B_g, q.C_f))
    outer = lambda x, y: x @ A_f @ x / 2 + y @ C_f + 0.3 * y @ y / 2
    return Case(q.problem, x, y, outer, lambda x, y: A_g @ y + B_g @ x, 0.5)


def logistic():
    rng = np.random.default_rng(2)
    train = rng.standard_normal((30, 4)), rng.integers(0, 3, 30)
    valid = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    task = bx.problems.penalised_logistic(train, valid)
    x = jnp.asarray(rng.standard_normal(4))
    y = jnp.asarray(rng.standard_normal((4, 3)))

    def cross_entropy(y, data):
        logits = data[0] @ y
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(data[1])), data[1]])

    def inner(x, y):
        penalty = 0.5 * jnp.mean(jnp.exp(x)[:, None] * y**2)
        return cross_entropy(y, train) + penalty

    outer = lambda x, y: cross_entropy(y, valid)
    return Case(task.problem, x, y, outer, jax.grad(inner, argnums=1), 0.2)


def nested():
    """Not quadratic, not symmetric in its parts, x and y nested pytrees."""
    rng = np.random.default_rng(3)
    x = {"scale": jnp.asarray(rng.standard_normal((2, 3))), "shift": (jnp.asarray(0.3),)}
    y = [
        jnp.asarray(rng.standard_normal(3)),
        {"b": jnp.asarray(rng.standard_normal((2, 2)))},
    ]

    def inner(x, y):
        u, b = y[0], y[1]["b"]
        fit = jnp.sum(jnp.log(jnp.cosh(x["scale"] @ u - jnp.sum(b, axis=1))))
        quartic = jnp.sum((b - x["shift"][0]) ** 4) / 4
        return fit + quartic + jnp.sum(u**2) + jnp.sum(b**2) + jnp.sin(x["shift"][0]) * u[0]

    def outer(x, y):
        return jnp.sum(jnp.exp(0.3 * y[0])) + jnp.sum(y[1]["b"] ** 3) * x["scale"][0, 1]

    problem = bx.BilevelProblem(outer, inner)
    return Case(problem, x, y, outer, jax.grad(inner, argnums=1), 0.05)


def fixed_point():
    """A contraction whose Jacobian is far from symmetric."""
    rng = np.random.default_rng(4)
    W = rng.standard_normal((6, 6))
    W = jnp.asarray(0.8 * W / np.linalg.norm(W, 2))
    U = jnp.asarray(rng.standard_normal((6, 3)))
    phi = lambda x, y: jnp.tanh(W @ y + U @ x)
    outer = lambda x, y: jnp.sum((y - 0.5) ** 2) + x @ x + jnp.sum(x) * y[0]
    x, y = jnp.asarray(rng.standard_normal(3)), jnp.asarray(rng.standard_normal(6))
    problem = bx.FixedPointProblem(outer, phi)
    return Case(problem, x, y, outer, lambda x, y: y - phi(x, y), 1.0)


CASES = {f.__name__: f for f in (quadratic, logistic, nested, fixed_point)}


def dense_hypergradient(case: Case, x, y):
    """f_x + F_x^T z with F_y^T z = -f_y, all dense, in NumPy, and z."""
    flat_x, to_x = ravel_pytree(x)
    flat_y, to_y = ravel_pytree(y)
    F = lambda a, b: ravel_pytree(case.residual(to_x(a), to_y(b)))[0]
    f = lambda a, b: case.outer(to_x(a), to_y(b))
    F_x, F_y = (np.asarray(j) for j in jax.jacfwd(F, argnums=(0, 1))(flat_x, flat_y))
    f_x, f_y = (np.asarray(g) for g in jax.grad(f, argnums=(0, 1))(flat_x, flat_y))
    z = np.linalg.solve(F_y.T, -f_y)
    return f_x + F_x.T @ z, z


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def relative_error(a, b):
    a, b = flat(a), flat(b)
    return np.linalg.norm(a - b) / np.linalg.norm(b)
