r"""How far a hypergradient is from the exact one, at most.

Everything follows from the residual $r = \partial_y g(x, y)$ that an approximate solution
leaves: with strong convexity $\mu$ its error e is at most $|r| / \mu$. The bounds expand
around the computed y and not around $y^*$, so that all they need is known there, or look
at the next Newton iterate, of which the residual is known as well.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import PyTree

from .._core.tree import norm
from .._rows.batch import full
from .._rows.data import num_rows
from .._rows.samplers import common_block_size
from .._run.check import as_variable
from .._run.curvature import curvature
from .._run.hypergradient import Hypergradient
from ..hypergradients import Analytic, Implicit, Unrolled
from ..hypergradients._base import Estimator
from ..problems._base import AbstractProblem, BilevelProblem, MinProblem, Problem
from ..problems._constants import Constants
from ..solvers import Direct
from ..solvers._equation import AdjointEquation
from .noise import noise


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
    *,
    constants: Constants | None = None,
) -> ErrorBound:
    r"""A certificate: the error of a hypergradient is at most `value`.

    With the residual r, the inner error $e \le |r| / \mu$, $B = \Lambda_2 / \mu$ and
    $\Lambda = \Lambda_{21} + B \Lambda_{11}$, in the letters of `bx.Constants`, and s the
    residual of the adjoint system:

    | estimator | bound |
    |---|---|
    | `Analytic` on a `MinProblem` | $\Lambda_2 e$ (Ablin et al. 2020, Prop. 2.1) |
    | `Implicit` on a `MinProblem` | $\frac{\Lambda}{2} e^2 + B \lvert s \rvert$ |
    | `Unrolled` on a `MinProblem` | $\lvert g^2 - g^3 \rvert$ and the bound of $g^3$ |
    | `Implicit` otherwise | see below |

    The second is sharper than the paper's Prop. 2.3, whose term $\Lambda_J \Lambda_1 e^2$ an
    expansion around y avoids. The second and the third are often still too large, since
    constants are worst cases. There z is the Newton step too, and the derivatives at
    $y_+ = y + z$, whose error is at most $e_+ = |\partial_y L(x, y_+)| / \mu$, tell of y and
    of any $\psi$:

    $$|y - y^*| \le |z| + e_+, \qquad
    |\psi - \nabla \ell(x)| \le |\psi - \partial_x L(x, y_+)| + \Lambda_2 e_+,$$

    for one gradient more, without a constant of second derivatives, and whatever z is. The
    smaller bound counts. For `Unrolled` this function solves one dense system for z, so
    that y must be small. For `Implicit` on a bilevel problem,

    $$\Lambda_{fx} e + \Lambda_{21} |z| e + B (|s| + \Lambda_{11} |z| e + \Lambda_{fy} e).$$

    To these are added what random rows changed in h, which is seen since all rows are read
    here, and an estimate of the rounding errors: the unit roundoff times the terms' sizes,
    times the root of the numbers that are summed, or, where it is larger, what high
    differences of both objectives' gradients show of their rounding. Terms that cancel
    within a gradient, such as the s of $|y + s|^2 / 2 - (x + s) y$, or targets far larger than
    their mean, lose digits that no sizes tell of. The differences see them up to about
    $\epsilon^{-2/3}$ times the size of y (3e10 in float64, 4e4 in float32). Beyond, the bound
    is infinite where the inner gradient no longer moves with y; what the outer gradient
    loses there, and errors that are alike at all points nearby, nothing sees: subtract
    such terms beforehand, or certify in float64 what was computed in float32.

    **Arguments:**

    - `problem`, `estimator`, `x`: what `h` is a hypergradient of.
    - `h`: of `bx.hypergradient`.
    - `constants`: a `bx.Constants`, valid on a convex set that holds h.y, $y_+$ and the
      solution; by default those of the problem, which it replaces, all of them.
      `strong_convexity` must be a lower bound. A measured smallest eigenvalue is an upper
      one, so it is not measured: what is missing makes the bound infinite, and
      `reason` names it. `smoothness` is for the rounding errors of an ill-conditioned
      Hessian only, and without it the largest eigenvalue at h.y is measured as by
      `bx.curvature`, and taken twice. With a gauge, strong convexity is that on the
      quotient, and the bound one of the gradient up to $\partial_{xy} g$ of the gauge's
      directions: for histograms, of the centred gradient.

    Not under `jit`: the bound is a number.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> ridge = bx.problems.RidgeRegression(jnp.eye(2), 0.5)
    >>> x, estimator = jnp.array([2.0, 4.0]), bx.Analytic(bx.GradientDescent(0.5, 5))
    >>> h = bx.hypergradient(ridge.problem, estimator, x, ridge.y0)
    >>> bound = bx.error_bound(ridge.problem, estimator, x, h)
    >>> error = jnp.linalg.norm(h.gradient - ridge.gradient(x))
    >>> bool(error <= bound.value <= 2 * error)
    True
    """
    if not isinstance(h, Hypergradient):
        raise TypeError(f"h must be what bx.hypergradient returns, got {type(h).__name__}.")
    if isinstance(estimator, Implicit) and h.adjoint is None:
        raise ValueError("h has no adjoint: it is not a hypergradient of this estimator.")
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
    at = as_variable("x", x), h.y, h.adjoint, h.gradient
    # Its number of steps and the like would compile it anew.
    kind = next(k for k in (Analytic, Unrolled, Implicit) if isinstance(estimator, k))
    found = _look(problem, kind, common_block_size(estimator), *at)
    seen = jax.tree.map(float, jax.device_get(found))
    if seen.stuck:
        return _unknown(_STUCK)
    known = _with_smoothness(known, problem, estimator, at[0], h.y)
    bound = (_of_minimum if is_minimum else _of_bilevel)(estimator, known, seen)
    if not math.isfinite(bound.value):
        return _unknown("the hypergradient or what it is made of is not finite: see h.result")
    return bound


def _with_smoothness(known: Any, problem: AbstractProblem, estimator, x, y) -> Any:
    """The constants, the smoothness measured where it is missing: for rounding terms only."""
    if known.smoothness is not None:
        return known
    c = curvature(problem, x, y, num_products=15, block_size=common_block_size(estimator))
    size = float(max(abs(c.smoothness), abs(c.strong_convexity)))
    # Lanczos may have stopped short of the largest eigenvalue, hardly of its half.
    smoothness = 2 * size if math.isfinite(size) else math.inf
    return dataclasses.replace(known, smoothness=smoothness)


def _needs(estimator: Estimator, is_minimum: bool) -> tuple[str, ...] | str:
    """The constants that a bound takes, or why there is none."""
    basic = ("strong_convexity", "cross_smoothness")
    if is_minimum and isinstance(estimator, Analytic | Unrolled | Implicit):
        return basic
    if isinstance(estimator, Implicit):
        second = ("hessian_lipschitz", "cross_lipschitz")
        return (*basic, *second, "outer_smoothness", "outer_cross_smoothness")
    if isinstance(estimator, Analytic):
        return (
            "the analytic gradient has a bound on a bx.MinProblem only: elsewhere it is biased"
        )
    return "there is no bound for this estimator on a bilevel problem: use bx.Implicit"


class _Point(NamedTuple):
    """Norms at an inner variable."""

    size: Any  # of the variable
    residual: Any
    terms: Any  # that cancel in the residual


class _Seen(NamedTuple):
    """Norms at (x, y, z) and, on a `MinProblem`, at y + z."""

    y: _Point
    newton: _Point
    adjoint: Any  # |z|
    adjoint_residual: Any  # |H z + f_y|
    adjoint_size: Any
    gradient_size: Any
    num: Any  # numbers summed in a residual
    unit: Any  # unit roundoff
    residual_noise: Any  # rounding errors of the residual, f_x and f_y, as differences show
    f_x_noise: Any
    f_y_noise: Any
    stuck: Any  # whether the residual does not move where y does
    from_implicit: Any  # |psi - (f_x + K z)|
    from_newton: Any  # |psi - f_x(x, y + z)|


@eqx.filter_jit
def _look(problem: AbstractProblem, kind: type, block_size, x, y, z, gradient) -> _Seen:
    away = lambda a, b: norm(optax.tree.sub(a, b))
    batch, rows = (full(d, block_size) for d in (problem.inner_data, problem.outer_data))
    f_x, f_y = problem.value_and_gradients(x, y, rows)[1]
    linearization = problem.linearize(x, y, batch)
    equation = AdjointEquation(problem, x, y, f_y, linearization)
    if kind is Analytic:
        z = optax.tree.zeros_like(y)
    elif kind is Unrolled:
        solver = Direct(cutoff=None)
        z = solver.solve(equation, None, solver.init(equation, y), jax.random.key(0), 0)[0]
    at_z, cross_z = linearization.hvp(z), linearization.cross(z)
    at_y, cross_y = linearization.hvp(y), linearization.cross(y)

    def point(v, product):
        residual = problem.residual(x, v, batch)
        return _Point(norm(v), norm(residual), norm(product) + away(residual, product))

    here = newton = point(y, at_y)
    newton_f_x = f_x
    if isinstance(problem, MinProblem) and kind is not Analytic:
        after = optax.tree.add(y, z)
        newton = point(after, optax.tree.add(at_y, at_z))
        newton_f_x = problem.value_and_gradients(x, after, rows)[1][0]

    def gradients(v):
        f_x, f_y = problem.value_and_gradients(x, v, rows)[1]
        return problem.residual(x, v, batch), f_x, f_y

    found = noise(gradients, y)
    residual_noise, f_x_noise, f_y_noise = found.sizes
    stuck = norm(found.changes[0]) < 0.1 * norm(linearization.hvp(found.move))
    dtypes = [jnp.result_type(*jax.tree.leaves(tree)) for tree in (x, y)]
    return _Seen(
        y=here,
        newton=newton,
        adjoint=norm(z),
        adjoint_residual=norm(optax.tree.add(at_z, equation.offset)),
        adjoint_size=norm(at_z) + norm(equation.offset),
        gradient_size=norm(cross_y) + away(f_x, cross_y) + norm(cross_z),
        num=optax.tree.size(y) + num_rows(problem.inner_data),
        unit=max(float(jnp.finfo(dtype).eps) for dtype in dtypes),
        residual_noise=residual_noise,
        f_x_noise=f_x_noise,
        f_y_noise=f_y_noise,
        stuck=stuck,
        from_implicit=away(gradient, optax.tree.add(f_x, cross_z)),
        from_newton=away(gradient, newton_f_x),
    )


def _of_minimum(estimator, c: Any, seen: _Seen) -> ErrorBound:
    rounding = _Rounding(c, seen)
    e = rounding.inner + seen.y.residual / c.strong_convexity
    if isinstance(estimator, Analytic):
        value = seen.from_implicit + c.cross_smoothness * e + rounding.gradient
        return ErrorBound(value, e, c.cross_smoothness * rounding.inner + rounding.gradient)
    after = rounding.newton + seen.newton.residual / c.strong_convexity
    e = min(e, seen.adjoint + after)
    value = seen.from_newton + c.cross_smoothness * after
    lost = c.cross_smoothness * rounding.newton
    if c.remainder is not None:
        # The right-hand side of the system is the residual, rounded as it is.
        rounded = c.jacobian_bound * rounding.adjoint + c.cross_smoothness * rounding.inner
        system = c.jacobian_bound * seen.adjoint_residual + rounded
        by_expansion = seen.from_implicit + c.remainder / 2 * e**2 + system
        if by_expansion < value:
            value, lost = by_expansion, rounded
    return ErrorBound(value + rounding.gradient, e, lost + rounding.gradient)


def _of_bilevel(estimator, c: Any, seen: _Seen) -> ErrorBound:
    rounding = _Rounding(c, seen)
    e = rounding.inner + seen.y.residual / c.strong_convexity
    bend = c.hessian_lipschitz * seen.adjoint + c.outer_smoothness
    slope = c.outer_cross_smoothness + c.cross_lipschitz * seen.adjoint
    slope += c.jacobian_bound * bend
    lost = slope * rounding.inner + c.jacobian_bound * rounding.adjoint + rounding.gradient
    system = c.jacobian_bound * (seen.adjoint_residual + rounding.adjoint)
    value = seen.from_implicit + slope * e + system + rounding.gradient
    return ErrorBound(value, e, lost)


# Of rounding errors: beside rare ones for those that are alike at all points nearby.
_DEVIATIONS = 16


class _Rounding:
    """Estimates of what rounding adds to the inner error, the adjoint and the gradient."""

    def __init__(self, c: Any, seen: _Seen):
        unit = 2 * seen.unit * math.sqrt(seen.num)
        lost = _DEVIATIONS * seen.residual_noise

        def inner(p):
            # Terms also cancel within H y, which is seen by its largest size only.
            return max(unit * p.terms, unit * c.smoothness * p.size, lost) / c.strong_convexity

        self.inner, self.newton = inner(seen.y), inner(seen.newton)
        self.adjoint = unit * max(seen.adjoint_size, c.smoothness * seen.adjoint)
        self.adjoint += _DEVIATIONS * seen.f_y_noise
        self.gradient = max(unit * seen.gradient_size, _DEVIATIONS * seen.f_x_noise)


def _unknown(reason: str) -> ErrorBound:
    return ErrorBound(math.inf, math.inf, math.inf, reason)


_STUCK = (
    "the inner gradient does not change where y does, by about eps^(1/3) of its size: terms "
    "far larger than y cancel in it. Subtract them from the objective, or work in float64"
)
