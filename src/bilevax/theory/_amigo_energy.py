"""How the errors of y and z, and the total energy, pass from one outer step to the next."""

from typing import Any, NamedTuple

from ._amigo_constants import Constants
from ._amigo_hypergradient import hypergradient_noise
from ._amigo_inner import Contractions
from ._amigo_outer import noise_weight
from ._checks import Number, check_nonnegative, check_step


class InnerErrors(NamedTuple):
    r"""$E^y$ and $E^z$, before the solves."""

    inner_mse: Any
    adjoint_mse: Any


class EnergyStep(NamedTuple):
    r"""$F_k + E^{tot}_k \le \max(A) E^{tot}_{k-1} + V^{tot}$ (Prop. 9).

    - `outer`, `inner`, `adjoint`: $A^x$, $A^y$ and $A^z$; `noise`: $V^{tot}$.
    """

    outer: Any
    inner: Any
    adjoint: Any
    noise: Any


def inner_bounds(
    *,
    constants: Constants,
    contractions: Contractions,
    step_size: float,
    outer_energy: Number,
    inner_mse: Number,
    adjoint_mse: Number,
    bias: Number,
    variance: Number,
    averaged: bool = False,
    r: float = 1.0,
    theta: float = 1.0,
) -> InnerErrors:
    r"""$E^y_k$ and $E^z_k$ at most, from what they and $E^x$ were a step before.

    With $d = \gamma^2 (V^\psi + 2 E^\psi + 2 \zeta E^x) \ge E \|x_k - x_{k-1}\|^2$ and
    $S = \Lambda E^y + R^y$ (Arbel and Mairal 2022, Props. 5, 8 and 12, with $v = 1$):

    - $E^y_k \le (1 + r) S + 2 L_y^2 d / r$;
    - $E^z_k \le (1 + \theta)(\Pi E^z + R^z) + (32 L_z^2 S + 4 L_z^2 (1 + 8 L_y^2 / r) d
      + 8 L_z^2 R^y) / \theta$.

    **Arguments:** `constants`, `contractions`, `step_size` $\gamma$; of the step before,
    `outer_energy` $E^x$, `inner_mse` $E^y$, `adjoint_mse` $E^z$, `bias` $E^\psi$ and
    `variance` $V^\psi$; `averaged`: u; `r` and `theta` in (0, 1].

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=1.0, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0,
    ...     bilevel_strong_convexity=1.0)
    >>> contractions = amigo.contractions(constants=c, inner_steps=1, adjoint_steps=1)
    >>> found = amigo.inner_bounds(constants=c, contractions=contractions, step_size=0.25,
    ...     outer_energy=1.0, inner_mse=1.0, adjoint_mse=0.0, bias=0.0, variance=0.0)
    >>> float(found.inner_mse), float(found.adjoint_mse)
    (2.0, 36.0)
    """
    check_nonnegative(outer_energy=outer_energy, inner_mse=inner_mse, adjoint_mse=adjoint_mse)
    check_nonnegative(bias=bias, variance=variance, step_size=step_size)
    zeta, c = gradient_ratio(constants=constants, averaged=averaged), contractions
    moved = step_size**2 * (variance + 2 * bias + 2 * zeta * outer_energy)
    u_y, u_z = _push(constants, r, theta)
    left = c.inner * inner_mse + c.inner_noise
    inner = (1 + r) * left + u_y * moved
    follows = 8 * constants.adjoint_lipschitz**2 / theta * (4 * left + c.inner_noise)
    adjoint = (1 + theta) * (c.adjoint * adjoint_mse + c.adjoint_noise)
    return InnerErrors(inner, adjoint + follows + u_z * moved)


def gradient_ratio(*, constants: Constants, averaged: bool = False) -> float:
    r"""$\zeta$, with $\|\nabla l(x)\|^2 \le \zeta E^x$.

    $2L \min(1 / (1 - u), L / \eta_0)$ where l is convex, else 2L (Arbel and Mairal 2022,
    Prop. 8).

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=1.0, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0,
    ...     bilevel_smoothness=1.0, bilevel_strong_convexity=0.5)
    >>> amigo.gradient_ratio(constants=c), amigo.gradient_ratio(constants=c, averaged=True)
    (2.0, 4.0)
    """
    L = constants.gradient_lipschitz
    return 2 * L / constants.delta if constants.is_convex and averaged else 2 * L


