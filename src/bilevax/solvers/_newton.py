"""Newton's method on the inner problem."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Int, PyTree

from .._core.cost import Cost, is_wide
from .._core.result import Result, all_finite, finite_or, first_failure
from .._core.tree import negative, norm, scale
from .._core.types import Number, NumSteps, Scalar
from .._rows.batch import full
from .._rows.sampler import AbstractSampler
from .._rows.samplers import as_sampler
from ._base import AbstractSolver, Solver, check_solver, checked_num_steps
from ._cg import CG
from ._default import is_small, unit_roundoff
from ._direct import Direct
from ._equation import AdjointEquation, as_inner
from ._line_search import Point, backtrack
from ._tolerance import AbstractTolerantSolver, as_tolerance


class _NewtonState(eqx.Module):
    """The value and gradient at the present y, and what the solve has called."""

    value: Array
    gradient: PyTree
    trials: Int[Array, ""]
    products: Int[Array, ""]
    finished: Bool[Array, ""]  # no step is left to take
    stalled: Bool[Array, ""]  # though the gradient is above its rounding errors
    indefinite: Bool[Array, ""]  # the Hessian of the last step


class Newton(AbstractTolerantSolver):
    r"""Newton's method with a line search: $H d = -\nabla_y g$, $y \mathrel{+}= t d$.

    For inner problems that minimise. Each step solves its linear system by `linear`, on all
    rows, and tries t = 1 first, then shorter steps until
    $g(y + t d) \le g(y) + 10^{-4} t \nabla_y g^\top d$ (Armijo). Where g is too flat for its
    values to tell, the gradient's norm must shrink instead, so that the iteration ends at the
    rounding errors of the gradient; it stops there by itself, at the price of the system and
    the trials of one step.

    Where H is indefinite, or the linear solve breaks down, whatever descent direction it leaves
    is taken (of `bx.CG` what it found before the negative curvature, a truncated Newton
    step), and minus the gradient if there is none, as long as the curvature along it says.
    That is no failure unless the solve ends so, without meeting a tolerance: then the result is
    `bx.Result.indefinite`. A line search that finds no step, away from the rounding errors, is
    one too, `bx.Result.inner_stalled`. `must_converge=False` accepts both.

    **Cost:** an inner gradient for the start and for each trial of a line search, which
    evaluates value and gradient together, and the products of the linear solver. H is
    linearised once a step. `bx.Implicit` linearises once more for the adjoint and the cross
    product, at the y that this solver returns: its own last linearisation is that of the
    y before, and has no derivative in x.

    **Arguments:**

    - `num_steps`: the most steps of one solve, an int or a function of the outer step k.
    - `linear`: the solver of the linear systems, one that reads all rows: by default
      `bx.Direct()` for a y of up to 200 numbers, else `bx.CG(100, tol=...)` with half the
      digits; `bx.CG(n, preconditioner=...)` for stiff penalties.
    - `tol`: stop when $\|\nabla_y g\|$ at y is at most that.
    - `must_converge`: as in `bx.Descent`.

    >>> import bilevax as bx, jax, jax.numpy as jnp
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: jnp.sum(y), inner=lambda x, y: jnp.sum(jnp.exp(y) - x * y))
    >>> estimator = bx.Implicit(bx.Newton(20), bx.Direct())
    >>> h = bx.hypergradient(problem, estimator, jnp.array([2.0, 4.0]), jnp.full(2, 5.0))
    >>> h.gradient.round(4).tolist()  # of the sum of logarithms
    [0.5, 0.25]

    **Reference:** J. Nocedal and S. Wright, Numerical Optimization, 2nd edition, 2006,
    sections 3.1 and 7.1.
    """

    num_steps: NumSteps
    linear: AbstractSolver | None
    sampler: AbstractSampler
    tol: Scalar | None
    must_converge: bool | None = eqx.field(static=True)

    # The gradient may grow on a way that goes down.
    growth_tells: ClassVar[bool] = False

    def __init__(
        self,
        num_steps: NumSteps,
        *,
        linear: Solver | None = None,
        tol: Number | None = None,
        must_converge: bool | None = None,
    ):
        self.num_steps = checked_num_steps(num_steps)
        self.linear = None if linear is None else check_solver("linear", linear)
        if self.linear is not None and not _reads_all(self.linear):
            raise ValueError(_ALL_ROWS)
        self.sampler = as_sampler(None)
        self.tol = as_tolerance(tol, self.sampler)
        self.must_converge = must_converge

    @property
    def stops_early(self):
        return True

    def init_method(self, equation, u):
        batch = full(equation.data, None)
        value, _ = jax.eval_shape(
            lambda u: as_inner(equation, _NOT_INNER).value_and_residual(u, batch), u
        )
        return _start(jnp.zeros((), value.dtype), optax.tree.zeros_like(u))

    def begin(self, equation, u, state):
        value, gradient = equation.value_and_residual(u)
        state = state.with_method(_start(value, gradient)).with_watch(
            state.watch.see(norm(gradient))
        )
        return u, state, 0, 1

    def step(self, equation, u, state, batch):
        s, equation = state.method, as_inner(equation, _NOT_INNER)
        system = equation.linearized(u, s.gradient, batch)
        direction, products, result = self._solve(system, state.clock.k)
        direction, more = _descent(system, direction)
        evaluate = lambda y: equation.value_and_residual(y, batch)
        found = backtrack(evaluate, Point(u, s.value, s.gradient), direction)
        y, value, gradient = found.point
        method = _NewtonState(
            value,
            gradient,
            s.trials + found.trials,
            s.products + products + more,
            ~found.moved | _vanishes(gradient),
            ~found.moved & ~found.rounding,
            result == Result.indefinite,
        )
        return y, state.tick(method, self.seen(gradient))

    def done(self, state):
        return super().done(state) | state.method.finished

    def converged(self, state):
        return super().done(state)

    def extra_calls(self, state):
        return state.method.trials - state.clock.i  # each step counts one itself

    def spent(self, run, state):
        rows = self.sampler.rows(run.equation.data)
        return super().spent(run, state) + Cost.of("hvp", state.method.products, rows)

    def result(self, equation, u, state):
        finite = finite_or((state.method.value, state.method.gradient), Result.inner_nonfinite)
        s, accepted = state.method, self.converged(state) | (self.must_converge is False)
        stalled = Result.where(s.stalled & ~accepted, Result.inner_stalled, Result.successful)
        open_end = s.indefinite & ~s.finished & ~accepted
        indefinite = Result.where(open_end, Result.indefinite, Result.successful)
        return first_failure(finite, super().result(equation, u, state), stalled, indefinite)

    def _solve(self, system: AdjointEquation, k):
        """The direction that the linear solver finds, its number of products, the result."""
        zeros = system.zeros()
        linear = _default(zeros) if self.linear is None else self.linear
        state = linear.init(system, zeros)
        key = jax.random.key(0)  # nothing is drawn
        d, _, cost, result = linear.solve_or_keep(system, None, zeros, state, key, k)
        return d, _as_int32(cost.hvp), result


def _start(value: Array, gradient: PyTree) -> _NewtonState:
    zero, no = jnp.int32(0), jnp.array(False)
    return _NewtonState(value, gradient, zero, zero, _vanishes(gradient), no, no)


def _default(y: PyTree) -> AbstractSolver:
    return Direct() if is_small(y) else CG(100, tol=unit_roundoff(y) ** 0.5)


def _reads_all(linear: AbstractSolver) -> bool:
    return linear.sampler.deterministic and not linear.random


def _descent(system: AdjointEquation, d: PyTree):
    """The direction if g descends along it, else minus its gradient; the products it took."""
    gradient = system.offset
    length, along = _unit(gradient)
    cosine = jnp.asarray(optax.tree.vdot(along, _unit(d)[1]))
    sound = all_finite(d) & (cosine < -jnp.finfo(cosine.dtype).eps)

    def steepest():
        curvature = norm(system.operator()(along))
        step = length / jnp.where(curvature > 0, curvature, 1)
        return negative(scale(step, along)), jnp.int32(1)

    needed = ~sound & (length > 0)
    return jax.lax.cond(needed, steepest, lambda: (d, jnp.int32(0)))


def _unit(v: PyTree):
    """Length and direction."""
    length = norm(v)
    return length, scale(1 / jnp.where(length > 0, length, 1), v)


def _vanishes(gradient: PyTree) -> Bool[Array, ""]:
    return jnp.asarray(norm(gradient) == 0)


def _as_int32(calls: Any) -> Int[Array, ""]:
    """A number of calls of one solve, which is never large."""
    return jnp.asarray(calls.low if is_wide(calls) else calls, jnp.int32)


_NOT_INNER = (
    "bx.Newton is for inner problems; the adjoint system is linear: solve it with what solves "
    "Newton's own systems, such as bx.Direct() or bx.CG(num_steps)."
)
_ALL_ROWS = (
    "Newton's systems are solved on all rows, and this linear solver draws some: leave its "
    "`batch_size` out."
)
