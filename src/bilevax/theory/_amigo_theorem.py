"""Theorem 1: what is guaranteed with the steps of Prop. 10."""

import math

import numpy as np

from ._amigo_constants import Constants
from ._amigo_hypergradient import hypergradient_noise
from ._checks import Number, Value, check_nonnegative, check_positive, require


def effective_variance(*, constants: Constants) -> float:
    r"""$W^2$, what noise is left for at the end; 0 if and only if nothing is drawn.

    $((1 - u) / (2 \delta_0) \cdot 1\{\text{convex}\} + 3) w_x^2
    + 60 L_\psi^2 \sigma_g^2 / (\delta_0 \mu_g L_g)$ (Arbel and Mairal 2022, Eq. 20), with
    u = 1: iterates are averaged where l is convex.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=1.0, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0,
    ...     inner_variance=1.0)
    >>> amigo.effective_variance(constants=c)
    240.0
    """
    c = constants
    of_y = 60 * c.hypergradient_lipschitz**2 * c.inner_variance
    noise = 3 * hypergradient_noise(constants=c).constant
    return noise + of_y / (c.delta * c.strong_convexity * c.smoothness)


def energy_bound(
    *,
    constants: Constants,
    outer_steps: Number,
    initial_energy: Number,
    initial_gap: Number = 0.0,
) -> Value:
    r"""The total energy after k outer steps with the `steps` of Prop. 10, l convex.

    - Deterministic, of $E^{tot}_k \ge \mu \|x_k - x^*\|^2 / 2 + l(x_k) - l^*$:
      $(1 - 1/(2 \kappa_L))^k E^{tot}_0$ (Arbel and Mairal 2022, Eq. 24).
    - With noise, of $E[l(\bar x_k) - l^*] + E^{tot}_k$, where
      $\bar x_k = (1 - \delta_0) \bar x_{k-1} + \delta_0 x_k$ and $E^{tot}$ has no
      $l(x_k) - l^*$:
      $(1 - 1/(2 \kappa_L))^k (E^{tot}_0 + l(x_0) - l^*) + 2 W^2 / L$ (Theorem 1).

    **Arguments:** `constants`; `outer_steps` k; `initial_energy` $E^{tot}_0$; `initial_gap`
    $l(x_0) - l^*$, which counts with noise only.

    **Raises** `ValueError` where `constants` have no `bilevel_strong_convexity`.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=1.0, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0,
    ...     bilevel_smoothness=1.0, bilevel_strong_convexity=0.5)
    >>> float(amigo.energy_bound(constants=c, outer_steps=2, initial_energy=16.0))
    9.0
    """
    check_nonnegative(
        outer_steps=outer_steps, initial_energy=initial_energy, initial_gap=initial_gap
    )
    _require_convex(constants)
    start = initial_energy + (initial_gap if constants.is_averaged else 0.0)
    floor = 2 * effective_variance(constants=constants) / constants.gradient_lipschitz
    return (1 - constants.delta / 2) ** np.asarray(outer_steps) * start + floor


def mean_energy_bound(
    *,
    constants: Constants,
    outer_steps: Number,
    initial_gap: Number,
    inner_mse: Number,
    adjoint_mse: Number,
) -> Value:
    r"""The mean of $E^{tot}_1, \dots, E^{tot}_k$ with the `steps` of Prop. 10, l not convex.

    $2 (E[l(x_0) - l^*] + E^y_0 + E^z_0) / k + 2 W^2 / L$ (Arbel and Mairal 2022, Theorem 1),
    where $E^{tot} \ge E \|\nabla l\|^2 / (2L)$; without noise $W = 0$.

    **Arguments:** `constants`, whose `bilevel_strong_convexity` is `None`; `outer_steps` k;
    `initial_gap` $l(x_0) - l^*$; `inner_mse` $E^y_0$ and `adjoint_mse` $E^z_0$.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=1.0, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0)
    >>> amigo.mean_energy_bound(constants=c, outer_steps=10, initial_gap=1.0, inner_mse=2.0,
    ...     adjoint_mse=2.0)
    1.0
    """
    check_positive(outer_steps=outer_steps)
    check_nonnegative(initial_gap=initial_gap, inner_mse=inner_mse, adjoint_mse=adjoint_mse)
    remedy = "Where l is strongly convex, energy_bound says more."
    given = constants.bilevel_strong_convexity or 0.0
    require(given == 0, "bilevel_strong_convexity", "be None here", given, remedy)
    floor = 2 * effective_variance(constants=constants) / constants.gradient_lipschitz
    return 2 * (initial_gap + inner_mse + adjoint_mse) / outer_steps + floor


def outer_steps(*, constants: Constants, reduction: float) -> int:
    r"""Outer steps after which $(1 - 1/(2\kappa_L))^k$ is at most a number in (0, 1).

    Without noise the total energy is then guaranteed to be at most that share of its start
    (Arbel and Mairal 2022, Eq. 24): $k = \lceil \ln r / \ln(1 - 1/(2 \kappa_L)) \rceil$.

    >>> from bilevax.theory import amigo
    >>> c = amigo.Constants(strong_convexity=1.0, smoothness=1.0, cross_smoothness=1.0,
    ...     derivative_lipschitz=0.0, outer_smoothness=1.0, outer_lipschitz=1.0,
    ...     bilevel_smoothness=1.0, bilevel_strong_convexity=0.1)
    >>> amigo.outer_steps(constants=c, reduction=1e-6)
    270
    """
    remedy = "It is the share of the initial energy that may be left."
    require(0 < reduction < 1, "reduction", "be between 0 and 1", reduction, remedy)
    _require_convex(constants)
    return math.ceil(math.log(reduction) / math.log1p(-constants.delta / 2))


def _require_convex(constants: Constants) -> None:
    remedy = "Where l is not convex, mean_energy_bound is what holds."
    known = constants.bilevel_strong_convexity or 0.0
    require(known > 0, "bilevel_strong_convexity", "be known and above 0", known, remedy)
