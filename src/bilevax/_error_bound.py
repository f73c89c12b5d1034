r"""How far a hypergradient is from the exact one, at most.

Everything follows from the residual $r = \partial_y g(x, y)$ that an approximate solution
leaves: with strong convexity $\mu$ its error e is at most $|r| / \mu$. The bounds expand
around the computed y and not around $y^*$, so that all they need is known there.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import PyTree

from ._check import as_variable
from ._constants import Constants
from ._data import num_rows
from ._equation import Adjoint
from ._hypergradient import Hypergradient
from ._problem import AbstractProblem, BilevelProblem, MinProblem
from ._sampling import full
from ._types import Estimator, Problem
from .hypergradients import Analytic, Implicit, Unrolled
from .solvers import Direct


class ErrorBound(NamedTuple):
    r"""A bound on $|\psi - \nabla \ell(x)|$, and what it is made of.

    - `value`: the bound, Euclidean; infinite where something it needs is not known.
    - `inner_error`: the bound on $|y - y^*(x)|$ in it.
    - `rounding`: the part of it that more iterations do not remove.
    - `reason`: why it is infinite; empty where it is not.
    """

    value: float
    inner_error: float
    rounding: float
    reason: str = ""


def error_bound(
    problem: Problem,
    estimator: Estimator,
    x: PyTree,
    h: Hypergradient,
    constants: Constants | None = None,
) -> ErrorBound:
    r"""A certificate: the error of a hypergradient is at most `value`.

    With the residual r, the inner error $e \le |r| / \mu$, $B = \Lambda_2 / \mu$ and
    $\Lambda = \Lambda_{21} + B \Lambda_{11}$, in the letters of `bx.Constants`:

    | estimator | bound |
    |---|---|
    | `Analytic` on a `MinProblem` | $\Lambda_2 e$ (Ablin et al. 2020, Prop. 2.1) |
    | `Implicit` on a `MinProblem` | $\frac{\Lambda}{2} e^2 + B \lvert s \rvert$ |
    | `Unrolled` on a `MinProblem` | $\lvert g^2 - g^3 \rvert$ and the bound of $g^3$ |
    | `Implicit` otherwise | see below |

    s is the residual of the adjoint system. The second is sharper than the paper's
    Prop. 2.3, whose term $\Lambda_J \Lambda_1 e^2$ an expansion around y avoids. There e is
    also at most the smaller root of $e = |H^{-1} r| + \frac{\Lambda_{11}}{2\mu} e^2$, once
    $|r|/\mu$ is below the larger one. For `Unrolled` this function solves one dense
    system, so that y must be small. For a bilevel problem,

    $$\Lambda_{fx} e + \Lambda_{21} |z| e + B (|s| + \Lambda_{11} |z| e + \Lambda_{fy} e).$$

    To these an estimate of the rounding errors is added: the unit roundoff times the
    terms' sizes, times the root of the numbers that are summed.

    **Arguments:**

    - `problem`, `estimator`, `x`: what `h` is a hypergradient of. All rows are read.
    - `h`: of `bx.hypergradient`.
    - `constants`: valid for all y between h.y and the solution; by default those of the
      problem. `strong_convexity` must be a lower bound. A measured smallest eigenvalue
      is an upper one, so nothing is measured here: what is missing makes the bound
      infinite, and `reason` names it.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> ridge = bx.problems.RidgeRegression(jnp.eye(2), 0.5)
    >>> x, estimator = jnp.array([2.0, 4.0]), bx.Analytic(bx.GradientDescent(0.5, 5))
    >>> h = bx.hypergradient(ridge.problem, estimator, x, ridge.y0)
    >>> bound = bx.error_bound(ridge.problem, estimator, x, h)
    >>> error = jnp.linalg.norm(h.gradient - ridge.gradient(x))
    >>> bool(error <= bound.value <= 2 * error)
    True
    """
    known: Any = constants
    if known is None:
        made = getattr(problem, "constants", None)
        known = Constants() if made is None else made(x)
    if not isinstance(problem, MinProblem | BilevelProblem):
        return _unknown("bounds are for problems whose inner level minimises")
    is_minimum = isinstance(problem, MinProblem)
    needs = _needs(estimator, is_minimum)
    if isinstance(needs, str):
        return _unknown(needs)
    missing = known.missing(*needs)
    if missing or not known.strong_convexity:
        names = ", ".join(missing or ["a positive strong_convexity"])
        return _unknown(f"not known: {names}. Pass them as constants=bx.Constants(...)")
    seen = jax.device_get(_look(problem, estimator, as_variable("x", x), h.y, h.adjoint))
    bound = _of_minimum if is_minimum else _of_bilevel
    *norms, implicit = seen
    norms: Any = [float(norm) for norm in norms]
    return bound(estimator, known, _Seen._make([*norms, implicit]), h)


def _needs(estimator: Estimator, is_minimum: bool) -> tuple[str, ...] | str:
    """The constants that a bound takes, or why there is none."""
    basic = ("strong_convexity", "cross_smoothness")
    second = ("hessian_lipschitz", "cross_lipschitz")
    if is_minimum and isinstance(estimator, Analytic):
        return basic
    if is_minimum and isinstance(estimator, Unrolled | Implicit):
        return basic + second
    if isinstance(estimator, Implicit):
        return (*basic, *second, "outer_smoothness", "outer_cross_smoothness")
    if isinstance(estimator, Analytic):
        return "the analytic gradient of a bilevel problem does not converge to the exact one"
    return "there is no bound for this estimator on a bilevel problem: use bx.Implicit"


class _Seen(NamedTuple):
    """Norms at (x, y, z), and the implicit gradient."""

    residual: float  # |r|
    residual_size: float  # of the terms that cancel in r
    adjoint: float  # |z|
    adjoint_residual: float  # |H z + f_y|
    adjoint_size: float
    gradient_size: float
    num: float  # numbers summed in a residual
    unit: float  # unit roundoff
    implicit: PyTree  # f_x + K z


@eqx.filter_jit
def _look(problem: AbstractProblem, estimator, x, y, z):
    batch = full(problem.inner_data, "auto")
    _, (f_x, f_y) = problem.value_and_gradients(x, y, full(problem.outer_data, "auto"))
    linearization = problem.linearize(x, y, batch)
    equation = Adjoint(problem, x, y, f_y, linearization)
    if z is None or isinstance(estimator, Unrolled):
        solver = Direct(cutoff=None)
        state = solver.init(equation, y)
        z = solver.solve(equation, None, state, jax.random.key(0), 0)[0]
    residual, at_y = problem.residual(x, y, batch), linearization.hvp(y)
    norm, cross = optax.tree.norm, linearization.cross(z)
    size = norm(at_y) + norm(optax.tree.sub(residual, at_y))
    dtype = jnp.result_type(*jax.tree.leaves(y))
    count = jnp.asarray(optax.tree.size(y) + num_rows(problem.inner_data), dtype)
    at_z, cross_y = linearization.hvp(z), linearization.cross(y)
    return (
        norm(residual),
        size,
        norm(z),
        norm(optax.tree.add(at_z, equation.offset)),
        norm(at_z) + norm(equation.offset),
        norm(cross_y) + norm(optax.tree.sub(f_x, cross_y)) + norm(cross),
        count,
        jnp.asarray(jnp.finfo(dtype).eps, dtype),
        optax.tree.add(f_x, cross),
    )


def _of_minimum(estimator, c: Any, seen: _Seen, h: Hypergradient) -> ErrorBound:
    rounding = _Rounding(c, seen)
    if isinstance(estimator, Analytic):
        e = rounding.inner + seen.residual / c.strong_convexity
        value = c.cross_smoothness * e
        lost = c.cross_smoothness * rounding.inner + rounding.gradient
        return ErrorBound(value + rounding.gradient, e, lost)
    e = _newton_error(c, seen, rounding)
    solve = c.jacobian_bound * (seen.adjoint_residual + rounding.adjoint)
    value = c.remainder / 2 * e**2 + solve + rounding.gradient
    if isinstance(estimator, Unrolled):
        value += float(optax.tree.norm(optax.tree.sub(h.gradient, seen.implicit)))
    return ErrorBound(value, e, c.jacobian_bound * rounding.adjoint + rounding.gradient)


def _of_bilevel(estimator, c: Any, seen: _Seen, h: Hypergradient) -> ErrorBound:
    rounding = _Rounding(c, seen)
    e = rounding.inner + seen.residual / c.strong_convexity
    z, s = seen.adjoint, seen.adjoint_residual + rounding.adjoint
    slopes = c.outer_cross_smoothness + c.cross_lipschitz * z
    system = s + c.hessian_lipschitz * z * e + c.outer_smoothness * e
    value = slopes * e + c.jacobian_bound * system + rounding.gradient
    return ErrorBound(value, e, c.jacobian_bound * rounding.adjoint + rounding.gradient)


def _newton_error(c: Any, seen: _Seen, rounding: "_Rounding") -> float:
    r"""$|y - y^*|$ at most, with the Newton step $-z = H^{-1} r$ where that is better."""
    plain = rounding.inner + seen.residual / c.strong_convexity
    left = (seen.adjoint_residual + rounding.adjoint) / c.strong_convexity
    step = seen.adjoint + left + rounding.inner
    bend = c.hessian_lipschitz / (2 * c.strong_convexity)
    discriminant = 1 - 4 * step * bend
    if discriminant <= 0:
        return plain
    root = math.sqrt(discriminant)
    if bend and plain >= (1 + root) / (2 * bend):
        return plain
    # The smaller root in a form without cancellation.
    return min(plain, 2 * step / (1 + root))


class _Rounding:
    """Estimates of what rounding adds to the inner error, the adjoint and the gradient."""

    def __init__(self, c: Any, seen: _Seen):
        unit = 2 * seen.unit * math.sqrt(seen.num)
        self.inner = unit * seen.residual_size / c.strong_convexity
        self.adjoint = unit * seen.adjoint_size
        self.gradient = unit * seen.gradient_size


def _unknown(reason: str) -> ErrorBound:
    return ErrorBound(math.inf, math.inf, math.inf, reason)
