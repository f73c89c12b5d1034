"""Problems the tests share: each with x, y far from any solution."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
from jax.flatten_util import ravel_pytree

import bilevax as bx
from bilevax._core.numbers import always


def steps(number):
    """So many, whatever the outer step: an argument of the program, which all numbers share."""
    return always(jnp.int32(number))


class Case(NamedTuple):
    """A problem with a point, and its functions without data, for independent checks."""

    problem: object
    x: object
    y: object
    outer: object
    residual: object  # F(x, y), whose Jacobians a reference takes densely
    inner_step: float


def _once(build):
    """Made once for each precision: programs are found again by a problem's functions."""
    made = functools.cache(lambda x64: build())
    return functools.wraps(build)(lambda: made(bool(jax.config.read("jax_enable_x64"))))


@_once
def quadratic():
    q = bx.problems.quadratic(7, 5, inner_condition=6.0, coupling=0.3, seed=1)
    x, y = jnp.linspace(-1, 1, 7), jnp.linspace(0.5, 2, 5)
    A_f, A_g, B_g, C_f = (np.asarray(a) for a in (q.A_f, q.A_g, q.B_g, q.C_f))
    outer = lambda x, y: x @ A_f @ x / 2 + y @ C_f + 0.3 * y @ y / 2
    return Case(q.problem, x, y, outer, lambda x, y: A_g @ y + B_g @ x, 0.5)


@_once
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


@_once
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


@_once
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
    F_x, F_y, f_x, f_y = map(np.asarray, dense_derivatives(case.residual, case.outer, x, y))
    z = np.linalg.solve(F_y.T, -f_y)
    return f_x + F_x.T @ z, z


@functools.partial(jax.jit, static_argnums=(0, 1))
def dense_derivatives(residual, outer, x, y):
    """F_x, F_y, f_x and f_y, of x and y as vectors."""
    flat_x, to_x = ravel_pytree(x)
    flat_y, to_y = ravel_pytree(y)
    F = lambda a, b: ravel_pytree(residual(to_x(a), to_y(b)))[0]
    f = lambda a, b: outer(to_x(a), to_y(b))
    at = (flat_x, flat_y)
    return *jax.jacfwd(F, argnums=(0, 1))(*at), *jax.grad(f, argnums=(0, 1))(*at)


@_once
def interpolation():
    """Least squares that every row solves at the same y, so that any rows lead to it."""
    rng = np.random.default_rng(5)
    rows = np.linalg.qr(rng.standard_normal((12, 3)))[0] * np.sqrt(12 * np.array([1, 0.9, 0.8]))
    M, target = rng.standard_normal((3, 2)), rng.standard_normal(3)

    def inner(x, y, rows):
        return jnp.mean((rows @ (y - M @ x)) ** 2) / 2

    def sweep(x, y, rows):
        return y - jax.grad(inner, argnums=1)(x, y, rows)

    outer = lambda x, y: jnp.sum((y - target) ** 2) / 2 + x @ x / 2
    problem = bx.BilevelProblem(outer, inner, inner_data=rows, update=sweep)
    H = rows.T @ rows / 12
    x, y = jnp.asarray([0.7, -0.4]), jnp.asarray([1.0, 2.0, -1.0])
    return Case(problem, x, y, outer, lambda x, y: H @ (y - M @ x), 1.0)


# Long enough for 12 digits on `interpolation`: on all rows, and on a few.
LONG, LONGER = 24, 600
_DESCENT = bx.GradientDescent(1.0, LONG)
_STEPS = {"outer_step_size": 0.1, "inner_step_size": 1.0, "inner_steps": LONG}
_CG = _STEPS | {"adjoint_steps": 3}
_BOTH = _STEPS | {"adjoint_steps": LONG}
_THREE = _BOTH | {"adjoint_step_size": 1.0}

