"""First-order estimators: the inner problem as a penalty."""

from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Float, Int, PyTree

from .._core.cost import Cost
from .._core.keys import split
from .._core.result import Result, finite_or, first_failure
from .._core.tree import axpy
from .._core.types import Number, StepSize
from .._rows.pairs import Pairs
from .._rows.sampler import AbstractSampler, ticket_at
from .._rows.samplers import BatchSize, as_sampler
from ..schedules import is_measured
from ..solvers import AbstractSolver, Descent, SolverState
from ..solvers._base import Solver, check_solver
from ..solvers._directions import SteepestDescent
from ..solvers._equation import InnerEquation
from ..solvers._followed import FollowedDescent
from ._base import AbstractHypergradient
from ._penalised import AbstractMultiplier, DynamicBarrier, PenalisedEquation, as_multiplier
from ._stages import no_value_yet

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Start = Literal["last", "penalised"]
    Multiplier = Number | DynamicBarrier
else:
    Start = Multiplier = Any


class PenaltyState(eqx.Module):
    """The state of `Penalty`: the penalised y, the minimiser w of g alone, the multiplier."""

    k: Int[Array, ""]
    y: PyTree
    minimiser: PyTree
    multiplier: Float[Array, ""]
    value: Float[Array, ""]
    inner_solver: SolverState
    penalised_solver: SolverState
    outer_sampler: PyTree
    cross_sampler: PyTree
    adjoint: None = None

    @property
    def watches(self):
        """What is known of the inner residual, at w."""
        return {"inner": self.inner_solver.watch}


class Penalty(AbstractHypergradient):
    r"""First-order: $\partial_x f + \lambda (\partial_x g(x, y) - \partial_x g(x, w))$.

    The bilevel problem is $\min_{x, y} f(x, y)$ where
    $q(x, y) = g(x, y) - \min_w g(x, w) \le 0$, and this is the derivative in x of
    $f + \lambda q$. One estimate is

    1. `inner` improves w towards the minimum of $g(x, \cdot)$;
    2. `penalised` improves y towards that of $f(x, \cdot) + \lambda g(x, \cdot)$;
    3. $\partial_x f$ and the difference of $\partial_x g$, each on a batch of its own.

    No second derivatives are taken: $\partial_x g$, alone too, counts as `inner_gradient`. For
    given $\lambda$ the bias is of the order of $1 / \lambda$. With `bx.DynamicBarrier`, which
    needs all gradients first, y takes a single step and x moves with it from the same point,
    on one evaluation of each gradient.

    **Arguments:**

    - `inner`: the solver for w.
    - `penalised`: that for y, with a step size of its own, of the order of
      $1 / (L_f + \lambda L_g)$. Its `batch_size` is of inner rows; each of its steps draws
      outer rows, too, as `outer_batch_size` says.
    - `multiplier`: $\lambda_0$, or `bx.DynamicBarrier(rate)`.
    - `growth`: $\delta$ with $\lambda_{k+1} = \lambda_k + \delta_k$, a number or a schedule of
      k; by default 0.
    - `start`: `"last"`: w goes on from the last one; `"penalised"`: it starts from y.
    - `outer_batch_size`, `cross_batch_size`: rows for $\partial f$, and for each of the two
      $\partial_x g$: an int (random rows), a sampler, or `None` (all).

    >>> import bilevax as bx
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: (y - 1) ** 2 / 2, inner=lambda x, y: (y - x) ** 2)
    >>> steps = bx.GradientDescent(0.004, 40)
    >>> estimator = bx.Penalty(bx.GradientDescent(0.4, 30), steps, multiplier=100.0)
    >>> h = bx.hypergradient(problem, estimator, x=3.0, y0=3.0)
    >>> round(float(h.gradient), 2), h.cost.hvp
    (1.99, 0)

    **References:** J. Kwon, D. Kwon, S. Wright and R. Nowak, A fully first-order method for
    stochastic bilevel optimization, ICML 2023; B. Liu, M. Ye, S. Wright, P. Stone and Q. Liu,
    BOME! Bilevel optimization made easy: a simple first-order approach, NeurIPS 2022.
    """

    inner: AbstractSolver
    penalised: Descent
    multiplier: AbstractMultiplier
    start: str = eqx.field(static=True)
    outer_sampler: AbstractSampler
    cross_sampler: AbstractSampler

    def __init__(
        self,
        inner: Solver,
        penalised: Solver,
        multiplier: Multiplier = 1.0,
        growth: StepSize = None,
        *,
        start: Start = "last",
        outer_batch_size: BatchSize = None,
        cross_batch_size: BatchSize = None,
    ):
        self.inner = check_solver("inner", inner)
        self.multiplier = as_multiplier(multiplier, growth)
        self.penalised = _checked(penalised, self.multiplier.adapts)
        if start not in ("last", "penalised"):
            raise ValueError(f"start must be 'last' or 'penalised', got {start!r}.")
        self.start = start
        self.outer_sampler = as_sampler(outer_batch_size)
        self.cross_sampler = as_sampler(cross_batch_size)

    @property
    def random(self):
        solvers = self.inner.random or self._paired.random
        return solvers or self.outer_sampler.random or self.cross_sampler.random

    def init(self, problem, x, y, adjoint=None):
        del adjoint
        multiplier = self.multiplier.init(y)
        return PenaltyState(
            k=jnp.int32(0),
            y=y,
            minimiser=y,
            multiplier=multiplier,
            value=no_value_yet(problem, x, y),
            inner_solver=self.inner.init(InnerEquation(problem, x), y),
            penalised_solver=self._paired.init(PenalisedEquation(problem, x, multiplier), y),
            outer_sampler=self.outer_sampler.init(problem.outer_data),
            cross_sampler=self.cross_sampler.init(problem.inner_data),
        )

    def __call__(self, problem, x, state, key):
        step = _Step(self, problem, x, state, key)
        return step.together() if self.multiplier.adapts else step.in_turn()

    @property
    def _paired(self) -> Descent:
        """The solver for y, with rows of both levels at every step."""
        pairs = Pairs(self.outer_sampler, self.penalised.sampler)
        return eqx.tree_at(lambda solver: solver.sampler, self.penalised, pairs)


