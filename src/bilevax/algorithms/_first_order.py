r"""Methods without second derivatives: F2SA, BOME and PZOBO.

| preset | in place of the adjoint | inner gradients an outer step | gradients of f |
|---|---|---|---|
| `f2sa` | a penalty of growing weight | 2T + 2 | T + 1 |
| `bome` | a penalty whose weight the gradients choose | T + 2 | 1 |
| `pzobo` | finite differences of the inner solver in Q directions | (1 + Q) T | 1 |

$\partial_x g$, which the first two need at two points, counts as an inner gradient.
"""

from typing import Any

from .._core.numbers import as_count, as_positive
from .._core.types import Count, Number, NumSteps, StepSize
from .._rows.samplers import BatchSize
from ..hypergradients import DynamicBarrier, FiniteDifference, Penalty
from ..schedules import polynomial
from ..solvers._directions import OuterStep, as_outer
from ._base import Algorithm
from ._batches import per_oracle
from ._single_loop import LEVELS
from ._steps import descent


def f2sa(
    *,
    outer_step_size: OuterStep,
    penalised_step_size: StepSize,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    multiplier: Number = 1.0,
    multiplier_growth: StepSize = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""F2SA: the inner problem as a penalty whose weight $\lambda$ grows.

    T times $y \leftarrow y - a_k (\partial_y f(x_k, y) + \lambda_k \partial_y g(x_k, y))$ and
    $w \leftarrow w - b_k \partial_y g(x_k, w)$, both from where they were; then
    $x_{k+1} = x_k - c_k \psi_k$ with
    $\psi_k = \partial_x f + \lambda_k (\partial_x g(x_k, y) - \partial_x g(x_k, w))$, and
    $\lambda_{k+1} = \lambda_k + d_k$. All batches are fresh.

    **Arguments:** see `bilevax.algorithms`, and

    - `outer_step_size`: c, `penalised_step_size`: a, to be given, and `inner_step_size`: b.
      With k from 1 they decrease as $k^{-5/7}$, $k^{-5/7}$ and $k^{-4/7}$; a is to stay below
      $2 / (L_f + \lambda_k L_g)$;
    - `multiplier`: $\lambda_0$, and `multiplier_growth`: d, by default $k^{-6/7}$, with which
      $\lambda$ grows as $k^{1/7}$. A public benchmark has $d \sim k^{-1/7}$, with which a
      $\lambda$ is unbounded and the run diverges.

    >>> import bilevax as bx
    >>> power = bx.schedules.polynomial
    >>> algorithm = bx.algorithms.f2sa(
    ...     outer_step_size=power(0.1, 5 / 7), penalised_step_size=power(0.1, 5 / 7).outer(),
    ...     inner_step_size=power(0.1, 4 / 7).outer(), batch_size=64)

    **Reference:** J. Kwon, D. Kwon, S. Wright and R. Nowak, A fully first-order method for
    stochastic bilevel optimization, ICML 2023.
    """
    rows = per_oracle(("inner", "cross", "outer"), batch_sizes)
    growth = polynomial(1.0, 6 / 7) if multiplier_growth is None else multiplier_growth
    return Algorithm(
        Penalty(
            descent("inner", inner_step_size, inner_steps, rows["inner"]),
            descent("penalised", penalised_step_size, inner_steps, rows["inner"]),
            as_positive("multiplier", multiplier),
            growth,
            outer_batch_size=rows["outer"],
            cross_batch_size=rows["cross"],
        ),
        as_outer(outer_step_size, "outer_step_size"),
    )


def bome(
    *,
    outer_step_size: OuterStep,
    penalised_step_size: StepSize,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    rate: Number = 0.5,
) -> Algorithm:
    r"""BOME: x and y along $\nabla f + \lambda \nabla q$, with as little weight as does.

    $\hat y$ is what T gradient steps on g make of y, and
    $\nabla q = (\partial_x g(x, y) - \partial_x g(x, \hat y), \partial_y g(x, y))$; then
    $\lambda = \max(0, (\eta \|\nabla q\|^2 - \langle \nabla f, \nabla q \rangle) /
    \|\nabla q\|^2)$ (`bx.DynamicBarrier`). On all rows.

    **Arguments:** see `bilevax.algorithms`, and

    - `penalised_step_size`: of y along $\nabla f + \lambda \nabla q$, to be given; the paper
      has one step for x and y;
    - `rate`: $\eta$.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.bome(
    ...     outer_step_size=0.1, penalised_step_size=0.1, inner_step_size=0.1)

    **Reference:** B. Liu, M. Ye, S. Wright, P. Stone and Q. Liu, BOME! Bilevel optimization
    made easy: a simple first-order approach, NeurIPS 2022.
    """
    return Algorithm(
        Penalty(
            descent("inner", inner_step_size, inner_steps, None),
            descent("penalised", penalised_step_size, 1, None),
            DynamicBarrier(rate),
            start="penalised",
        ),
        as_outer(outer_step_size, "outer_step_size"),
    )


def pzobo(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    num_directions: Count = 10,
    distance: Number = 0.1,
    **batch_sizes: Any,
) -> Algorithm:
    r"""PZOBO: the response of y to x by finite differences of T gradient steps.

    $\psi = \partial_x f + \frac1Q \sum_j \langle (y_j - y_t)/m, \partial_y f \rangle u_j$,
    where $y_j$ is the result at $x + m u_j$, from the same y on the same rows.

    **Arguments:** see `bilevax.algorithms`; `num_directions` is Q and `distance` m. Of the
    batch sizes only `batch_size`, `inner_batch_size` and `outer_batch_size` have a meaning;
    all rows are the published method, random ones its stochastic form.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.pzobo(outer_step_size=0.1, inner_step_size=0.1)

    **Reference:** D. Sow, K. Ji and Y. Liang, On the convergence theory for Hessian-free
    bilevel algorithms, NeurIPS 2022.
    """
    rows = per_oracle(LEVELS, batch_sizes)
    return Algorithm(
        FiniteDifference(
            descent("inner", inner_step_size, inner_steps, rows["inner"]),
            num_directions=as_count("num_directions", num_directions),
            distance=distance,
            outer_batch_size=rows["outer"],
        ),
        as_outer(outer_step_size, "outer_step_size"),
    )