# One of each that is exported: tests/test_exported.py names what is missing.
INNER_SOLVERS = {
    "AcceleratedGradientDescent": bx.AcceleratedGradientDescent(
        1.0, 2 * LONG, strong_convexity=0.8
    ),
    "Descent": bx.Descent(optax.sgd(1.0), LONG),
    "FixedPointIteration": bx.FixedPointIteration(LONG),
    "GradientDescent": _DESCENT,
    "HeavyBall": bx.HeavyBall(1.0, 2 * LONG, strong_convexity=0.8),
    "Newton": bx.Newton(2, linear=bx.CG(3)),
    "Optimistix": bx.Optimistix(optimistix.BFGS(1e-12, 1e-13), 50),
    "ReducedDescent": bx.ReducedDescent(0.3, bx.STORM(0.5), LONGER, 4),
    "SAG": bx.SAG(0.1, LONGER, 4),
    "SGD": bx.SGD(0.3, LONGER, 4),
    "SVRG": bx.SVRG(0.3, LONGER, 4, epoch=20),
    "Sinkhorn": bx.Sinkhorn(LONG),
    "StochasticFixedPoint": bx.StochasticFixedPoint(0.3, LONGER, 4),
}
ADJOINT_SOLVERS = {
    "CG": bx.CG(3),
    "Direct": bx.Direct(),
    "Neumann": bx.Neumann(step_size=1.0, num_steps=LONG),
    "Nystrom": bx.Nystrom(rank=3, regularisation=1e-9),
}
SAMPLERS = {
    "Batches": bx.Batches(np.arange(12).reshape(3, 4)),
    "Blocks": bx.Blocks(4),
    "Epochs": bx.Epochs(4),
    "FullBatch": bx.FullBatch(),
    "RandomRows": bx.RandomRows(4),
}
ESTIMATORS = {
    "Analytic": bx.Analytic(_DESCENT),
    "FiniteDifference": bx.FiniteDifference(_DESCENT),
    "Implicit": bx.Implicit(_DESCENT, _DESCENT),
    "Joint": bx.Joint(
        ADJOINT_SOLVERS["Neumann"],
        bx.Sample(),
        1.0,
        num_inner_steps=LONG,
        order="in turn",
    ),
    "OneStep": bx.OneStep(_DESCENT),
    "Penalty": bx.Penalty(_DESCENT, bx.GradientDescent(0.1, 2), multiplier=5.0),
    "Unrolled": bx.Unrolled(_DESCENT),
}
# What they estimate is not the gradient itself, or not at once.
BIASED = {"FiniteDifference", "OneStep", "Penalty", "bome", "f2sa", "pzobo"}
ALGORITHMS = {
    "Algorithm": bx.Algorithm(bx.Implicit(_DESCENT, bx.CG(3)), 0.1),
    "accbio": bx.algorithms.accbio(
        **_BOTH, outer_strong_convexity=1.0, inner_strong_convexity=0.8
    ),
    "aid_bio": bx.algorithms.aid_bio(**_CG),
    "aid_cg": bx.algorithms.aid_cg(**_CG),
    "aid_cg_ws": bx.algorithms.aid_cg_ws(**_CG),
    "aid_fp": bx.algorithms.aid_fp(**_BOTH),
    "aid_gd": bx.algorithms.aid_gd(**_THREE),
    "aid_n": bx.algorithms.aid_n(**_THREE),
    "amigo_accelerated": bx.algorithms.amigo_accelerated(**_THREE, inner_strong_convexity=0.8),
    "amigo_cg": bx.algorithms.amigo_cg(**_CG),
    "amigo_gd": bx.algorithms.amigo_gd(**_THREE),
    "amigo_sag": bx.algorithms.amigo_sag(
        **_STEPS | {"inner_step_size": 0.1, "inner_steps": LONGER},
        adjoint_step_size=1.0,
        adjoint_steps=LONG,
        inner_batch_size=4,
    ),
    "ba": bx.algorithms.ba(**_STEPS),
    "bome": bx.algorithms.bome(**_STEPS, penalised_step_size=0.1),
    "f2sa": bx.algorithms.f2sa(
        outer_step_size=0.1,
        inner_step_size=0.5,
        penalised_step_size=0.1,
        inner_batch_size=4,
        cross_batch_size=3,
    ),
    "itd": bx.algorithms.itd(**_STEPS),
    "pzobo": bx.algorithms.pzobo(**_STEPS),
    "reverse": bx.algorithms.reverse(**_STEPS),
    "sid": bx.algorithms.sid(
        outer_step_size=0.1,
        inner_step_size=0.3,
        inner_steps=LONGER,
        adjoint_steps=4 * LONG,
        inner_batch_size=4,
    ),
    "stocbio": bx.algorithms.stocbio(**_THREE),
}
# Their estimates take a step of y, or one random term: many of them lead to the gradient.
_ONE = {"outer_step_size": 0.1, "inner_step_size": 0.3, "inner_batch_size": 4}
_ONE_OF_EACH = _ONE | {"adjoint_step_size": 0.3}
_TERM = _ONE_OF_EACH | {"adjoint_steps": 3}
SINGLE_LOOP = {
    "bsa": bx.algorithms.bsa(**_TERM, outer_batch_size=None),
    "fsla": bx.algorithms.fsla(**_ONE),
    "ma_soba": bx.algorithms.ma_soba(**_ONE_OF_EACH),
    "mrbo": bx.algorithms.mrbo(**_TERM),
    "saba": bx.algorithms.saba(**_ONE_OF_EACH),
    "soba": bx.algorithms.soba(**_ONE_OF_EACH),
    "srba": bx.algorithms.srba(**_ONE_OF_EACH),
    "sustain": bx.algorithms.sustain(**_TERM),
    "ttsa": bx.algorithms.ttsa(**_TERM, outer_batch_size=None),
    "vrbo": bx.algorithms.vrbo(**_TERM),
}
ALGORITHMS |= SINGLE_LOOP
EXPORTED = INNER_SOLVERS | ADJOINT_SOLVERS | SAMPLERS | ESTIMATORS | ALGORITHMS


def estimator_with(name):
    """The entry of that name in `EXPORTED`, in an estimator where it is not one."""
    entry = EXPORTED[name]
    if name in INNER_SOLVERS:
        return bx.Implicit(entry, _DESCENT)
    if name in ADJOINT_SOLVERS:
        return bx.Implicit(_DESCENT, entry)
    if name in SAMPLERS:
        return bx.Implicit(bx.SGD(0.3, LONGER, entry), _DESCENT)
    return entry.hypergradient if name in ALGORITHMS else entry


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def relative_error(a, b):
    a, b = flat(a), flat(b)
    return np.linalg.norm(a - b) / np.linalg.norm(b)
