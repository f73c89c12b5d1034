"""Automatic differentiation through the iterations of the inner solver."""

import math
import warnings
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .._core.cost import Cost
from .._core.keys import split
from .._core.numbers import as_count
from .._core.result import Result, finite_or, first_failure
from .._core.types import Count
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, as_sampler
from ..solvers import AbstractIterativeSolver, ReducedDescent, Solve
from ..solvers._base import IterativeSolver, check_solver
from ..solvers._equation import InnerEquation
from ._stages import AbstractTwoStage, InnerState, TwoStageState

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Mode = Literal["reverse", "forward"]
    Checkpoint = int | Literal["sqrt", "step"] | None
else:
    Mode = Checkpoint = Any


class Unrolled(AbstractTwoStage):
    r"""The automatic estimator $g^2 = \frac{d}{dx} f(x, y_t(x))$ (ITD).

    The iterations $y_0 \to y_t$ are differentiated; $y_0$, a warm start too, is a
    constant, and so is all the solver carried over. With $J_t = \partial y_t / \partial x$
    it is $\partial_x f + J_t^\top \partial_y f$ (Ablin et al. 2020, Eq. 3; Grazzi et al.
    2020).

    | mode | extra oracle calls | memory |
    |---|---|---|
    | reverse | t HVPs, t cross products | t steps |
    | reverse, `checkpoint="sqrt"` | and t gradients | 2 sqrt(t) steps |
    | reverse, `checkpoint="step"` | and t gradients | t iterates y |
    | reverse, `last=k` | k HVPs, k cross products | k steps |
    | forward | t HVPs, t cross products for each number of x | y for each number of x |

    **Arguments:**

    - `inner`: the solver of the inner problem, with a number of steps that no tolerance
      decides.
    - `last`: differentiate through the last k steps only, taking $y_{t-k}$ as a constant;
      0 is the analytic estimator, `None` all steps.
    - `mode`: `"reverse"`, or `"forward"` for a small x or very many steps; it warns of its
      cost where x has more than 100 numbers.
    - `checkpoint`: in reverse mode, recompute iterates instead of storing what their
      derivatives need: `"sqrt"` in about sqrt(t) segments, an int in so many, `"step"`
      each step from its stored iterate.
    - `warm_start_inner`, `outer_batch_size`: as in `bx.Analytic`.
    - `max_num_steps`: where the inner `num_steps` is a function of the outer step, the
      most it returns; reverse mode needs it.

    >>> import bilevax as bx
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: (y - 1) ** 2 / 2, inner=lambda x, y: (y - x) ** 2)
    >>> estimator = bx.Unrolled(bx.GradientDescent(0.4, 30))
    >>> h = bx.hypergradient(problem, estimator, x=3.0, y0=0.0)
    >>> round(float(h.gradient), 5), h.cost.hvp
    (2.0, 30)

    optax's Adam has an infinite derivative where a gradient is zero, unless it is made with
    `eps_root` above 0.

    **References:** L. Franceschi et al., Forward and reverse gradient-based
    hyperparameter optimization, ICML 2017; A. Shaban et al., Truncated back-propagation
    for bilevel optimization, AISTATS 2019.
    """

    inner: AbstractIterativeSolver
    last: int | None = eqx.field(static=True)
    mode: str = eqx.field(static=True)
    checkpoint: Checkpoint = eqx.field(static=True)
    warm_start_inner: bool
    outer_sampler: AbstractSampler
    max_num_steps: int | None = eqx.field(static=True)

    def __init__(
        self,
        inner: IterativeSolver,
        *,
        last: Count | None = None,
        mode: Mode = "reverse",
        checkpoint: Checkpoint = None,
        warm_start_inner: bool = True,
        outer_batch_size: BatchSize = None,
        max_num_steps: Count | None = None,
    ):
        self.inner = check_solver("inner", inner)
        _check(inner, last, mode, checkpoint, max_num_steps)
        self.last = None if last is None else int(last)
        self.mode = mode
        self.checkpoint = checkpoint
        self.warm_start_inner = warm_start_inner
        self.outer_sampler = as_sampler(outer_batch_size)
        self.max_num_steps = None if max_num_steps is None else int(max_num_steps)

    def __call__(self, problem, x, state, key):
        inner_key, outer_key = split(key, 2, self.random)
        y, solver = self.start_inner(problem, x, state.inner_state)
        run = self.inner.prepare(InnerEquation(problem, x), y, solver, inner_key, state.k)
        differentiated = self._differentiated(run.num_steps)
        carry = run.advance(self.inner, run.carry, run.num_steps - differentiated)

        def iterate(x):
            return self._differentiable(
                run.of(InnerEquation(problem, x)), carry, differentiated
            )

        if self.mode == "reverse":
            y, pullback, solver = jax.vjp(iterate, x, has_aux=True)
            transpose = lambda f_y: pullback(f_y)[0]
        else:
            _warn_of_size(x, y)
            y, jacobian, solver = _jacobian(iterate, x)
            transpose = lambda f_y: _contract(jacobian, f_y, x)
        steps = self.inner.length_at(state.k)
        if steps is not None:  # without steps y stays what it was, from a cold start too
            y = jax.tree.map(lambda new, old: jnp.where(steps > 0, new, old), y, state.y)
        value, (f_x, f_y), sampler, outer_cost, outer_result = self.evaluate_outer(
            problem, x, y, state.outer_sampler, outer_key
        )
        gradient = optax.tree.add(f_x, transpose(f_y))
        solver, judging = self.inner.finish(run, y, solver)
        inner = InnerState(y, state.inner_state.initial, solver)
        cost = outer_cost + self._cost(run, differentiated, x) + self.inner.cost(run, judging)
        result = first_failure(
            self._length_result(differentiated, steps),
            self.inner.result(run.equation, y, solver),
            outer_result,
            finite_or(gradient, Result.outer_nonfinite),
        )
        return gradient, TwoStageState(state.k + 1, inner, value, sampler), cost, result

    def _differentiable(self, run: Solve, carry, num):
        """`num` iterations in a form that the mode can pass: y, and the solver's state."""
        if not isinstance(num, int) and self.mode == "reverse":
            iterate = run.iterate(self.inner)
            body = lambda i, c: jax.lax.cond(i < num, iterate, lambda c: c, c)
            return jax.lax.fori_loop(0, self._room(), body, carry)
        if self.checkpoint is None or self.mode == "forward":
            return run.advance(self.inner, carry, num)
        segments = _segments(self.checkpoint, num)
        length = num // max(segments, 1)
        carry = run.advance(self.inner, carry, num - segments * length)
        segment = jax.checkpoint(lambda c: run.advance(self.inner, c, length))
        return jax.lax.fori_loop(0, segments, lambda _, c: segment(c), carry)

    def _differentiated(self, num):
        """How many of the steps are differentiated."""
        if self.last is None:
            return num
        return min(self.last, num) if isinstance(num, int) else jnp.minimum(self.last, num)

    def _room(self) -> int:
        """The most steps that reverse mode can differentiate."""
        rooms = [room for room in (self.last, self.max_num_steps) if room is not None]
        if not rooms:
            raise ValueError(_NEEDS_MAXIMUM)
        return min(rooms)

    def _length_result(self, num, steps):
        """Whether the number of steps is one, and there was room for those to differentiate."""
        if steps is None:
            return Result.successful
        sound = Result.where(steps >= 0, Result.successful, Result.negative_num_steps)
        if self.mode == "forward":
            return sound
        room = Result.where(num <= self._room(), Result.successful, Result.unrolled_max_steps)
        return first_failure(sound, room)

    def _cost(self, run: Solve, differentiated, x: PyTree) -> Cost:
        """T gradients forward; a product of each kind for every differentiated step."""
        recomputed = self.mode == "reverse" and self.checkpoint is not None
        gradients = run.num_steps + (differentiated if recomputed else 0)
        directions = optax.tree.size(x) if self.mode == "forward" else 1
        rows = self.inner.sampler.rows(run.equation.data)
        products = differentiated * directions
        return (
            self.inner.cost(run, gradients)
            + Cost.of("hvp", products, rows)
            + Cost.of("cross", products, rows)
        )


