r"""SOBA and its variance-reduced relatives: y, z and x move together, a step each.

With one batch of inner and one of outer rows a step,
$D_y = \nabla_y g$, $D_z = H z + \partial_y f$ and $D_x = \partial_x f + J z$, all at
$(x_k, y_k, z_k)$:

$y_{k+1} = y_k - \alpha D_y$, $z_{k+1} = z_k - \beta D_z$, $x_{k+1} = x_k - \gamma D_x$.

| preset | how the directions are estimated | calls an outer step |
|---|---|---|
| `soba` | on the batch | 4 |
| `ma_soba` | on the batch, x along an exponential average | 4 |
| `saba` | SAGA, a table for each of the five terms | 4 |
| `fsla` | on batches, y, z and x in turn, x by recursive momentum | 1 + 1 + 2 + 3 |
| `srba` | SARAH, refreshed on all rows every `period` steps | 8, or 4 on all rows |

A step on all rows that converges for gradient descent need not do so on batches, whose
smoothness is larger: left out, the inner and adjoint steps are measured on batches.
"""

from .._core.types import Count, StepSize, Weight
from .._rows.samplers import BatchSize
from ..hypergradients import Joint
from ..reducers import SAGA, SPIDER, STORM, AbstractReducer, Sample
from ..reducers._saga import Start
from ..schedules import as_step_size, as_weight, polynomial
from ..solvers import GradientDescent
from ..solvers._directions import OuterStep, as_outer
from ._averaged import MovingAverage
from ._base import Algorithm
from ._batches import per_oracle

LEVELS = ("inner", "outer")


def soba(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""SOBA: stochastic gradient descent on y, z and x at once.

    Steps that decrease as $k^{-1/2}$ make it converge; constant ones bring it to a plateau.

    **Arguments:** see `bilevax.algorithms`.

    >>> import bilevax as bx
    >>> steps = bx.schedules.polynomial(0.1, 0.5)
    >>> algorithm = bx.algorithms.soba(
    ...     outer_step_size=steps, inner_step_size=steps, adjoint_step_size=steps,
    ...     batch_size=64)

    **Reference:** M. Dagréou, P. Ablin, S. Vaiter and T. Moreau, A framework for bilevel
    optimization that enables stochastic and global variance reduction algorithms,
    NeurIPS 2022.
    """
    steps = inner_step_size, adjoint_step_size, outer_step_size
    return _together(Sample(), *steps, batch_sizes)


def ma_soba(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    weight: Weight = 0.1,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""MA-SOBA: `soba` with x along an exponential average of its directions.

    $x_{k+1} = x_k - \gamma h_k$, then $h_{k+1} = (1 - \theta) h_k + \theta D_x$, from
    $h_0 = 0$.

    **Arguments:** see `bilevax.algorithms`; `weight` is $\theta$ in (0, 1], or a schedule.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.ma_soba(
    ...     outer_step_size=0.1, inner_step_size=0.1, adjoint_step_size=0.1, batch_size=64)

    **Reference:** X. Chen, T. Xiao and K. Balasubramanian, Optimal algorithms for stochastic
    bilevel optimization under relaxed smoothness conditions, JMLR 25, 2024.
    """
    outer = as_outer(outer_step_size, "outer_step_size")
    average = MovingAverage(outer, as_weight("weight", weight))
    return _together(Sample(), inner_step_size, adjoint_step_size, average, batch_sizes)


def saba(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    start: Start = "full",
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""SABA: `soba` with a SAGA table for each of the five terms.

    Constant steps converge. The tables hold $\nabla_y g$, $H z$, $J z$, $\partial_y f$ and
    $\partial_x f$ of every batch of a fixed partition.

    **Arguments:** see `bilevax.algorithms`; batch sizes must divide the rows
    (`bx.Blocks`), and `start` is that of `bx.SAGA`.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.saba(
    ...     outer_step_size=0.1, inner_step_size=0.1, adjoint_step_size=0.1, batch_size=50)

    **Reference:** M. Dagréou, P. Ablin, S. Vaiter and T. Moreau, NeurIPS 2022.
    """
    steps = inner_step_size, adjoint_step_size, outer_step_size
    return _together(SAGA(start=start), *steps, batch_sizes)


def srba(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    period: Count = 100,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""SRBA: `soba` with directions estimated recursively from differences.

    $d_k = d_{k-1} + D(w_k; b_k) - D(w_{k-1}; b_k)$ on the same batch at both points, and
    $D(w_k)$ on all rows at every `period`-th step. Constant steps converge.

    **Arguments:** see `bilevax.algorithms`; `period` is best of the order of the batches in
    a pass through the data.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.srba(
    ...     outer_step_size=0.1, inner_step_size=0.1, adjoint_step_size=0.1, batch_size=64)

    **Reference:** M. Dagréou, T. Moreau, S. Vaiter and P. Ablin, A lower bound and a
    near-optimal algorithm for bilevel empirical risk minimization, AISTATS 2024.
    """
    steps = inner_step_size, adjoint_step_size, outer_step_size
    return _together(SPIDER(period), *steps, batch_sizes)


def fsla(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    outer_momentum: Weight | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""FSLA: a step of y, one of z at the new y, and x along a recursive momentum at both.

    $d_k = D_x(w_k; b_k) + (1 - c_k)(d_{k-1} - D_x(w_{k-1}; b_k))$ with $w = (x, y, z)$, the
    same batches at both points. Each direction has batches of its own: three inner ones and
    two outer ones a step.

    **Arguments:** see `bilevax.algorithms`, and `outer_momentum`: c in (0, 1] or a schedule of
    k, by default $(k + 1)^{-1/2}$, which belongs to steps that decrease alike, as published. A
    missing `adjoint_step_size` is the inner one.

    >>> import bilevax as bx
    >>> steps = bx.schedules.polynomial(0.1, 0.5)
    >>> algorithm = bx.algorithms.fsla(
    ...     outer_step_size=steps, inner_step_size=steps, batch_size=64)

    **Reference:** J. Li, B. Gu and H. Huang, A fully single loop algorithm for bilevel
    optimization without Hessian inverse, AAAI 2022.
    """
    rows = per_oracle(LEVELS, batch_sizes)
    beta = inner_step_size if adjoint_step_size is None else adjoint_step_size
    momentum = polynomial(1.0, 0.5) if outer_momentum is None else outer_momentum
    return Algorithm(
        Joint(
            GradientDescent(as_step_size(beta, "adjoint_step_size"), 1),
            (Sample(), Sample(), STORM(momentum)),
            inner_step_size,
            order="in turn",
            inner_batch_size=rows["inner"],
            outer_batch_size=rows["outer"],
        ),
        as_outer(outer_step_size, "outer_step_size"),
    )


def _together(
    reducer: AbstractReducer,
    inner_step_size: StepSize,
    adjoint_step_size: StepSize,
    outer_step_size: OuterStep,
    batch_sizes: dict[str, BatchSize],
) -> Algorithm:
    """One step of each variable, all from the same point."""
    rows = per_oracle(LEVELS, batch_sizes)
    return Algorithm(
        Joint(
            GradientDescent(as_step_size(adjoint_step_size, "adjoint_step_size"), 1),
            reducer,
            inner_step_size,
            inner_batch_size=rows["inner"],
            outer_batch_size=rows["outer"],
        ),
        as_outer(outer_step_size, "outer_step_size"),
    )
