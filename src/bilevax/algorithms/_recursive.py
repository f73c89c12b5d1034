r"""Recursive estimates with a Neumann series in place of z: MRBO, VRBO and SUSTAIN.

With $w = (x, y)$, $G = \nabla_y g$ and $h$ the hypergradient with
$z = -\eta \sum_{q=0}^{Q} (I - \eta H)^q \partial_y f$, of Q products, u estimates G and v
estimates h.

| preset | estimates | calls an outer step |
|---|---|---|
| `mrbo` | STORM | 2 (1 + Q + 1 + 1) |
| `vrbo` | SPIDER, T + 1 times an outer step | 2 (T + 1) (1 + Q + 1 + 1) |
| `sustain` | STORM | 2 (1 + p + 1 + 1), with one random term of p products |

and, for VRBO, a refresh of (1 + Q + 1 + 1) calls every `period` outer steps in place of one
estimate on batches. The truncated series biases both: they do not converge to the solution,
however small their steps, but to a distance from it that Q decides.
"""

from typing import Any

from .._core.numbers import as_count
from .._core.types import ArrayLike, Count, StepSize, Weight
from .._rows.samplers import BatchSize
from ..hypergradients import Joint
from ..reducers import SPIDER, STORM
from ..schedules import as_step_size, polynomial
from ..solvers import Neumann
from ..solvers._directions import OuterStep, as_outer
from ._base import Algorithm
from ._batches import per_oracle
from ._single_loop import LEVELS


def mrbo(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    adjoint_steps: Count = 10,
    inner_momentum: Weight | None = None,
    outer_momentum: Weight | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""MRBO: momentum-based recursive estimates of both directions.

    $u_k = G(w_k) + (1 - c_y)(u_{k-1} - G(w_{k-1}))$ and
    $v_k = h(w_k) + (1 - c_x)(v_{k-1} - h(w_{k-1}))$, the same batches at both points; then
    $y_{k+1} = y_k - \alpha u_k$ and $x_{k+1} = x_k - \gamma v_k$.

    **Arguments:** see `bilevax.algorithms`. `adjoint_step_size` is $\eta$ and
    `adjoint_steps` Q; `inner_momentum` is $c_y$ and `outer_momentum` $c_x$, numbers in (0, 1]
    or schedules of k, by default $(k + 1)^{-2/3}$, which belong to steps that decrease as
    $k^{-1/3}$, as published. The public code for 20 Newsgroups has constants in their
    place: give numbers for those.

    >>> import bilevax as bx
    >>> steps = bx.schedules.polynomial(0.1, 1 / 3)
    >>> algorithm = bx.algorithms.mrbo(
    ...     outer_step_size=steps, inner_step_size=steps, adjoint_step_size=0.1, batch_size=64)

    **Reference:** J. Yang, K. Ji and Y. Liang, Provably faster algorithms for bilevel
    optimization, NeurIPS 2021.
    """
    series = _series(adjoint_step_size, adjoint_steps)
    momenta = inner_momentum, outer_momentum
    return _with_momenta(series, inner_step_size, outer_step_size, momenta, batch_sizes)


def sustain(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    adjoint_steps: Count = 10,
    inner_momentum: Weight | None = None,
    outer_momentum: Weight | None = None,
    lengths: ArrayLike | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""SUSTAIN: `mrbo` with one random term of the series in place of all of it.

    h is the hypergradient with $z = -\eta b (I - \eta H)^p \, \partial_y f$, where p is uniform
    on $\{0, \dots, b - 1\}$ and the same at both points of a step.

    **Arguments:** see `bilevax.algorithms` and `mrbo`; `adjoint_steps` is b. `lengths` gives
    the numbers p, as in `bx.Neumann`, in place of drawn ones.

    >>> import bilevax as bx
    >>> steps = bx.schedules.polynomial(0.1, 1 / 3)
    >>> algorithm = bx.algorithms.sustain(
    ...     outer_step_size=steps, inner_step_size=steps, adjoint_step_size=0.1, batch_size=64)

    **Reference:** P. Khanduri, S. Zeng, M. Hong, H.-T. Wai, Z. Wang and Z. Yang, A near-optimal
    algorithm for stochastic bilevel optimization via double-momentum, NeurIPS 2021.
    """
    term = _series(adjoint_step_size, adjoint_steps, randomized=True, lengths=lengths)
    momenta = inner_momentum, outer_momentum
    return _with_momenta(term, inner_step_size, outer_step_size, momenta, batch_sizes)


def vrbo(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    inner_steps: Count = 3,
    adjoint_steps: Count = 10,
    period: Count = 10,
    refresh_batch_size: Count | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""VRBO: recursive differences of both directions, refreshed every `period` outer steps.

    x moves along v; then, T times, u and v are corrected by what G and h changed by on a
    fresh batch since they were last evaluated, and y moves along u; a last correction sees
    the last move of y. The first of them compares $(x_{k+1}, y_k)$ with $(x_k, y_k)$. Where
    a refresh would overwrite a correction, that is not made.

    **Arguments:** see `bilevax.algorithms`. `inner_steps` is T (m + 1 in the paper),
    `adjoint_step_size` is $\eta$ and `adjoint_steps` Q; `refresh_batch_size` random rows, or
    all of them, anchor u and v.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.vrbo(
    ...     outer_step_size=0.1, inner_step_size=0.1, adjoint_step_size=0.1, batch_size=64)

    **Reference:** J. Yang, K. Ji and Y. Liang, Provably faster algorithms for bilevel
    optimization, NeurIPS 2021.
    """
    rows = per_oracle(LEVELS, batch_sizes)
    num = as_count("inner_steps", inner_steps)
    period = as_count("period", period) * (num + 1)
    return Algorithm(
        Joint(
            _series(adjoint_step_size, adjoint_steps),
            SPIDER(period, refresh_batch_size=refresh_batch_size),
            inner_step_size,
            num_inner_steps=num,
            order="x first",
            inner_batch_size=rows["inner"],
            outer_batch_size=rows["outer"],
        ),
        as_outer(outer_step_size, "outer_step_size"),
    )


def _series(step_size: StepSize, num_steps: Count, **options: Any) -> Neumann:
    return Neumann(
        step_size=as_step_size(step_size, "adjoint_step_size"),
        num_steps=as_count("adjoint_steps", num_steps),
        **options,
    )


def _with_momenta(
    series: Neumann,
    inner_step_size: StepSize,
    outer_step_size: OuterStep,
    momenta: tuple[Weight | None, Weight | None],
    batch_sizes: dict[str, BatchSize],
) -> Algorithm:
    """Both directions estimated by recursive momentum."""
    rows = per_oracle(LEVELS, batch_sizes)
    of_y, of_x = (STORM(polynomial(1.0, 2 / 3) if c is None else c) for c in momenta)
    return Algorithm(
        Joint(
            series,
            (of_y, None, of_x),
            inner_step_size,
            inner_batch_size=rows["inner"],
            outer_batch_size=rows["outer"],
        ),
        as_outer(outer_step_size, "outer_step_size"),
    )