def _segments(checkpoint: int | str, num: int) -> int:
    if checkpoint == "step":
        return num
    return min(num, math.isqrt(num) if checkpoint == "sqrt" else int(checkpoint))


def _jacobian(iterate, x: PyTree):
    """The result of the iterations, its derivatives along every number of x, and the rest."""
    flat, unravel = ravel_pytree(x)
    basis = jnp.eye(flat.size, dtype=flat.dtype)
    push = lambda v: jax.jvp(iterate, (x,), (unravel(v),), has_aux=True)
    y, jacobian, rest = jax.vmap(push, out_axes=(None, 0, None))(basis)
    return y, jacobian, rest


def _warn_of_size(x: PyTree, y: PyTree) -> None:
    """Forward mode pays for every number of x, which reverse mode does not."""
    directions = optax.tree.size(x)
    if directions > _MANY:
        copies = sum(leaf.nbytes for leaf in jax.tree.leaves(y)) * directions
        warnings.warn(_LARGE.format(directions, copies / 2**20), stacklevel=2)


def _contract(jacobian: PyTree, f_y: PyTree, x: PyTree) -> PyTree:
    """The transposed Jacobian times a vector, one direction after another."""
    flat, unravel = ravel_pytree(x)
    along = jax.vmap(lambda row: optax.tree.vdot(row, f_y))(jacobian)
    return unravel(jnp.asarray(along, flat.dtype))


