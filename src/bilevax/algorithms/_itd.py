r"""Iterative differentiation: the gradient of the inner solver's own iterations.

| preset | inner iterates | oracle calls an outer step |
|---|---|---|
| `itd` | all stored | T gradients, T HVPs, T cross products, 1 outer gradient |
| `reverse` | recomputed | T + k gradients, k HVPs, k cross products, 1 outer gradient |

k is `last`, or T. y is warm-started in both, and a constant under differentiation. The
derivative uses the batches of the forward pass, so that of the batch sizes only
`batch_size`, `inner_batch_size` and `outer_batch_size` have a meaning here.
"""

from .._core.numbers import as_count
from .._core.types import Count, NumSteps, StepSize
from .._rows.samplers import BatchSize
from ..hypergradients import Unrolled
from ..solvers._directions import OuterStep, as_outer
from ._base import Algorithm
from ._batches import per_oracle
from ._steps import descent

_ORACLES = ("inner", "outer")


def itd(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    max_inner_steps: Count | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""ITD: $\psi = \frac{d}{dx} f(x, y^T(x))$ in reverse mode, all steps stored.

    **Arguments:** see `bilevax.algorithms`; with `inner_steps` a function of the outer
    step, `max_inner_steps` is the most it returns.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.itd(outer_step_size=1.0, inner_step_size=0.1)

    **Reference:** L. Franceschi, M. Donini, P. Frasconi and M. Pontil, Forward and reverse
    gradient-based hyperparameter optimization, ICML 2017.
    """
    rows = per_oracle(_ORACLES, batch_sizes)
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    if max_inner_steps is not None:
        as_count("max_inner_steps", max_inner_steps)
    return Algorithm(
        Unrolled(inner, outer_batch_size=rows["outer"], max_num_steps=max_inner_steps),
        as_outer(outer_step_size, "outer_step_size"),
    )


def reverse(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    last: Count | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""Reverse: ITD with each step recomputed from its stored iterate, truncated or not.

    **Arguments:** see `bilevax.algorithms`; `last` differentiates through the last so
    many steps only.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.reverse(outer_step_size=1.0, inner_step_size=0.1, last=5)

    **References:** L. Franceschi et al., ICML 2017; A. Shaban, C.-A. Cheng, N. Hatch and
    B. Boots, Truncated back-propagation for bilevel optimization, AISTATS 2019.
    """
    rows = per_oracle(_ORACLES, batch_sizes)
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    return Algorithm(
        Unrolled(inner, last=last, checkpoint="step", outer_batch_size=rows["outer"]),
        as_outer(outer_step_size, "outer_step_size"),
    )
