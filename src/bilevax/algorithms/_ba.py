"""The bilevel approximation method (Ghadimi and Wang 2018)."""

import jax.numpy as jnp

from .._core.types import NumSteps, StepSize
from .._rows.samplers import BatchSize
from ..solvers import Direct
from ..solvers._directions import OuterStep
from ._base import Algorithm
from ._batches import per_oracle
from ._implicit import implicit
from ._steps import descent


def growing_steps(k):
    r"""$T_k = \lceil (k+1)^{1/4} / 2 \rceil$, the inner steps of BA on non-convex problems.

    >>> [int(growing_steps(k)) for k in (0, 15, 16, 255, 256)]
    [1, 1, 2, 2, 3]
    """
    # Integer comparisons: a power of k + 1 would round across the ceiling.
    thresholds = jnp.array([(2 * t) ** 4 for t in range(1, 100)])
    return 1 + jnp.sum(k + 1 > thresholds)


def ba(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = growing_steps,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""BA: gradient descent of growing length, and an exact adjoint.

    $T_k$ steps on the inner problem, then $z = -H^{-1} \partial_y f$ by a dense solve;
    for small y. y is warm-started, as it is wherever BA is compared with the others.

    **Arguments:** see `bilevax.algorithms`; `inner_steps` is
    $T_k = \lceil (k+1)^{1/4}/2 \rceil$ by default, the rule for non-convex problems.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.ba(outer_step_size=1.0, inner_step_size=0.1)

    **Reference:** S. Ghadimi and M. Wang, Approximation methods for bilevel programming,
    arXiv 1802.02246, 2018.
    """
    rows = per_oracle(("inner", "cross", "outer"), batch_sizes)
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    return implicit(inner, Direct(), outer_step_size, rows)
