"""The solver interface, and the one loop that every iterative solver runs in."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from .._core.cost import Cost
from .._core.keys import split, split_each
from .._core.numbers import as_count
from .._core.result import Result, finite_or, first_failure
from .._core.tree import float_dtype, norm
from .._core.types import Index, Keys, NumSteps, Scalar
from .._rows.sampler import AbstractSampler, Drawn, Stream, without_drawn
from ._directions import Clock
from ._equation import ANY, AbstractEquation, AbstractLinearEquation, as_linear
from ._watch import Watch


class SolverState(eqx.Module):
    """What a solver carries: its own method's state, its sampler's, the clock, the watch."""

    method: PyTree
    sampler: PyTree
    clock: Clock
    watch: Watch

    @property
    def residual(self) -> Scalar:
        """The norm of the last residual that the solver computed, infinite where it does
        not look at residuals, as on random rows."""
        return self.watch.last

    def with_method(self, method: PyTree) -> "SolverState":
        """The same state but for the method's own part."""
        return SolverState(method, self.sampler, self.clock, self.watch)

    def with_sampler(self, sampler: PyTree) -> "SolverState":
        """The same state but for the sampler's part."""
        return SolverState(self.method, sampler, self.clock, self.watch)

    def with_watch(self, watch: Watch) -> "SolverState":
        """The same state but for what is known of residuals."""
        return SolverState(self.method, self.sampler, self.clock, watch)

    def begin(self, sampler: PyTree, k: Index) -> "SolverState":
        """Before the solve of outer step k, whose rows are drawn."""
        return SolverState(self.method, sampler, Clock.at(k), self.watch.begin())

    def tick(self, method: PyTree, residual: Array | None = None) -> "SolverState":
        """The state after one step of the method, and the norm of the residual it saw."""
        watch = self.watch if residual is None else self.watch.see(residual)
        return SolverState(method, self.sampler, self.clock.tick(), watch)

    @classmethod
    def start(cls, method: PyTree, sampler: PyTree, u: PyTree) -> "SolverState":
        """The state before the first solve for an unknown like u."""
        return cls(method, sampler, Clock.at(0), Watch.none(float_dtype(u)))


class AbstractSolver(eqx.Module):
    """Solves an equation, at either level.

    `init` makes the state that is carried from one solve to the next; `solve` starts from
    u, or from zero where u is `None`, and draws its batches from its own sampler.
    """

    sampler: eqx.AbstractVar[AbstractSampler]

    @property
    def random(self) -> bool:
        """Whether a solve needs a key."""
        return self.sampler.random

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
        k: Index,
    ) -> tuple[PyTree, SolverState, Cost, Any]:
        """The solution, new state, cost and result of the solve at outer step k."""

    def restart(self, equation: AbstractEquation, u: PyTree, state: SolverState) -> SolverState:
        """The state of a cold start: the method forgets, the sampler goes on."""
        fresh = self.init(equation, u).with_sampler(state.sampler)
        return fresh.with_watch(state.watch.forget())

    def length_at(self, k: Index) -> Int[Array, ""] | None:
        """The number of steps at outer step k, where it depends on k."""
        del k
        return None

    def drawn_for(self, data: PyTree, state: SolverState, keys: Keys) -> Drawn | None:
        """What solves with these keys will draw, one after the other, if that is known.

        In the state it stands where the sampler's does. `None`: each solve draws its own.
        """
        del data, state, keys
        return None

    def solve_or_keep(
        self,
        equation: AbstractEquation,
        start: PyTree | None,
        last: PyTree,
        state: SolverState,
        key: PRNGKeyArray,
        k: Index,
        skipped: bool | Array = False,
    ) -> tuple[PyTree, SolverState, Cost, Any]:
        """A solve from `start`; or the `last` u, untouched and for nothing, where it is
        skipped, or at an outer step k for which the solver has no steps."""

        num_steps = self.length_at(k)
        if num_steps is None and skipped is False:
            return self.solve(equation, start, state, key, k)
        num_steps = jnp.where(skipped, 0, 1 if num_steps is None else num_steps)
        negative = num_steps < 0

        def work():
            u, new_state, cost, result = self.solve(equation, start, state, key, k)
            return u, new_state, cost.wide(), result

        def keep():
            result = Result.where(negative, Result.negative_num_steps, Result.successful)
            unused = state.with_sampler(without_drawn(state.sampler))
            return last, unused, Cost().wide(), result

        return jax.lax.cond(num_steps > 0, work, keep)

    def shortfall(self, state: SolverState, failure: Any) -> Any:
        """`failure` where a tolerance was given that no solve has met."""
        del state, failure
        return Result.successful


