"""The solver interface, and the one loop that every iterative solver runs in."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from .._cost import Cost
from .._equation import ANY, AbstractEquation
from .._result import finite_or
from .._sampling import AbstractSampler
from .._transformation import Clock
from .._types import NumSteps


class SolverState(eqx.Module):
    """What a solver carries: its own method's state, its sampler's, and the clock."""

    method: PyTree
    sampler: PyTree
    clock: Clock

    def with_method(self, method: PyTree) -> "SolverState":
        """The same state but for the method's own part."""
        return SolverState(method, self.sampler, self.clock)

    def with_sampler(self, sampler: PyTree) -> "SolverState":
        """The same state but for the sampler's part."""
        return SolverState(self.method, sampler, self.clock)

    def tick(self, method: PyTree) -> "SolverState":
        """The state after one step of the method."""
        return SolverState(method, self.sampler, self.clock.tick())


class AbstractSolver(eqx.Module):
    """Solves an equation, at either level.

    `init` makes the state that is carried from one solve to the next; `solve` starts from
    u, or from zero where u is `None`, and draws its batches from its own sampler.
    """

    sampler: eqx.AbstractVar[AbstractSampler]

    @abc.abstractmethod
    def init(self, equation: AbstractEquation, u: PyTree) -> SolverState:
        """The state before the first solve."""

    @abc.abstractmethod
    def solve(
        self,
        equation: AbstractEquation,
        u: PyTree | None,
        state: SolverState,
        key: PRNGKeyArray,
        k: Int[Array, ""],
    ) -> tuple[PyTree, SolverState, Cost, Any]:
        """The solution, new state, cost and result of the solve at outer step k."""

    def restart(self, equation: AbstractEquation, u: PyTree, state: SolverState) -> SolverState:
        """The state of a cold start: the method forgets, the sampler goes on."""
        return self.init(equation, u).with_sampler(state.sampler)


class AbstractIterativeSolver(AbstractSolver):
    """A solver that repeats `step`.

    Subclasses say what a step is, what precedes the first one (`begin`) and, where they
    set `stops_early`, when to stop (`done`).
    """

    num_steps: eqx.AbstractVar[NumSteps]

    stops_early: ClassVar[bool] = False
    one_batch_per_solve: ClassVar[bool] = False

    @abc.abstractmethod
    def init_method(self, equation: AbstractEquation, u: PyTree) -> PyTree:
        """The method's own state, such as a momentum."""

    @abc.abstractmethod
    def step(
        self, equation: AbstractEquation, u: PyTree, state: SolverState, batch
    ) -> tuple[PyTree, SolverState]:
        """One iteration."""

    def begin(
        self, equation: AbstractEquation, u: PyTree | None, state: SolverState
    ) -> tuple[PyTree, SolverState, int, int]:
        """What precedes the loop: u, the state, the steps taken, the oracle calls made.

        From zero (u is `None`) the first step's residual is known without a product.
        """
        if u is not None:
            return u, state, 0, 0
        u, state = self.step(equation.at_zero(), equation.zeros(), state, ANY)
        return u, state, 1, 0

    def done(self, state: SolverState) -> Bool[Array, ""]:
        """Whether to stop before the next iteration."""
        del state
        return jnp.array(False)

    def result(self, equation: AbstractEquation, u: PyTree, state: SolverState):
        """How the solve ended."""
        del state
        return finite_or(u, equation.nonfinite)

    def init(self, equation, u):
        method = self.init_method(equation, u)
        return SolverState(method, self.sampler.init(equation.data), Clock.at(0))

    def solve(self, equation, u, state, key, k):
        n = self.num_steps(k) if callable(self.num_steps) else self.num_steps
        equation, next_batch, drawn = self._batches(equation, state.sampler, key, n)
        state = SolverState(state.method, drawn, Clock.at(k))
        u, state, start, calls = self.begin(equation, u, state)

        def iterate(carry):
            u, state = carry
            batch, drawn = next_batch(state.clock.i, state.sampler)
            return self.step(equation, u, state.with_sampler(drawn), batch)

        u, state = self._loop(iterate, (u, state), start, n)
        calls = calls + state.clock.i - start
        cost = equation.cost(calls, self.sampler.rows(equation.data))
        return u, state, cost, self.result(equation, u, state)

    def _batches(self, equation, drawn, key, n):
        """The equation, the function that gives a step's batch, the sampler's state."""
        if not (self.sampler.deterministic or self.one_batch_per_solve):
            return equation, *self.sampler.stream(equation.data, drawn, key, n)
        batch, drawn = self.sampler.draw(equation.data, drawn, key)
        return equation.fix(batch), lambda i, drawn: (batch, drawn), drawn

    def _loop(self, iterate, carry, start, n):
        if self.stops_early:
            unfinished = lambda c: (c[1].clock.i < n) & ~self.done(c[1])
            return jax.lax.while_loop(unfinished, iterate, carry)
        # With a known number of steps this is a scan, which reverse mode can pass.
        return jax.lax.fori_loop(start, n, lambda _, c: iterate(c), carry)


def check_num_steps(num_steps: Any) -> None:
    """Raise unless `num_steps` is an int of at least 1 or a function of the outer step."""
    if callable(num_steps):
        return
    if isinstance(num_steps, bool) or not isinstance(num_steps, int | np.integer):
        raise TypeError(
            f"num_steps must be an int or a function of the outer step k, got {num_steps!r}."
        )
    if num_steps < 1:
        raise ValueError(
            f"num_steps must be at least 1, got {num_steps}: every solve takes a step."
        )
