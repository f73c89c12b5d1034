"""The steps that Prop. 10 and Theorem 1 ask for."""

import math
from typing import NamedTuple

from ._amigo_constants import Constants
from ._amigo_energy import gradient_ratio
from ._amigo_hypergradient import hypergradient_noise
from ._checks import require


class Steps(NamedTuple):
    r"""Step sizes and counts, in the words of `bx.algorithms.amigo_gd`.

    - `outer_step_size`: $\gamma = 1 / L$; `inner_step_size`: $\alpha = 1 / L_g$;
      `adjoint_step_size`: $\beta = 1 / (2 L_g)$;
    - `inner_steps`: T; `adjoint_steps`: N.
    """

    outer_step_size: float
    inner_step_size: float
    adjoint_step_size: float
    inner_steps: int
    adjoint_steps: int


class EnergyWeights(NamedTuple):
    r"""$a = \delta_0 \Lambda^{1/2}$ and $b = \delta_0 \Pi^{1/2}$, of $E^y$ and $E^z$."""

    inner: float
    adjoint: float


def steps(*, constants: Constants) -> Steps:
    r"""Steps with which the total energy is guaranteed to fall.

    $\alpha = 1 / L_g$, $\beta = 1 / (2 L_g)$, $\gamma = 1 / L$, and with $\eta = \eta_0$
    (Arbel and Mairal 2022, Prop. 10 and Eq. 19)

    - $T = \lfloor C / (\alpha \mu_g) \rfloor + 1$,
      $N = \lfloor 2 (C + C') / (\beta \mu_g) \rfloor + 1$;
    - $C = \max(1 + 2 \ln(6 + 24 L_\psi^2 / \eta),
      2 \ln(1 + 4 L_y^2 / L^2 \max(\eta, 8 \zeta)),
      2 \ln \eta / (5 L_\psi^2), 2 \ln(4 L_y^2 \gamma), 0)$;
    - $C' = \max(1 + 2 \ln(4 + 12 (2 L_\psi^2 + \sigma_x^2) / \eta),
      2 \ln(1 + 2 L_z^2 / L_y^2 (1 + 16 L_y^2)),
      2 \ln 4 L_z^2 \eta / L_\psi^2, -2 \ln \gamma (\sigma_{gxy}^2 + L_g'^2), 0)$.

    T and N are of order $\kappa_g \ln \kappa_g$. They are worst cases, mostly by far.

    **Arguments:** `constants`, with the variances of the batches that will be drawn.

    **Raises** `ValueError` where $\sigma_{gyy}^2 > \mu_g L_g$: the theorem asks for
    $|D_{gyy}| \ge \sigma_{gyy}^2 / (\mu_g L_g)$ rows of it.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=0.2, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=3.0,
    ...     bilevel_smoothness=1.0, bilevel_strong_convexity=0.1)
    >>> amigo.steps(constants=c)[-2:]
    (96, 766)
    """
    c, mu = constants, constants.strong_convexity
    largest = mu * c.smoothness
    remedy = (
        "Take hvp_batch_size at least "
        f"{c.hvp_variance / largest:.4g} times as large: see with_batches."
    )
    name, must = "hvp_variance", f"be at most strong_convexity * smoothness = {largest:.4g}"
    require(c.hvp_variance <= largest, name, must, c.hvp_variance, remedy)
    of_y, of_both = _logarithms(constants)
    alpha, beta = 1 / c.smoothness, 1 / (2 * c.smoothness)
    return Steps(
        1 / c.gradient_lipschitz,
        alpha,
        beta,
        math.floor(of_y / (alpha * mu)) + 1,
        math.floor(2 * of_both / (beta * mu)) + 1,
    )


def _logarithms(constants: Constants) -> tuple[float, float]:
    """max C and max C + max C' of Eq. 19."""
    eta, gamma = constants.eta, 1 / constants.gradient_lipschitz
    y, z, psi = (
        lipschitz**2
        for lipschitz in (
            constants.solution_lipschitz,
            constants.adjoint_lipschitz,
            constants.hypergradient_lipschitz,
        )
    )
    zeta = gradient_ratio(constants=constants, averaged=constants.is_averaged)
    crossed = constants.cross_variance + constants.cross_smoothness**2
    noisy = 2 * psi + hypergradient_noise(constants=constants).relative
    # max(0, 2 ln a, 2 ln b) as 2 ln max(1, a, b), which has no logarithm of 0.
    of_y = max(
        1 + 2 * math.log(6 + 24 * psi / eta),
        2 * math.log(1 + 4 * y * gamma**2 * max(eta, 8 * zeta)),
        2 * math.log(max(1, eta / (5 * psi), 4 * y * gamma)),
    )
    of_z = max(
        1 + 2 * math.log(4 + 12 * noisy / eta),
        2 * math.log(1 + 2 * z / y * (1 + 16 * y)),
        2 * math.log(max(1, 4 * z * eta / psi, 1 / (gamma * crossed))),
    )
    return of_y, of_y + of_z


def energy_weights(*, constants: Constants) -> EnergyWeights:
    r"""The weights of $E^y$ and $E^z$ in the total energy, at the `steps` of Prop. 10.

    $a = \delta_0 (1 - \alpha \mu_g)^{T/2}$ and
    $b = \delta_0 (1 - \beta \mu_g / 2)^{N/2}$ (Arbel and Mairal 2022, Prop. 9 with
    $s = 1/2$, and Theorem 1).

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=1.0, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=3.0,
    ...     bilevel_smoothness=1.0, bilevel_strong_convexity=0.1)
    >>> amigo.energy_weights(constants=c).inner
    0.0
    """
    s, mu = steps(constants=constants), constants.strong_convexity
    return EnergyWeights(
        constants.delta * (1 - s.inner_step_size * mu) ** (s.inner_steps / 2),
        constants.delta * (1 - s.adjoint_step_size * mu / 2) ** (s.adjoint_steps / 2),
    )