class AbstractIterativeSolver(AbstractSolver):
    """A solver that repeats `step`.

    Subclasses say what a step is, what precedes the first one (`begin`) and, where they
    set `stops_early`, when to stop (`done`).
    """

    num_steps: eqx.AbstractVar[NumSteps]

    one_batch_per_solve: ClassVar[bool] = False
    # Whether residuals that grow, in a solve or from one to the next, tell of divergence.
    growth_tells: ClassVar[bool] = True

    @property
    def stops_early(self) -> bool:
        """Whether a tolerance may end a solve before its number of steps."""
        return False

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
        linear = as_linear(equation)
        u, state = self.step(linear.at_zero(), linear.zeros(), state, ANY)
        return u, state, 1, 0

    def done(self, state: SolverState) -> Bool[Array, ""]:
        """Whether to stop before the next iteration."""
        del state
        return jnp.array(False)

    def extra_calls(self, state: SolverState) -> int | Int[Array, ""]:
        """Oracle calls beside the one of each iteration."""
        del state
        return 0

    def spent(self, run: "Solve", state: SolverState) -> Cost:
        """The cost of the iterations of a solve, and of what preceded them."""
        known = isinstance(run.num_steps, int) and not self.stops_early
        iterations = run.num_steps if known else state.clock.i
        calls = run.calls + iterations - run.taken + self.extra_calls(state)
        return self.cost(run, calls)

    @property
    def plain_step(self) -> Scalar | None:
        """The step of plain descent with one for all steps; `None` for any other method.

        Below 2 / smoothness its residual never grows on a convex quadratic.
        """
        return None

    def steady(self, equation: AbstractEquation) -> bool:
        """Whether, where the method converges, its residual hardly ever grows."""
        return equation.symmetric and self.plain_step is not None

    def converged(self, state: SolverState) -> Bool[Array, ""]:
        """Whether a tolerance was met by the last solve."""
        del state
        return jnp.array(False)

    def required(self) -> bool:
        """Whether a solve that does not meet its tolerance has failed."""
        return False

    def diverged(
        self, equation: AbstractEquation, u: PyTree, state: SolverState
    ) -> Bool[Array, ""]:
        """Whether the solve, or the solves up to it, went astray though all is finite."""
        if not self.growth_tells:
            return jnp.array(False)
        linear = isinstance(equation, AbstractLinearEquation)
        if not (linear and self.steady(equation) and self.sampler.deterministic):
            return state.watch.diverged()
        stiffness = 2 / jnp.asarray(self.plain_step, state.residual.dtype)
        rounding = 1000 * jnp.finfo(stiffness.dtype).eps
        noise = rounding * (stiffness * norm(u) + norm(equation.rhs))
        return state.watch.diverged() | state.watch.turned(noise)

    def finish(
        self, run: "Solve", u: PyTree, state: SolverState
    ) -> tuple[SolverState, int | Int[Array, ""]]:
        """The state after a solve that ended at u, and the calls it took to judge it."""
        watch, start = state.watch, run.carry[0]
        if not self.growth_tells:
            return state.with_watch(watch.conclude(self.converged(state))), 0
        whole = self.sampler.deterministic or self.one_batch_per_solve
        if whole:
            watch = watch.end(self.steady(run.equation), self.converged(state))
        else:
            watch = watch.end_moved(jnp.asarray(optax.tree.norm(optax.tree.sub(u, start))))
        watch, calls = jax.lax.stop_gradient(watch), 0
        if not whole or callable(self.num_steps) or self.num_steps == 1:
            # Such a solve shows no growth of its own: perhaps x moves faster and faster.
            improved = lambda: run.improved(u, state)
            better = jax.lax.cond(watch.astray, improved, lambda: False)
            watch, calls = watch.acquit(better), 2 * watch.astray.astype(jnp.int32)
        return state.with_watch(watch), calls

    def result(self, equation: AbstractEquation, u: PyTree, state: SolverState):
        """How the solve ended."""
        astray = self.diverged(equation, u, state)
        diverged = Result.where(astray, equation.diverged, Result.successful)
        missed = jnp.logical_not(self.converged(state)) & self.required()
        short = Result.where(missed, equation.unconverged, Result.successful)
        return first_failure(finite_or(u, equation.nonfinite), diverged, short)

    def init(self, equation, u):
        method = self.init_method(equation, u)
        return SolverState.start(method, self.sampler.init(equation.data), u)

    def length(self, key: PRNGKeyArray, k: Index) -> Index:
        """Iterations of the solve at outer step k."""
        del key
        n = self.length_at(k)
        steps: Any = self.num_steps
        return steps if n is None else jnp.maximum(n, 0)

    def length_at(self, k):
        if not callable(self.num_steps):
            return None
        n = jnp.asarray(self.num_steps(k))
        if n.shape != () or not jnp.issubdtype(n.dtype, jnp.integer):
            raise TypeError(
                f"num_steps(k) must return an integer, got {n.dtype}{list(n.shape)}: round "
                "it, for example with jnp.ceil(...).astype(int)."
            )
        return n.astype(jnp.int32)

    def solve(self, equation, u, state, key, k):
        run = self.prepare(equation, u, state, key, k)
        if self.stops_early:
            unfinished = lambda c: (c[1].clock.i < run.num_steps) & ~self.done(c[1])
            u, state = jax.lax.while_loop(unfinished, run.iterate(self), run.carry)
        else:
            u, state = run.advance(self, run.carry, run.num_steps - run.taken)
        state, judging = self.finish(run, u, state)
        cost = self.spent(run, state) + self.cost(run, judging)
        return u, state, cost, self.result(run.equation, u, state)

    @property
    def most_steps(self) -> int | None:
        """A bound on the steps of a solve whose number changes, where there is one."""
        return None

    def drawn_for(self, data, state, keys):
        n = 1 if self.one_batch_per_solve else self.length(keys[0], jnp.int32(0))
        most = n if isinstance(n, int) else self.most_steps
        if not most:
            return None
        batch_keys = split_each(keys, 2)[1]
        draw = self.sampler.drawn_for if most is n else self.sampler.drawn_singly_for
        return draw(data, state.sampler, batch_keys, most)

    def prepare(self, equation, u, state, key, k) -> "Solve":
        """All that comes before the first iteration, batches drawn."""
        length_key, batch_key = split(key, 2, self.random)
        n = self.length(length_key, k)
        if self.sampler.deterministic or self.one_batch_per_solve:
            batch, drawn = self.sampler.draw(equation.data, state.sampler, batch_key)
            equation, next_batch = equation.fix(batch), lambda i, drawn: (batch, drawn)
        else:
            next_batch, drawn = self.sampler.stream(equation.data, state.sampler, batch_key, n)
        u, state, taken, calls = self.begin(equation, u, state.begin(drawn, k))
        if taken:
            # A first step from zero reads no rows; its place in a list of batches is its own.
            _, drawn = next_batch(jnp.int32(0), state.sampler)
            state = state.with_sampler(drawn)
        return Solve(equation, next_batch, n, (u, state), taken, calls)

    def cost(self, run: "Solve", calls: int | Array) -> Cost:
        """The cost of so many calls of the equation's oracle in a solve."""
        return run.equation.cost(calls, self.sampler.rows(run.equation.data))


# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Solver = AbstractSolver
    IterativeSolver = AbstractIterativeSolver
else:
    Solver = IterativeSolver = Any


class Solve(NamedTuple):
    """A solve about to iterate."""

    equation: AbstractEquation
    next_batch: Stream
    num_steps: Index
    carry: tuple[PyTree, SolverState]
    taken: int
    calls: int

    def iterate(self, solver: AbstractIterativeSolver) -> Callable:
        """One iteration, on a carry of u and the state."""

        def iterate(carry):
            u, state = carry
            batch, drawn = self.next_batch(state.clock.i, state.sampler)
            return solver.step(self.equation, u, state.with_sampler(drawn), batch)

        return iterate

    def advance(self, solver: AbstractIterativeSolver, carry, num: Index):
        """`num` more iterations. With a known number this is a scan, which reverse mode
        can pass."""
        iterate = self.iterate(solver)
        return jax.lax.fori_loop(0, num, lambda _, c: iterate(c), carry)

    def improved(self, u: PyTree, state: SolverState) -> Bool[Array, ""]:
        """Whether the residual at u is below that of the start, on the solve's first batch."""
        batch, _ = self.next_batch(jnp.int32(0), state.sampler)
        size = lambda u: norm(self.equation.residual(u, batch))
        return size(u) < size(self.carry[0])

    def of(self, equation: AbstractEquation) -> "Solve":
        """The same solve, on the same batches, of another equation."""
        return self._replace(equation=equation)


def checked_num_steps(num_steps: Any, name: str = "num_steps") -> Any:
    """An int of at least 1, or a function of the outer step."""
    if callable(num_steps):
        return num_steps
    kind = "an int or a function of the outer step k"
    return as_count(name, num_steps, kind=kind, remedy=": every solve takes a step")


def check_solver(name: str, solver: Any) -> Any:
    """The solver, or an error that says what one is."""
    if not isinstance(solver, AbstractSolver):
        raise TypeError(
            f"{name} must be a solver, such as bx.GradientDescent(step_size, num_steps), "
            f"got {solver!r}."
        )
    return solver
