"""Descent along a reducer's estimate of the residual: SAG, SVRG, and any other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from .._core.types import Count, NumSteps, StepSize
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize
from ..reducers import SAGA, SPIDER, AbstractReducer, Average, Calls, Reader
from ..reducers._base import Reducer, check_reducer
from ..reducers._rows import as_reduced_sampler
from ._base import AbstractIterativeSolver, checked_num_steps
from ._directions import AbstractDirection, Searching, Step, as_transformation
from ._equation import AbstractEquation, as_linear


class ReducedState(eqx.Module):
    """What goes on from one solve to the next.

    - `direction`, `estimate`: the states of the transformation and of the reducer;
    - `count`: the number of estimates so far;
    - `calls`: what was called in this solve;
    - `seed`: of the rows that refreshes draw in this solve.
    """

    direction: PyTree
    estimate: PyTree
    count: Int[Array, ""]
    calls: Calls
    seed: Array


class ReducedDescent(AbstractIterativeSolver):
    r"""Steps along an optax transformation of a reducer's estimate of the residual.

    On the inner problem the reducer averages $\nabla_y g$ over batches; on the adjoint
    system the products $H_b z$ only, to which the frozen $\partial_y f$ is added exactly.
    Tables, anchors and momenta go on from one outer step to the next, unless a solve starts
    cold or `restart` says otherwise; earlier points keep the x and y that they were seen at.

    **Arguments:**

    - `transformation`: a step size or an optax transformation, as in `bx.Descent`.
    - `reducer`: `bx.Sample`, `bx.SAGA`, `bx.STORM` or `bx.SPIDER`.
    - `num_steps`: iterations of one solve, an int or a function of the outer step k.
    - `batch_size`: an int (random rows; for a table `bx.Blocks`) or a sampler.
    - `restart`: whether tables, anchors and momenta begin anew at every solve.

    >>> import bilevax as bx
    >>> solver = bx.ReducedDescent(0.1, bx.STORM(0.2), num_steps=10, batch_size=32)
    """

    transformation: AbstractDirection
    reducer: AbstractReducer
    num_steps: NumSteps
    sampler: AbstractSampler
    restarts: bool = eqx.field(static=True)

    def __init__(
        self,
        transformation: Step,
        reducer: Reducer,
        num_steps: NumSteps,
        batch_size: BatchSize,
        *,
        restart: bool = False,
    ):
        self.transformation = as_transformation(transformation)
        if isinstance(self.transformation, Searching):
            raise TypeError(_NO_SEARCH)
        self.reducer = check_reducer("reducer", reducer)
        self.num_steps = checked_num_steps(num_steps)
        if batch_size is None:
            raise TypeError(_NEEDS_ROWS)
        self.sampler = as_reduced_sampler(batch_size, self.reducer)
        self.restarts = bool(restart)

    @property
    def random(self):
        return self.reducer.draws or super().random

    def init_method(self, equation, u):
        estimate = self.reducer.init(self._average(equation), equation.point(u))
        nothing = Calls(jnp.int32(0), jnp.int32(0))
        direction = self.transformation.init(u)
        return ReducedState(direction, estimate, jnp.int32(0), nothing, jnp.uint32(0))

    def prepare(self, equation, u, state, key, k):
        seed = jax.random.bits(key, dtype=jnp.uint32) if self.reducer.draws else None
        run = super().prepare(equation, u, state, key, k)
        if seed is None:
            return run
        u, state = run.carry
        method = eqx.tree_at(lambda m: m.seed, state.method, seed)
        return run._replace(carry=(u, state.with_method(method)))

    def begin(self, equation, u, state):
        # Products with zero are made: a table and an anchor need them.
        u = as_linear(equation).zeros() if u is None else u
        old = self.init_method(equation, u) if self.restarts else state.method
        calls = Calls(jnp.int32(0), jnp.int32(0))
        estimate = old.estimate
        if self.reducer.starts_full:
            average, fresh = self._average(equation), old.count == 0
            fill = lambda: self.reducer.refresh(average, equation.point(u), estimate)[1]
            estimate = jax.lax.cond(fresh, fill, lambda: old.estimate)
            filled = self.reducer.refresh_calls(average.num_slots)
            calls = Calls(*(jnp.where(fresh, jnp.int32(number), 0) for number in filled))
        method = ReducedState(old.direction, estimate, old.count, calls, old.seed)
        return u, state.with_method(method), 0, 0

    def step(self, equation, u, state, batch):
        old = state.method
        average, w = self._average(equation, old.seed), equation.point(u)
        mean, estimate = self.reducer.update(average, w, batch, old.estimate, old.count)
        residual = equation.completed(mean)
        update, direction = self.transformation.update(residual, old.direction, u, state.clock)
        calls = jax.tree.map(jnp.add, old.calls, self.reducer.calls(old.count))
        method = ReducedState(direction, estimate, old.count + 1, calls, old.seed)
        return optax.apply_updates(u, update), state.tick(method)

    def spent(self, run, state):
        calls, equation = state.method.calls, run.equation
        reader = Reader(equation.data, self.sampler)
        whole = reader.rows_of(self.reducer.refresh_size)
        return self.cost(run, calls.on_batch) + equation.cost(calls.on_refresh, whole)

    @property
    def plain_step(self):
        return None

    def _average(self, equation: AbstractEquation, seed: Array | None = None) -> Average:
        return Average(equation.mean, Reader(equation.data, self.sampler), seed)


def SAG(  # noqa: N802 - constructs a solver
    step_size: StepSize = None,
    num_steps: NumSteps = 10,
    batch_size: BatchSize = 1,
    *,
    restart: bool = False,
) -> ReducedDescent:
    r"""The stochastic average gradient: steps along the mean of a table of batch residuals.

    The table starts at zero, and is kept from one solve to the next or, with `restart`, is
    zero again at every solve (Arbel and Mairal 2022, A.5.2, with a step of
    $1 / (2 n L_g)$ for n batches).

    **Arguments:**

    - `step_size`, `num_steps`: as in `bx.SGD`.
    - `batch_size`: rows of a fixed batch, which must divide the rows, or a `bx.Blocks`.
    - `restart`: as in `bx.ReducedDescent`.

    >>> import bilevax as bx
    >>> solver = bx.SAG(step_size=1e-3, num_steps=100, batch_size=10)

    **Reference:** M. Schmidt, N. Le Roux and F. Bach, Minimizing finite sums with the
    stochastic average gradient, Mathematical Programming 162, 2017.
    """
    step = as_transformation(step_size)
    return ReducedDescent(step, SAGA(unbiased=False), num_steps, batch_size, restart=restart)


def SVRG(  # noqa: N802
    step_size: StepSize = None,
    num_steps: NumSteps = 100,
    batch_size: BatchSize = 1,
    epoch: Count = 100,
) -> ReducedDescent:
    r"""Stochastic variance-reduced gradient: differences from an anchor.

    $u^{i+1} = u^i - \alpha (R_b(u^i) - R_b(\tilde u) + R(\tilde u))$, where the anchor
    $\tilde u$ is the iterate at every `epoch`-th step, with the residual on all rows. Steps
    are counted on over solves; an anchor of an earlier solve keeps its x.

    **Arguments:**

    - `step_size`, `num_steps`, `batch_size`: as in `bx.SGD`.
    - `epoch`: steps from one anchor to the next.

    >>> import bilevax as bx
    >>> solver = bx.SVRG(step_size=0.1, num_steps=50, batch_size=10, epoch=50)

    **Reference:** R. Johnson and T. Zhang, Accelerating stochastic gradient descent using
    predictive variance reduction, NeurIPS 2013.
    """
    reducer = SPIDER(epoch, recursive=False)
    return ReducedDescent(as_transformation(step_size), reducer, num_steps, batch_size)


_NEEDS_ROWS = "A solver with a reducer needs a batch_size; bx.GradientDescent is on all rows."
_NO_SEARCH = (
    "A reducer estimates the residual, and this optax transformation asks for the value of "
    "the objective too: take one that asks for the gradient alone, such as optax.adam(0.1)."
)
