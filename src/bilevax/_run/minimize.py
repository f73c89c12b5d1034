"""The only outer loop."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._core.cost import Cost
from .._core.numbers import as_count, as_nonnegative
from .._core.program import program
from .._core.result import Result, is_code
from .._core.tree import maker
from .._core.types import Count, Key, Number
from ..algorithms._base import Algorithm, AnyAlgorithm
from ..hypergradients._base import last_residuals
from ..problems._base import Problem
from .arguments import checked, initial_estimate
from .chunks import Run, State, remeasured
from .diagnosis import ASTRAY, explain
from .history import History
from .loop import LoopState
from .progress import reporting
from .resume import check_state
from .steps import has_steps_to_measure


class Solution(eqx.Module):
    """What `bx.minimize` returns.

    - `x`, `y`, `adjoint`: the last outer, inner and adjoint variables; with an `output` of
      the algorithm x is what that shows. y and the adjoint were computed at the x before the
      last step; where the run stopped by `tol` they belong to `x` itself.
    - `history`: a dict of arrays with one row per record. `step` counts the steps taken;
      `value` and `gradient_norm` are those of the step's hypergradient, taken before x
      moved; `inner_gradient`, `hvp`, `cross`, `outer_gradient` and `calls` are the oracle
      calls so far, `rows` the rows they read; `inner_residual` and `adjoint_residual` the
      norms of the last residual that each solver computed (infinite where it computes none,
      as on random rows); `inner_step_size` the step that those left out stood for; `seconds`
      is the time since the call of `minimize`, measured at the end of each compiled chunk and
      interpolated within; the entries of `metrics` are those of the variables after the step.
    - `inner_residual`, `adjoint_residual`: those of the last step, `None` without an adjoint.
    - `cost`: a `bx.Cost`, over the whole run including what a resumed run did before.
    - `result`: a `bx.Result`; `bx.Result[solution.result]` says what went wrong.
    - `state`: pass it to `bx.minimize` to go on.
    """

    x: PyTree
    y: PyTree
    adjoint: PyTree
    history: dict[str, np.ndarray]
    inner_residual: Float[Array, ""]
    adjoint_residual: Float[Array, ""] | None
    cost: Cost
    result: Result
    state: State

    @classmethod
    def of(cls, state: State, history: History, result) -> "Solution":
        """The solution so far."""
        loop = state.loop
        estimate = loop.hypergradient
        residuals = last_residuals(estimate)
        variables = loop.output, estimate.y, estimate.adjoint
        return _made(*variables, history.columns(), *residuals, state.cost, result, state)


_made = maker(Solution)

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    SavedState = State | None
else:
    SavedState = Any


def minimize(
    problem: Problem,
    algorithm: AnyAlgorithm,
    x0: PyTree = None,
    y0: PyTree = None,
    *,
    num_steps: Count = 100,
    key: Key | None = None,
    adjoint0: PyTree | None = None,
    tol: Number | None = None,
    record_every: Count = 1,
    metrics: Callable[..., dict[str, Any]] | None = None,
    callback: Callable[[Solution], Any] | None = None,
    progress: bool = False,
    state: SavedState = None,
    measure_every: Count | None = None,
) -> Solution:
    r"""Minimises $f(x, y^*(x))$ over x with any algorithm.

    **Arguments:**

    - `problem`: a `bx.BilevelProblem`, `bx.FixedPointProblem` or `bx.MinProblem`.
    - `algorithm`: a preset of `bx.algorithms`, or a `bx.Algorithm` of your own.
    - `x0`, `y0`: where the outer and the inner variable start.
    - `num_steps`: outer steps; with `state`, further ones.
    - `key`: a `jax.random.key`; needed if the algorithm draws rows. The same key gives
      the same answer.
    - `adjoint0`: where the adjoint starts, zero by default.
    - `tol`: stop when the hypergradient's norm is at most this, at x and, with an `output`,
      at what is shown too. x is then not moved.
    - `record_every`: outer steps between two rows of the history.
    - `metrics`: `metrics(x, y)`, or `metrics(x, y, z)` with the adjoint, returns a dict of
      numbers or small arrays to record; it is compiled into the loop. Give it data as a
      `jax.tree_util.Partial`.
    - `callback`: called with the `Solution` so far at every record; if it returns true,
      the run stops. Each record is then a chunk of its own.
    - `progress`: whether to print how the run gets on.
    - `state`: `solution.state` of an earlier run of the same problem and algorithm. `x0`,
      `y0`, `adjoint0` and `key` are then ignored, and the run goes on as if it had never
      stopped, bit for bit. (After a stop by `tol`, x has not moved in the last step and
      the hypergradient there is estimated again; after a failure, the failed step is
      taken again. The cost counts what was called.)
    - `measure_every`: steps that were left out follow the inner smoothness, at one
      Hessian-vector product an outer step, from where it is measured at the start of the run;
      so many outer steps are between two further measurements, by default there are none.

    **Returns:** a `bx.Solution`.

    A failure of the computation (a diverging step, an indefinite Hessian) does not raise:
    the run stops, `result` says why, and the last finite iterate is returned. Faulty
    arguments raise `TypeError` or `ValueError`.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: jnp.sum((y - 1) ** 2) / 2,
    ...     inner=lambda x, y: jnp.sum((y - x) ** 2) / 2)
    >>> algorithm = bx.algorithms.amigo_cg(
    ...     inner_step_size=0.5, inner_steps=5, adjoint_steps=2, outer_step_size=0.5)
    >>> solution = bx.minimize(problem, algorithm, jnp.zeros(2), jnp.zeros(2), num_steps=40)
    >>> solution.x.round(4).tolist(), solution.cost.inner_gradient
    ([1.0, 1.0], 200)
    """
    num_steps = as_count("num_steps", num_steps)
    record_every = as_count("record_every", record_every)
    if measure_every is not None:
        measure_every = as_count("measure_every", measure_every, remedy=_NEVER)
    stop_at = -np.inf if tol is None else as_nonnegative("tol", tol)
    if not isinstance(algorithm, Algorithm):
        raise TypeError(_NO_ALGORITHM.format(type(algorithm).__name__))
    if not isinstance(state, State | None):
        raise TypeError("state must be `solution.state` of an earlier run.")
    if state is None:
        state = initial_state(problem, algorithm, x0, y0, key=key, adjoint0=adjoint0)
    else:
        needs_measured = has_steps_to_measure(algorithm)
        check_state(problem, algorithm, state, needs_measured=needs_measured)

    result, history = Result.successful, History()
    run = Run(problem, algorithm, metrics, stop_at, record_every, measure_every)
    last = int(state.loop.step) + num_steps
    with reporting(progress, last) as report:
        chunks = run.chunks(state, last, history, callback is not None)
        for state, result, recorded in chunks:
            report(history)
            if callback and recorded and callback(Solution.of(state, history, result)):
                result = _first(result, Result.stopped)
                break
    loop, result = state.loop, _first(result, run.shortfall)
    if any(is_code(result, code) for code in ASTRAY):
        explain(problem, algorithm, loop.smoothness, loop.x, loop.hypergradient.y)
    return Solution.of(state, history, result)


def initial_state(
    problem: Problem,
    algorithm: AnyAlgorithm,
    x0: PyTree,
    y0: PyTree,
    *,
    key: Key | None = None,
    adjoint0: PyTree | None = None,
) -> State:
    """The state before the first step, from which `bx.minimize(..., state=)` starts.

    It has the structure of every later state, so that a saved one can be read back. Step
    sizes that were left out are measured: `step_size` holds what was found.

    **Arguments:** as in `bx.minimize`.

    >>> import bilevax as bx, equinox as eqx, io
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2 + y**2)
    >>> algorithm = bx.algorithms.amigo_cg(outer_step_size=0.5)
    >>> solution = bx.minimize(problem, algorithm, 1.0, 1.0, num_steps=5)
    >>> file = io.BytesIO()
    >>> eqx.tree_serialise_leaves(file, solution.state); _ = file.seek(0)
    >>> like = bx.initial_state(problem, algorithm, 0.0, 0.0)
    >>> state = eqx.tree_deserialise_leaves(file, like)
    >>> int(bx.minimize(problem, algorithm, num_steps=5, state=state).state.loop.step)
    10
    """
    variables = {"x0": x0, "y0": y0}
    x, y, adjoint, key = checked(problem, algorithm.hypergradient, variables, adjoint0, key)
    cost = algorithm.hypergradient.init_cost(problem)
    state = State(_start(problem, algorithm, x, y, adjoint, key), cost)
    if has_steps_to_measure(algorithm):
        state = remeasured(problem, algorithm, state)
    return state


@program
def _start(problem, algorithm, x, y, adjoint, key) -> LoopState:
    estimate = initial_estimate(problem, algorithm.hypergradient, x, y, adjoint)
    return LoopState.start(algorithm, x, estimate, key)


def _first(result, otherwise):
    """A result, or the other one where it is successful; both are known on the host."""
    return otherwise if is_code(result, Result.successful) else result


_NEVER = ": leave it out to measure once, where the run starts, and follow"
_NO_ALGORITHM = (
    "algorithm must be a bx.Algorithm, such as a preset of bx.algorithms or "
    "bx.Algorithm(estimator, outer_step_size), got {}."
)