def energy_step(
    *,
    constants: Constants,
    contractions: Contractions,
    averaged: bool = False,
    rho: float = 0.5,
    r: float = 1.0,
    theta: float = 1.0,
) -> EnergyStep:
    r"""What an outer step of size $1/L$ leaves of the total energy, and what it adds.

    With $s = 1/2$, $\phi = 2$ and $u^I = a U_1 + b U_2$ (Arbel and Mairal 2022, Prop. 9):

    - $A^x = 1 - (1 - \rho/2)\delta + 2 \zeta \gamma u^I$;
    - $A^y = \Lambda^{1/2} (1 + r (1 + 32 L_z^2 \Pi^{1/2} / \theta^2
      + 2 L_\psi^2 (2 u^I + s_k + 1/\rho) / \eta))$;
    - $A^z = \Pi^{1/2} (1 + \theta (1
      + (2 L_\psi^2 + \sigma_x^2)(2 u^I + s_k + 1/\rho) / \eta))$;
    - $V^{tot} = \delta ((1 + 1/r) \Lambda^{1/2} + 40 L_z^2 \Pi^{1/2} / \theta^2
      + 2 L_\psi^2 (2 u^I + s_k + 1/\rho) / \eta) R^y
      + \delta (1 + 1/\theta) \Pi^{1/2} R^z + \gamma (s_k + u^I) w_x^2$.

    **Arguments:** `constants`, `contractions`; `averaged`: u; `rho` in (0, 1), `r` and
    `theta` in (0, 1].

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=0.2, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=3.0,
    ...     bilevel_strong_convexity=0.1)
    >>> contractions = amigo.contractions(constants=c, inner_steps=96, adjoint_steps=766)
    >>> step = amigo.energy_step(constants=c, contractions=contractions)
    >>> bool(max(step[:3]) <= 1 - c.delta / 2), float(step.noise)
    (True, 0.0)
    """
    eta, delta, gamma = constants.eta, constants.delta, 1 / constants.gradient_lipschitz
    roots = contractions.inner**0.5, contractions.adjoint**0.5
    u_y, u_z = _push(constants, r, theta)
    pushed = delta * gamma * (roots[0] / r * u_y + roots[1] / theta * u_z)
    s = noise_weight(delta, averaged, constants.is_convex)
    weight = (2 * pushed + s + 1 / rho) / eta
    zeta = gradient_ratio(constants=constants, averaged=averaged)
    noise = hypergradient_noise(constants=constants)
    of_psi = 2 * constants.hypergradient_lipschitz**2
    follows = 8 * constants.adjoint_lipschitz**2 * roots[1] / theta**2
    added_y = (1 + 1 / r) * roots[0] + 5 * follows + of_psi * weight
    added_z = (1 + 1 / theta) * roots[1]
    inner_noises = added_y * contractions.inner_noise + added_z * contractions.adjoint_noise
    return EnergyStep(
        1 - (1 - rho / 2) * delta + 2 * zeta * gamma * pushed,
        roots[0] * (1 + r * (1 + 4 * follows + of_psi * weight)),
        roots[1] * (1 + theta * (1 + (of_psi + noise.relative) * weight)),
        delta * inner_noises + gamma * (s + pushed) * noise.constant,
    )


def _push(constants: Constants, r: float, theta: float) -> tuple[float, float]:
    r"""$U / \gamma$ of Prop. 8: how far $y^*$ and $z^*$ go with a step of x."""
    for name, value in {"r": r, "theta": theta}.items():
        check_step(name, value, 1.0, "1")
    of_y, of_z = constants.solution_lipschitz**2, constants.adjoint_lipschitz**2
    return 2 * of_y / r, 4 * of_z * (1 + 8 * of_y / r) / theta
