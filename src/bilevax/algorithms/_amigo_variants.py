"""AmIGO with other inner solvers: accelerated, and with a table of gradients."""

from .._core.types import Number, NumSteps, StepSize
from .._rows.samplers import BatchSize
from ..schedules import as_step_size
from ..solvers import SAG, AcceleratedGradientDescent
from ..solvers._base import checked_num_steps
from ..solvers._directions import OuterStep
from ._base import Algorithm
from ._batches import ALL, per_oracle
from ._implicit import implicit
from ._steps import descent


def amigo_accelerated(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    inner_strong_convexity: Number | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""Accelerated AmIGO: Nesterov's method on both levels, both warm-started.

    $y^{t+1} = w^t - \alpha \nabla_y g(x_k, w^t)$ and
    $w^{t+1} = y^{t+1} + q (y^{t+1} - y^t)$ from $w^0 = y^0 = y_{k-1}$, with
    $q = (\sqrt{\kappa_g} - 1) / (\sqrt{\kappa_g} + 1)$; z by the same steps on
    $H z + \partial_y f$ (Arbel and Mairal 2022, A.5.1). T and N are then of the order of
    $\sqrt{\kappa_g}$.

    **Arguments:** see `bilevax.algorithms`, and

    - `inner_strong_convexity`: $\mu_g$, with which $\kappa_g = 1 / (\alpha \mu_g)$. Without it
      the momentum is that of Beck and Teboulle, which needs no constant.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.amigo_accelerated(
    ...     outer_step_size=1.0, inner_step_size=0.1, adjoint_step_size=0.1,
    ...     inner_strong_convexity=0.01)

    **Reference:** M. Arbel and J. Mairal, Amortized implicit differentiation for
    stochastic bilevel optimization, ICLR 2022.
    """
    rows = per_oracle(ALL, batch_sizes)
    inner, adjoint = (
        AcceleratedGradientDescent(
            as_step_size(step_size, f"{level}_step_size"),
            checked_num_steps(num_steps, f"{level}_steps"),
            strong_convexity=inner_strong_convexity,
            batch_size=rows[oracle],
        )
        for level, oracle, step_size, num_steps in (
            ("inner", "inner", inner_step_size, inner_steps),
            ("adjoint", "hvp", adjoint_step_size, adjoint_steps),
        )
    )
    return implicit(inner, adjoint, outer_step_size, rows)


def amigo_sag(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    inner_batch_size: BatchSize = 1,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""Variance-reduced AmIGO: y by the stochastic average gradient.

    As `amigo_gd`, with T steps of `bx.SAG` on y: a table of the gradients of the n batches of
    a fixed partition, zero again at every solve, whose mean y moves along (Arbel and Mairal
    2022, A.5.2).

    **Arguments:** see `bilevax.algorithms`, and

    - `inner_step_size`: $\alpha$; as published $1 / (2 n L_g)$, with T of the order of
      $n \kappa_g$;
    - `inner_batch_size`: rows of a batch of the partition, which must divide the rows. It is
      apart from `batch_size`, which is of the other three oracles. The batches are visited
      in a fresh order every epoch, where the paper draws them with replacement.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.amigo_sag(
    ...     outer_step_size=1.0, inner_step_size=1e-3, inner_steps=100, adjoint_step_size=0.1,
    ...     inner_batch_size=10)

    **Reference:** M. Arbel and J. Mairal, ICLR 2022.
    """
    rows = per_oracle(("hvp", "cross", "outer"), batch_sizes)
    inner = SAG(
        as_step_size(inner_step_size, "inner_step_size"),
        checked_num_steps(inner_steps, "inner_steps"),
        inner_batch_size,
        restart=True,
    )
    adjoint = descent("adjoint", adjoint_step_size, adjoint_steps, rows["hvp"])
    return implicit(inner, adjoint, outer_step_size, rows)