class _Step:
    """One estimate of a `Penalty`."""

    def __init__(self, penalty: Penalty, problem, x, state: PenaltyState, key):
        self._penalty, self._problem, self._x, self._state = penalty, problem, x, state
        self._keys = split(key, 4, penalty.random)
        start = state.y if penalty.start == "penalised" else state.minimiser
        self._w, self._inner, self._cost, result = penalty.inner.solve_or_keep(
            InnerEquation(problem, x),
            start,
            state.minimiser,
            state.inner_solver,
            self._keys[0],
            state.k,
        )
        self._results = [result]

    def in_turn(self):
        """y at the present multiplier, then the gradients there."""
        state, multiplier = self._state, self._state.multiplier
        y, solver = self._improved(PenalisedEquation(self._problem, self._x, multiplier))
        (f_x, _), (g_x, _), rest = self._gradients(y)
        following = self._penalty.multiplier.next(multiplier, state.k)
        return self._end(axpy(multiplier, g_x, f_x), y, solver, following, rest)

    def together(self):
        """The gradients at (x, y), which choose the multiplier; then a step of y along them."""
        of_f, gap, rest = self._gradients(self._state.y)
        rule: Any = self._penalty.multiplier
        multiplier = rule.chosen(of_f, gap)
        d_x, d_y = axpy(multiplier, gap, of_f)
        known = PenalisedEquation(self._problem, self._x, multiplier, d_y)
        y, solver = self._improved(known)
        return self._end(d_x, y, solver, multiplier, rest)

    def _improved(self, equation: PenalisedEquation):
        state, solver = self._state, self._penalty._paired
        y, solved, cost, result = solver.solve_or_keep(
            equation, state.y, state.y, state.penalised_solver, self._keys[1], state.k
        )
        self._cost += cost
        self._results.append(result)
        return y, solved

    def _gradients(self, y: PyTree):
        """Of f and of the gap, in x and in y; the outer value, and samplers' states."""
        penalty, problem, state = self._penalty, self._problem, self._state
        data = problem.outer_data, problem.inner_data
        outer, outer_state = penalty.outer_sampler.draw(
            data[0], state.outer_sampler, self._keys[2]
        )
        tickets, cross_state = penalty.cross_sampler.tickets(
            data[1], state.cross_sampler, self._keys[3], 2
        )
        batch = lambda i: penalty.cross_sampler.batch(data[1], ticket_at(tickets, i))
        value, of_f = problem.value_and_gradients(self._x, y, outer)
        g_x, g_y = problem.inner_gradients(self._x, y, batch(0))
        there, _ = problem.inner_gradients(self._x, self._w, batch(1))
        self._cost += Cost.of("outer_gradient", 1, penalty.outer_sampler.rows(data[0]))
        self._cost += Cost.of("inner_gradient", 2, penalty.cross_sampler.rows(data[1]))
        return of_f, (optax.tree.sub(g_x, there), g_y), (value, outer_state, cross_state)

    def _end(self, gradient, y, solver, multiplier, rest):
        value, *samplers = rest
        state = PenaltyState(
            self._state.k + 1, y, self._w, multiplier, value, self._inner, solver, *samplers
        )
        finite = finite_or((gradient, value), Result.outer_nonfinite)
        return gradient, state, self._cost, first_failure(*self._results, finite)


def _checked(penalised: Any, adapts: bool) -> Descent:
    """A solver for y that goes along the gradient, with a step of its own."""
    if not isinstance(penalised, Descent):
        raise TypeError(_NO_DESCENT.format(penalised))
    direction = penalised.transformation
    known = not isinstance(direction, SteepestDescent | FollowedDescent)
    if not known and is_measured(direction.step_size):
        raise TypeError(_NO_STEP)
    if adapts and penalised.num_steps != 1:
        raise ValueError(_ONE_STEP.format(penalised.num_steps))
    return penalised


_NO_DESCENT = (
    "penalised must go along the gradient of f + lambda g, as bx.GradientDescent(step_size, "
    "num_steps) or bx.Descent do, got {!r}."
)
_NO_STEP = (
    "The step size of `penalised` must be given: what is measured is the smoothness of g, and "
    "its step should be of the order of 1 / (smoothness of f + lambda * smoothness of g)."
)
_ONE_STEP = (
    "With bx.DynamicBarrier y takes one step for each of x, along the gradients that chose the "
    "multiplier: give `penalised` num_steps=1, got {}."
)
