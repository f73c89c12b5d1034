"""How near the inner and the adjoint solver come, from where they are started."""

from typing import Any, NamedTuple

import numpy as np

from ._amigo_constants import Constants
from ._checks import Number, check_nonnegative, check_step


class Contractions(NamedTuple):
    r"""What T and N steps leave of a squared error, and what their noise adds (Prop. 7).

    - `inner`: $\Lambda$; `adjoint`: $\Pi$;
    - `inner_noise`: $R^y$; `adjoint_noise`: $R^z$.
    """

    inner: Any
    adjoint: Any
    inner_noise: Any
    adjoint_noise: Any


class SolveErrors(NamedTuple):
    r"""Mean squares after the solves (Prop. 7), $\bar z$ being the mean of z given y.

    - `inner`: $E \|y_k - y^*\|^2$; `adjoint`: $E \|z_k - z^*\|^2$;
    - `adjoint_bias`: $E \|\bar z_k - z^*\|^2$;
    - `adjoint_variance`: $E \|z_k - \bar z_k\|^2$.
    """

    inner: Any
    adjoint: Any
    adjoint_bias: Any
    adjoint_variance: Any


def longest_adjoint_step(*, constants: Constants) -> float:
    r"""$\min(1 / (2 L_g), \mu_g / (\mu_g^2 + \sigma_{gyy}^2))$, the largest $\beta$ of Prop. 7.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=0.5, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0,
    ...     hvp_variance=1.0)
    >>> amigo.longest_adjoint_step(constants=c)
    0.4
    """
    mu = constants.strong_convexity
    return min(1 / (2 * constants.smoothness), mu / (mu**2 + constants.hvp_variance))


def contractions(
    *,
    constants: Constants,
    inner_steps: Number,
    adjoint_steps: Number,
    inner_step_size: float | None = None,
    adjoint_step_size: float | None = None,
) -> Contractions:
    r"""The contractions of Prop. 7 of Arbel and Mairal (2022), and their noise.

    $\Lambda = (1 - \alpha \mu_g)^T$, $\Pi = (1 - \beta \mu_g / 2)^N$,
    $R^y = 2 \alpha \sigma_g^2 / \mu_g$ and
    $R^z = \beta B^2 \sigma_{gyy}^2 / \mu_g^3 + 3 \sigma_f^2 / \mu_g^2$ (Eq. 14).

    **Arguments:** `constants`; `inner_steps` T, `adjoint_steps` N; `inner_step_size`
    $\alpha \le 1 / L_g$ and `adjoint_step_size` $\beta$, by default $1 / L_g$ and
    $1 / (2 L_g)$.

    **Raises** `ValueError` for steps that are too long, see `longest_adjoint_step`.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=0.5, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0)
    >>> list(map(float, amigo.contractions(constants=c, inner_steps=2, adjoint_steps=2)))
    [0.25, 0.765625, 0.0, 0.0]
    """
    mu, smoothness = constants.strong_convexity, constants.smoothness
    alpha = 1 / smoothness if inner_step_size is None else inner_step_size
    beta = 1 / (2 * smoothness) if adjoint_step_size is None else adjoint_step_size
    check_nonnegative(inner_steps=inner_steps, adjoint_steps=adjoint_steps)
    check_step("inner_step_size", alpha, 1 / smoothness, "1 / smoothness")
    longest = longest_adjoint_step(constants=constants)
    check_step("adjoint_step_size", beta, longest, "longest_adjoint_step(...)")
    multiplied = beta * constants.adjoint_bound**2 * constants.hvp_variance / mu
    return Contractions(
        (1 - alpha * mu) ** np.asarray(inner_steps),
        (1 - beta * mu / 2) ** np.asarray(adjoint_steps),
        2 * alpha * constants.inner_variance / mu,
        multiplied + 3 * constants.outer_variance / mu**2,
    )


def solve_errors(
    *,
    constants: Constants,
    contractions: Contractions,
    inner_mse: Number,
    adjoint_mse: Number,
) -> SolveErrors:
    r"""The errors after the solves, from those before (Prop. 7, Eqs. 11 and 15).

    $\Lambda E^y + R^y$; $\Pi E^z + R^z$; $\Pi E^z$;
    $4 \sigma_{gyy}^2 \Pi E^z / \mu_g^2 + 2 R^z$.

    **Arguments:** `inner_mse` $E^y = E \|y_{k-1} - y^*(x_k)\|^2$ and `adjoint_mse`
    $E^z = E \|z_{k-1} - z^*(x_k, y_k)\|^2$, before the solves.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=0.5, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0)
    >>> contractions = amigo.contractions(constants=c, inner_steps=2, adjoint_steps=2)
    >>> float(amigo.solve_errors(constants=c, contractions=contractions, inner_mse=4.0,
    ...     adjoint_mse=1.0).inner)
    1.0
    """
    check_nonnegative(inner_mse=inner_mse, adjoint_mse=adjoint_mse)
    c, left = contractions, contractions.adjoint * adjoint_mse
    spread = 4 * constants.hvp_variance / constants.strong_convexity**2 * left
    return SolveErrors(
        c.inner * inner_mse + c.inner_noise,
        left + c.adjoint_noise,
        left,
        spread + 2 * c.adjoint_noise,
    )
