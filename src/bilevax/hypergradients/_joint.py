"""Single-loop methods: y, z and x move together."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optax.tree
from jaxtyping import Array, Float, Int, PyTree

from .._core.cost import Cost
from .._core.keys import split
from .._core.numbers import as_count
from .._core.result import Result, finite_or, first_failure
from .._core.tree import float_dtype
from .._core.types import Count, Index, StepSize
from .._rows.sampler import AbstractSampler, Drawn
from .._rows.samplers import BatchSize, FullBatch
from ..reducers import AbstractReducer, Reader
from ..reducers._base import check_reducer
from ..reducers._rows import as_reduced_sampler
from ..schedules import as_step_size, is_measured
from ..solvers import Descent, Neumann, Watch
from ..solvers._base import Solver
from ..solvers._directions import Clock, SteepestDescent
from ..solvers._followed import FollowedDescent
from ._base import AbstractHypergradient
from ._joint_step import Step
from ._stages import no_value_yet
from ._terms import AbstractTerms, InnerTerms, OuterTerms, Part, Point, SeriesTerms

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Order = Literal["together", "in turn", "x first"]
    Reducers = AbstractReducer | tuple[AbstractReducer, AbstractReducer | None, AbstractReducer]
else:
    Order = Reducers = Any


class JointState(eqx.Module):
    """The state of `Joint`: the variables, the reducers' estimates, the rows drawn ahead."""

    k: Int[Array, ""]
    y: PyTree
    adjoint: PyTree
    value: Float[Array, ""]
    estimates: tuple[PyTree, ...]
    inner_rows: Drawn
    outer_rows: Drawn
    seed: Array

    @property
    def watches(self):
        """Of both levels, whose residuals are never known on all rows."""
        unknown = Watch.none(float_dtype(self.y))
        return {"inner": unknown, "adjoint": unknown}