def _check(inner, last, mode, checkpoint, max_num_steps) -> None:
    if isinstance(inner, ReducedDescent):
        raise TypeError(_REDUCED)
    if not isinstance(inner, AbstractIterativeSolver) or inner.stops_early:
        raise TypeError(_NEEDS_FIXED_COUNT)
    if mode not in ("reverse", "forward"):
        raise ValueError(f"mode must be 'reverse' or 'forward', got {mode!r}.")
    if checkpoint not in (None, "sqrt", "step") and not isinstance(checkpoint, int):
        raise ValueError(
            "checkpoint must be None, 'sqrt', 'step' or a number of segments, "
            f"got {checkpoint!r}."
        )
    if isinstance(checkpoint, bool) or isinstance(last, bool | float):
        raise TypeError(f"last and checkpoint are counts, got {last!r} and {checkpoint!r}.")
    if checkpoint is not None and mode == "forward":
        raise ValueError("checkpoint is for reverse mode: forward mode stores no iterates.")
    if isinstance(checkpoint, int) and checkpoint < 1:
        raise ValueError(f"checkpoint must be at least 1 segment, got {checkpoint}.")
    if max_num_steps is not None:
        as_count("max_num_steps", max_num_steps)
    if checkpoint is not None and callable(inner.num_steps):
        raise ValueError(
            "checkpoint needs an inner number of steps that is an int: leave it out where "
            "num_steps is a function of the outer step."
        )
    if last is None:
        return
    if last < 0:
        raise ValueError(f"last must be at least 0, got {last}.")
    if isinstance(inner.num_steps, int) and last > inner.num_steps:
        raise ValueError(
            f"last={last} is longer than the run of num_steps={inner.num_steps}: use at "
            "most that, or None for all steps."
        )


# Numbers of x from which on forward mode is hardly meant.
_MANY = 100
_LARGE = (
    "mode='forward' takes {0} products of each kind for every inner step, one for each of the "
    "{0} numbers in x, and holds as many copies of y ({1:.3g} MB). Reverse mode takes one: use "
    "it with checkpoint='sqrt' if its memory was the reason."
)
_NEEDS_MAXIMUM = (
    "The inner number of steps is a function of the outer step, and reverse mode stores "
    "every step: pass `max_num_steps=`, the most that function returns, or use "
    "mode='forward'."
)
_REDUCED = (
    "A solver with a reducer steps along what it saw at earlier x and y, which are constants: "
    "the derivative of its iterations is not that of y*. Use bx.Implicit, or bx.SGD here."
)
_NEEDS_FIXED_COUNT = (
    "Differentiating a loop whose length a tolerance decides gives wrong derivatives. Give "
    "the inner solver a fixed num_steps and no tolerance, or use bx.Implicit."
)
