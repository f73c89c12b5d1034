"""Bias and variance of a hypergradient, from the errors of y and z (Prop. 4)."""

from typing import Any, NamedTuple

from ._amigo_constants import Constants
from ._amigo_inner import Contractions
from ._checks import Number, check_nonnegative


class HypergradientNoise(NamedTuple):
    r"""$w_x^2$ and $\sigma_x^2$ of Eq. 16: the variance is $w_x^2 + \sigma_x^2 \Pi E^z$."""

    constant: float
    relative: float


class HypergradientErrors(NamedTuple):
    r"""$E^\psi$, the mean square of the bias, and $V^\psi$, the variance (Prop. 4)."""

    bias: Any
    variance: Any


def hypergradient_noise(*, constants: Constants) -> HypergradientNoise:
    r"""$w_x^2$ and $\sigma_x^2$ (Arbel and Mairal 2022, Eq. 16).

    With $c = \sigma_{gxy}^2 + L_g'^2$,
    $w_x^2 = (1 + 2 L_g' / \mu_g + 6c / \mu_g^2) \sigma_f^2
    + 2c B^2 \sigma_{gyy}^2 / (L_g \mu_g^3) + 2 B^2 \sigma_{gxy}^2 / \mu_g^2$ and
    $\sigma_x^2 = 2 \sigma_{gxy}^2 + 4 L_g'^2 \sigma_{gyy}^2 / \mu_g^2$.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=0.5, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0,
    ...     outer_variance=1.0)
    >>> amigo.hypergradient_noise(constants=c)
    HypergradientNoise(constant=29.0, relative=0.0)
    """
    c, mu = constants, constants.strong_convexity
    crossed = c.cross_variance + c.cross_smoothness**2
    outer = (1 + 2 * c.cross_smoothness / mu + 6 * crossed / mu**2) * c.outer_variance
    products = c.hvp_variance * crossed / (c.smoothness * mu) + c.cross_variance
    relative = 2 * c.cross_variance + 4 * c.solution_lipschitz**2 * c.hvp_variance
    return HypergradientNoise(outer + 2 * c.adjoint_bound**2 * products, relative)


def hypergradient_errors(
    *,
    constants: Constants,
    contractions: Contractions,
    inner_mse: Number,
    adjoint_mse: Number,
) -> HypergradientErrors:
    r"""Bias and variance of an estimate, from the errors before the solves.

    $E^\psi \le 2 L_\psi^2 (\Lambda E^y + \Pi E^z + R^y)$,
    $V^\psi \le w_x^2 + \sigma_x^2 \Pi E^z$ (Arbel and Mairal 2022, Prop. 4).

    **Arguments:** `constants`, `contractions`, `inner_mse` $E^y$ and `adjoint_mse` $E^z$.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=0.5, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0)
    >>> contractions = amigo.contractions(constants=c, inner_steps=2, adjoint_steps=2)
    >>> found = amigo.hypergradient_errors(constants=c, contractions=contractions,
    ...     inner_mse=4.0, adjoint_mse=0.0)
    >>> float(found.bias), float(found.variance)
    (18.0, 0.0)
    """
    check_nonnegative(inner_mse=inner_mse, adjoint_mse=adjoint_mse)
    c, left = contractions, contractions.adjoint * adjoint_mse
    squares = c.inner * inner_mse + left + c.inner_noise
    noise = hypergradient_noise(constants=constants)
    bias = 2 * constants.hypergradient_lipschitz**2 * squares
    return HypergradientErrors(bias, noise.constant + noise.relative * left)
