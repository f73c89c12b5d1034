"""The stochastic fixed-point iteration."""

from .._core.types import NumSteps, StepSize
from .._rows.samplers import BatchSize
from ._descent import Descent, GradientDescent


def StochasticFixedPoint(  # noqa: N802 - constructs a solver
    step_size: StepSize, num_steps: NumSteps, batch_size: BatchSize
) -> Descent:
    r"""The stochastic Krasnoselskii-Mann iteration of a map of which samples are known.

    $u^{i+1} = u^i + \eta_i (\hat T(u^i, \zeta_i) - u^i)$ with a fresh batch $\zeta_i$ at
    every step (Grazzi et al. 2021, Eq. 17). On the inner level of a `bx.FixedPointProblem`
    $\hat T$ is $\hat\phi(x, \cdot)$ (Eq. 28); on its adjoint system it is
    $z \mapsto (\partial_y \hat\phi)^\top z - \partial_y f$, with the exact
    $\partial_y f$ (Eq. 29, with $v = -z$). Where the inner problem minimises, T is
    $y - \nabla_y g$ and this is `bx.SGD`.

    Steps of 1 repeat $\hat T$ itself. Constant ones up to $1 / (1 + \sigma_2)$ lead into a
    ball around the fixed point, at a linear rate (Theorem 4.1), decreasing ones to it
    (Theorem 4.2): `bx.theory.sid.steps` has both, and the two together.

    **Arguments:**

    - `step_size`: $\eta$, a float or a schedule, whose index restarts at every solve.
    - `num_steps`: steps of one solve, an int or a function of the outer step k.
    - `batch_size`: rows of a sample: an int (random rows with replacement, which the theory
      assumes), a sampler, or `None` (all rows: no noise is left).

    >>> import bilevax as bx
    >>> rule = bx.theory.sid.steps(contraction=0.9, relative_noise=1.0)
    >>> steps = bx.schedules.decreasing(**rule.decreasing)
    >>> solver = bx.StochasticFixedPoint(steps, num_steps=1000, batch_size=50)

    **Reference:** R. Grazzi, M. Pontil and S. Salzo, Convergence properties of stochastic
    hypergradients, AISTATS 2021.
    """
    return GradientDescent(step_size, num_steps, batch_size=batch_size)