class Joint(AbstractHypergradient):
    r"""Single-loop estimators: y, the adjoint z and x move together, a step at a time.

    The directions (Dagréou et al. 2022, section 2)

    - $D_y = F(x, y)$, along which $y \leftarrow y - \alpha D_y$,
    - $D_z = (\partial_y F)^\top z + \partial_y f$, along which $z \leftarrow z - \beta D_z$,
    - $D_x = \partial_x f + (\partial_x F)^\top z$, the estimate of the hypergradient,

    are averages over rows, and a reducer estimates them from batches. With a Neumann series
    as the adjoint there is no z that moves: $D_x$ is the hypergradient with z the series at
    (x, y), a function of the batches that is nested and no sum.

    **Arguments:**

    - `adjoint`: `bx.GradientDescent(beta, 1)`, one step of z at a time, or `bx.Neumann`.
      Its batches are those of `inner_batch_size`. With `randomized=True` one random term has
      the same length wherever it is evaluated within an outer step.
    - `reducer`: `bx.Sample`, `bx.SAGA`, `bx.STORM` or `bx.SPIDER` for all directions, or a
      triple of them for y, z and x (with a series the second is not used: `None`). One for
      all shares the evaluations.
    - `inner_step_size`: $\alpha$, a float or a schedule of the outer step k; `None` measures
      it.
    - `adjoint_step_size`: the step of `adjoint`, where that was made without one.
    - `num_inner_steps`: steps of y (and z) for each of x.
    - `order`: `"together"`: all directions at the same point, and x moves along the last of
      them. `"in turn"`: y moves, then z at the new y, then x at both, each on batches of its
      own. `"x first"`: the steps of y and z follow that of x, so that there are none before
      its first one and their schedules are read at k - 1; D_x is estimated at every step and
      once more at the end.
    - `inner_batch_size`, `outer_batch_size`: an int (random rows; for a table `bx.Blocks`),
      a sampler, or `None` (all). One batch of each level serves all directions of a step.

    The outer value is estimated as the directions are.

    >>> import bilevax as bx
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: (y - 1) ** 2 / 2, inner=lambda x, y: (y - x) ** 2)
    >>> estimator = bx.Joint(bx.GradientDescent(0.4, 1), bx.Sample(), 0.4)
    >>> solution = bx.minimize(problem, bx.Algorithm(estimator, 0.3), 3.0, 0.0, num_steps=80)
    >>> round(float(solution.x), 3), solution.cost.total
    (1.0, 320)

    **Reference:** M. Dagréou, P. Ablin, S. Vaiter and T. Moreau, A framework for bilevel
    optimization that enables stochastic and global variance reduction algorithms,
    NeurIPS 2022.
    """

    series: Neumann | None
    adjoint_step: SteepestDescent | None
    reducers: tuple[AbstractReducer | None, ...]
    inner_step: SteepestDescent
    num_inner_steps: int = eqx.field(static=True)
    order: str = eqx.field(static=True)
    inner_sampler: AbstractSampler
    outer_sampler: AbstractSampler

    ahead: ClassVar[int] = 64

    def __init__(
        self,
        adjoint: Solver,
        reducer: Reducers,
        inner_step_size: StepSize = None,
        adjoint_step_size: StepSize = None,
        num_inner_steps: Count = 1,
        order: Order = "together",
        *,
        inner_batch_size: BatchSize = None,
        outer_batch_size: BatchSize = None,
    ):
        self.series, self.adjoint_step = _as_adjoint(adjoint, adjoint_step_size)
        self.reducers = _as_reducers(reducer, self.series)
        self.inner_step = SteepestDescent(as_step_size(inner_step_size, "inner_step_size"))
        self.num_inner_steps = as_count("num_inner_steps", num_inner_steps)
        if order not in ("together", "in turn", "x first"):
            raise ValueError(
                f"order must be 'together', 'in turn' or 'x first', got {order!r}."
            )
        self.order = order
        used = [r for r in self.reducers if r is not None]
        self.inner_sampler = as_reduced_sampler(inner_batch_size, *used)
        self.outer_sampler = as_reduced_sampler(outer_batch_size, *used)

    @property
    def random(self):
        series = self.series is not None and self.series.random
        draws = series or any(part.reducer.draws for part in self.parts)
        return draws or self.inner_sampler.random or self.outer_sampler.random

    @property
    def parts(self) -> tuple[Part, ...]:
        """The terms of the directions, each with its reducer."""
        return self.parts_at(0, 0)

    def parts_at(self, k: Index, seed: Any) -> tuple[Part, ...]:
        """The same at an outer step, which decides the length of one random term.

        One reducer for all takes the terms of one level together, which shares a pass.
        """
        y, z, x = self._triple
        shared = len(self.reducers) == 1 and self.order != "in turn"
        parts: tuple[tuple[AbstractTerms, Any], ...]
        if self.series is not None:
            series = SeriesTerms(self.series, self._length(self.series, k, seed))
            parts = (InnerTerms(("y",)), y), (series, x)
        elif shared:
            parts = (InnerTerms(("y", "z", "x")), y), (OuterTerms(("z", "x")), x)
        else:
            parts = (
                (InnerTerms(("y",)), y),
                (InnerTerms(("z",)), z),
                (OuterTerms(("z",)), z),
                (InnerTerms(("x",)), x),
                (OuterTerms(("x",)), x),
            )
        return tuple(Part(*part) for part in parts)

    def init(self, problem, x, y, adjoint=None):
        z = optax.tree.zeros_like(y) if adjoint is None else adjoint
        readers, w, clock = self._readers(problem), Point(x, y, z), Clock.at(0)
        inner = self.inner_sampler.init(problem.inner_data)
        outer = self.outer_sampler.init(problem.outer_data)
        estimates = []
        for part in self.parts:
            average = part.average(problem, readers, clock)
            estimate = part.reducer.init(average, w)
            if part.reducer.starts_full:
                _, estimate = part.reducer.refresh(average, w, estimate)
            estimates.append(estimate)
        key = jax.random.key(0)
        per_step = self._draws
        return JointState(
            jnp.int32(0),
            y,
            z,
            no_value_yet(problem, x, y),
            tuple(estimates),
            self._room(self.inner_sampler, problem.inner_data, inner, key, per_step[0]),
            self._room(self.outer_sampler, problem.outer_data, outer, key, per_step[1]),
            jnp.uint32(0),
        )

    def init_cost(self, problem):
        readers, total = self._readers(problem), Cost()
        for part in self.parts:
            if part.reducer.starts_full:
                average = part.average(problem, readers, Clock.at(0))
                total += part.cost(part.reducer.refresh_calls(average.num_slots), readers)
        return total

    def prepare(self, problem, state, key):
        inner_key, outer_key, seed_key = split(key, 3, self.random)
        inner, outer = self._draws
        draw = self._draw_ahead
        inner_rows = draw(
            self.inner_sampler, problem.inner_data, state.inner_rows.sampler, inner_key, inner
        )
        outer_rows = draw(
            self.outer_sampler, problem.outer_data, state.outer_rows.sampler, outer_key, outer
        )
        seed = jax.random.bits(seed_key, dtype=jnp.uint32) if self.random else state.seed
        drawn = inner_rows, outer_rows, seed
        return eqx.tree_at(self.drawn, state, drawn)

    def drawn(self, state):
        return state.inner_rows, state.outer_rows, state.seed

    def __call__(self, problem, x, state, key):
        state = self.ready(problem, state, key, state.k % self.ahead == 0)
        gradient, state, cost = self.estimate(problem, x, state)
        finite = finite_or(gradient, Result.outer_nonfinite)
        return gradient, state, cost, first_failure(self.examine(state), finite)

    def estimate(self, problem, x, state):
        step = Step(self, problem, x, state)
        if self.order == "in turn":
            return step.in_turn()
        return step.x_first() if self.order == "x first" else step.together()

    def examine(self, state):
        # Norms by squares: a y that grows makes gradients overflow soon after, and it is y
        # that went astray.
        sizes = map(optax.tree.norm, (state.y, state.adjoint))
        codes = Result.inner_nonfinite, Result.adjoint_nonfinite
        return first_failure(*map(finite_or, sizes, codes))

    @property
    def _draws(self) -> tuple[int, int]:
        """Batches of each level that an outer step takes."""
        num = self.num_inner_steps
        if self.order == "in turn":
            return num + 2, 2
        num += self.order == "x first"
        return num, num

    @property
    def _triple(self) -> tuple[Any, Any, Any]:
        """The reducers for y, z and x."""
        reducers = self.reducers
        return (reducers[0], reducers[len(reducers) // 2], reducers[-1])

    def _length(self, series: Neumann, k: Index, seed: Any) -> Index:
        """The products of the series, or of its random term."""
        key = jax.random.key(seed if series.random else 0)
        return series.length(jax.random.fold_in(key, k) if series.random else key, k)

    def _readers(self, problem) -> tuple[Reader, Reader]:
        inner = Reader(problem.inner_data, self.inner_sampler)
        return inner, Reader(problem.outer_data, self.outer_sampler)

    def _draw_ahead(self, sampler, data, state, key, per_step: int) -> Drawn:
        tickets, state = sampler.tickets(data, state, key, self.ahead * per_step)
        split = lambda leaf: leaf.reshape(self.ahead, per_step, *leaf.shape[1:])
        return Drawn(state, jax.tree.map(split, tickets))

    def _room(self, sampler, data, state, key, per_step: int) -> Drawn:
        """Room for what will be drawn."""
        shapes = jax.eval_shape(
            lambda: self._draw_ahead(sampler, data, state, key, per_step).tickets
        )
        return Drawn(state, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))


def _as_adjoint(adjoint: Any, step_size: StepSize):
    """The series, or the step of z."""
    if isinstance(adjoint, Neumann):
        if not isinstance(adjoint.sampler, FullBatch):
            raise TypeError(_PLAIN_SERIES)
        if callable(adjoint.num_steps):
            raise TypeError("Joint needs a Neumann series of a fixed number of products.")
        step = _one_step(adjoint.step_size, step_size)
        options = {"randomized": adjoint.randomized, "lengths": adjoint.lengths}
        return Neumann(step_size=step, num_steps=int(adjoint.num_steps), **options), None
    direction = adjoint.transformation if isinstance(adjoint, Descent) else None
    plain = isinstance(direction, SteepestDescent | FollowedDescent)
    if not plain or adjoint.num_steps != 1 or not isinstance(adjoint.sampler, FullBatch):
        raise TypeError(_NO_ADJOINT.format(adjoint))
    return None, SteepestDescent(_one_step(direction.step_size, step_size))


def _one_step(own: Any, given: StepSize) -> Any:
    """The step of the adjoint, which is given at one place."""
    given = as_step_size(given, "adjoint_step_size")
    if is_measured(given):
        return own
    if not is_measured(own):
        raise TypeError("The adjoint has a step of its own: leave adjoint_step_size out.")
    return given


def _as_reducers(reducer: Any, series: Neumann | None) -> tuple[AbstractReducer | None, ...]:
    if not isinstance(reducer, tuple | list):
        found = (check_reducer("reducer", reducer),)
    elif len(reducer) != 3:
        raise TypeError(f"reducer must be one, or a triple for y, z and x, got {len(reducer)}.")
    else:
        unused = lambda place, r: place == 1 and series is not None and r is None
        found = tuple(
            r if unused(place, r) else check_reducer("reducer", r)
            for place, r in enumerate(reducer)
        )
    if series is not None and any(r is not None and r.has_table for r in (found[0], found[-1])):
        raise TypeError(_NESTED)
    return found


_NO_ADJOINT = (
    "The adjoint of bx.Joint is one plain step, bx.GradientDescent(step_size, 1), or a series, "
    "bx.Neumann(...), both without a batch size of their own; got {!r}."
)
_PLAIN_SERIES = (
    "In bx.Joint the products of a Neumann series read the batch of the step: leave its "
    "`batch_size` out, and pass `inner_batch_size` to bx.Joint."
)
_NESTED = (
    "A table holds an average of independent terms, one a slot, and with a Neumann series as "
    "the adjoint the average is nested: take bx.STORM or bx.SPIDER, or bx.GradientDescent as "
    "the adjoint."
)
