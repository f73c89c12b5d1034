"""StocBiO and AID-BiO (Ji, Yang and Liang, ICML 2021)."""

from .._core.types import NumSteps, StepSize
from .._rows.samplers import BatchSize
from ..solvers._directions import OuterStep
from ._amigo import aid_n, amigo_cg
from ._base import Algorithm


def stocbio(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""StocBiO: stochastic gradient descent on y, and a nested stochastic Neumann series.

    The stochastic `aid_n`.

    T steps on y from the last one, then
    $z = -\eta \sum_{q=0}^{Q} \prod_{i \le q} (I - \eta H_i) \, \partial_y f$ with Q products on
    fresh rows each, Q + 1 terms and one $\partial_y f$.

    **Arguments:** see `bilevax.algorithms`; `adjoint_step_size` is $\eta$ and `adjoint_steps`
    Q, by default 10, with which the paper learns 20 Newsgroups at $\eta = 0.5$. All products
    read as many rows, where the paper allows fewer along the series. The public code leaves
    $\partial_x f$ and a factor $\eta$ out; here is the published formula.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.stocbio(
    ...     outer_step_size=0.1, inner_step_size=0.1, adjoint_step_size=0.5, batch_size=64)

    **Reference:** K. Ji, J. Yang and Y. Liang, Bilevel optimization: convergence analysis and
    enhanced design, ICML 2021.
    """
    return aid_n(
        outer_step_size=outer_step_size,
        inner_step_size=inner_step_size,
        adjoint_step_size=adjoint_step_size,
        inner_steps=inner_steps,
        adjoint_steps=adjoint_steps,
        **batch_sizes,
    )


def aid_bio(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
) -> Algorithm:
    r"""AID-BiO: gradient descent on y and conjugate gradient on z, both warm, on all rows.

    The deterministic `amigo_cg`, under the name of the paper that has its rate for a
    non-convex value function.

    **Arguments:** see `bilevax.algorithms`; it takes no batch sizes.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.aid_bio(outer_step_size=1.0, inner_step_size=0.1)

    **Reference:** K. Ji, J. Yang and Y. Liang, ICML 2021, Algorithm 1.
    """
    return amigo_cg(
        outer_step_size=outer_step_size,
        inner_step_size=inner_step_size,
        inner_steps=inner_steps,
        adjoint_steps=adjoint_steps,
    )
