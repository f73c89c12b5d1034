"""One-step differentiation."""

from .._rows.samplers import BatchSize
from ..solvers._base import IterativeSolver
from ._unrolled import Unrolled


def OneStep(  # noqa: N802 - constructs an estimator
    inner: IterativeSolver,
    *,
    warm_start_inner: bool = True,
    outer_batch_size: BatchSize = None,
) -> Unrolled:
    r"""The one-step estimator: the derivative of the inner solver's last iteration only.

    With $y_t = \Phi(x, y_{t-1})$ it is
    $\partial_x f + (\partial_x \Phi)^\top \partial_y f$: `bx.Unrolled` with `last=1`, for one
    product of each kind. Its bias is of the order of the contraction of $\Phi$: small for fast
    solvers, and none for Newton's method.

    **Arguments:** as in `bx.Unrolled`.

    >>> import bilevax as bx
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: (y - 1) ** 2 / 2, inner=lambda x, y: (y - x) ** 2)
    >>> h = bx.hypergradient(problem, bx.OneStep(bx.GradientDescent(0.5, 10)), 3.0, 0.0)
    >>> float(h.gradient), h.cost.hvp
    (2.0, 1)

    **Reference:** J. Bolte, E. Pauwels and S. Vaiter, One-step differentiation of iterative
    algorithms, NeurIPS 2023.
    """
    return Unrolled(
        inner, last=1, warm_start_inner=warm_start_inner, outer_batch_size=outer_batch_size
    )
