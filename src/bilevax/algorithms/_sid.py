"""Stochastic implicit differentiation (Grazzi, Pontil and Salzo 2021)."""

from .._core.types import NumSteps, StepSize
from .._rows.samplers import BatchSize
from ..hypergradients import Implicit
from ..schedules import as_step_size
from ..solvers import AbstractSolver, StochasticFixedPoint
from ..solvers._base import Solver, checked_num_steps
from ..solvers._directions import OuterStep, as_outer
from ._base import Algorithm
from ._batches import per_oracle

_SAMPLED = ("inner", "hvp", "cross")


def sid(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    inner_steps: NumSteps | None = None,
    adjoint_steps: NumSteps | None = None,
    inner: Solver | None = None,
    adjoint: Solver | None = None,
    outer_batch_size: BatchSize = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""SID: stochastic implicit differentiation, both levels started afresh.

    For a problem $y = E \, \hat\phi(x, y, \zeta)$ with samples $\hat\phi$, from the initial
    y and from $z = 0$ (Grazzi et al. 2021, Algorithm 1 with Eqs. 28 and 29, where
    $v = -z$):

    1. $y \leftarrow y + \eta_i (\hat\phi(x, y, \zeta_i) - y)$, t times;
    2. $z \leftarrow z + \eta_i (\partial_y \hat\phi(x, y_t, \hat\zeta_i)^\top z
       - \partial_y f - z)$, k times;
    3. $\partial_x f - \frac1J \sum_{j \le J}
       \partial_x \hat\phi(x, y_t, \zeta'_j)^\top z_k$.

    The three draw from streams of their own, so that what the bounds of `bx.theory.sid`
    assume holds: y, z and the last product are independent. The methods that the paper
    compares are settings:

    - AID-FP ("Batch"): `batch_size=None`, `inner_step_size=1`;
    - "Stoch const": `inner_step_size=1`; "Stoch dec":
      `inner_step_size=bx.schedules.decreasing(beta, gamma)`.

    Any solver fits in either place: `bx.SAG` and `bx.SVRG`, or `bx.ReducedDescent` with
    another reducer, have linear rates on finite sums; with
    `adjoint=bx.Neumann(step_size=1, num_steps=N, batch_size=b, randomized=True)` it is the
    estimator of Ghadimi and Wang (2018, Alg. 3).

    **Arguments:** see `bilevax.algorithms`, and

    - `inner_steps`: t, and `adjoint_steps`: k, each 10 by default;
    - `inner_step_size`: $\eta$; a missing `adjoint_step_size` is the same;
    - `inner`, `adjoint`: solvers in place of the two iterations, with steps and rows of their
      own;
    - `cross_batch_size`: rows of the last product. A batch of $J b$ rows is the average of J
      samples of b, and `None` has all rows: no noise is left of it;
    - `outer_batch_size`: by default all rows, whatever `batch_size`; the paper has no noise in
      the outer objective.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.sid(
    ...     outer_step_size=0.1, inner_step_size=bx.schedules.decreasing(20.0, 20.0),
    ...     inner_steps=100, adjoint_steps=100, batch_size=50)

    **Reference:** R. Grazzi, M. Pontil and S. Salzo, Convergence properties of stochastic
    hypergradients, AISTATS 2021.
    """
    rows = per_oracle(_SAMPLED, batch_sizes)
    shared = inner_step_size if adjoint_step_size is None else adjoint_step_size
    if inner is None:
        inner = _iteration("inner", inner_step_size, inner_steps, rows["inner"])
    elif (inner_step_size, inner_steps) != (None, None):
        raise TypeError(_TWICE.format("inner"))
    if adjoint is None:
        adjoint = _iteration("adjoint", shared, adjoint_steps, rows["hvp"])
    elif (adjoint_step_size, adjoint_steps) != (None, None):
        raise TypeError(_TWICE.format("adjoint"))
    return Algorithm(
        Implicit(
            inner,
            adjoint,
            warm_start_inner=False,
            warm_start_adjoint=False,
            outer_batch_size=outer_batch_size,
            cross_batch_size=rows["cross"],
        ),
        as_outer(outer_step_size, "outer_step_size"),
    )


def _iteration(
    level: str, step_size: StepSize, num_steps: NumSteps | None, batch_size: BatchSize
) -> AbstractSolver:
    """The stochastic fixed point of a level, its numbers checked under the preset's names."""
    return StochasticFixedPoint(
        as_step_size(step_size, f"{level}_step_size"),
        checked_num_steps(10 if num_steps is None else num_steps, f"{level}_steps"),
        batch_size,
    )


_TWICE = (
    "{0}= is a solver with steps of its own: leave {0}_step_size and {0}_steps out, or {0}=."
)
