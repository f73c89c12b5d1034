"""Bounds on hypergradients from how near the inner and the adjoint solution are."""

from typing import Any, NamedTuple

import numpy as np

from ._checks import (
    Number,
    Value,
    check_contraction,
    check_nonnegative,
    check_positive,
    require,
)


class MSEBound(NamedTuple):
    """What bounds the mean square error of a stochastic hypergradient, part by part.

    - `mse`: the paper's bound (Theorem 3.4); `refined`: ours, never larger;
    - `bias`: of the mean estimate, a norm (Theorem 3.1);
    - `within`, `between`: the variance given the inner iterate, and that of its mean
      (Theorems 3.2 and 3.3), whose sum is `refined`;
    - `floor`: what is left however many steps are taken (14);
    - `bias_constant`: c_1.
    """

    mse: Any
    refined: Any
    bias: Any
    within: Any
    between: Any
    floor: Any
    bias_constant: Any


def bias_constant(
    *,
    contraction: Number,
    outer_lipschitz: Number,
    outer_smoothness: Number,
    outer_cross_smoothness: Number,
    jacobian_lipschitz: Number,
    cross_lipschitz: Number,
    cross_norm: Number,
) -> Value:
    r"""How much an error of y counts in a hypergradient whose adjoint is exact.

    $c_1 = \mu_2 + (\mu_1 L_\phi + \nu_2 L_f) / (1 - q) + \nu_1 L_f L_\phi / (1 - q)^2$
    (Grazzi et al. 2021, Theorem 3.1).

    **Arguments:** `contraction` q, `outer_lipschitz` $L_f$, `outer_smoothness` $\mu_1$,
    `outer_cross_smoothness` $\mu_2$, `jacobian_lipschitz` $\nu_1$, `cross_lipschitz`
    $\nu_2$, `cross_norm` $L_\phi$.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> sid.bias_constant(contraction=0.5, outer_lipschitz=1.0, outer_smoothness=1.0,
    ...     outer_cross_smoothness=1.0, jacobian_lipschitz=1.0, cross_lipschitz=1.0,
    ...     cross_norm=1.0)
    9.0
    """
    check_contraction(contraction)
    check_nonnegative(
        outer_lipschitz=outer_lipschitz,
        outer_smoothness=outer_smoothness,
        outer_cross_smoothness=outer_cross_smoothness,
        jacobian_lipschitz=jacobian_lipschitz,
        cross_lipschitz=cross_lipschitz,
        cross_norm=cross_norm,
    )
    gap = 1 - contraction
    first = (outer_smoothness * cross_norm + cross_lipschitz * outer_lipschitz) / gap
    second = jacobian_lipschitz * outer_lipschitz * cross_norm / gap**2
    return outer_cross_smoothness + first + second


def mse_bound(
    *,
    contraction: Number,
    outer_lipschitz: Number,
    outer_smoothness: Number,
    outer_cross_smoothness: Number,
    jacobian_lipschitz: Number,
    cross_lipschitz: Number,
    cross_norm: Number,
    cross_noise: Number,
    inner_mse: Number,
    adjoint_mse: Number,
    cross_samples: int | None = 1,
) -> MSEBound:
    r"""Bounds the mean square error of a stochastic hypergradient, with its parts.

    With $m = m_2 / J$, $\rho \ge E |y_t - y^*|^2$ and $\sigma \ge E |z_k - z|^2$ whatever
    $y_t$ is (Grazzi et al. 2021, Theorems 3.1 to 3.4 and (14)):

    - bias: $c_1 \sqrt\rho + L_\phi \sqrt\sigma + \nu_2 \sqrt{\rho \sigma}$;
    - within: $2 m L_f^2 / (1-q)^2 + 2 (L_\phi^2 + m) \sigma + 2 \nu_2^2 \rho \sigma$;
    - between: $3 (c_1^2 \rho + L_\phi^2 \sigma + \nu_2^2 \rho \sigma)$;
    - mse: $2 m L_f^2 / (1-q)^2 + 6 c_1^2 \rho + 2 (4 L_\phi^2 + m) \sigma
      + 8 \nu_2^2 \rho \sigma$;
    - floor: $2 m L_f^2 / (1-q)^2$.

    The mse counts the bound of Theorem 3.3 twice, as the variance between and as the
    squared bias. Together these are $E |E[\hat g | y_t] - \nabla l|^2$, which it bounds
    once: `refined` is within plus between.

    **Arguments:** those of `bias_constant`, and `cross_noise` $m_2$, `inner_mse` $\rho$,
    `adjoint_mse` $\sigma$, `cross_samples` J, or `None` for an exact $\partial_x \phi$.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> bound = sid.mse_bound(contraction=0.5, outer_lipschitz=2.0, outer_smoothness=1.0,
    ...     outer_cross_smoothness=0.0, jacobian_lipschitz=0.1, cross_lipschitz=0.2,
    ...     cross_norm=3.0, cross_noise=0.04, inner_mse=0.01, adjoint_mse=0.02)
    >>> round(bound.mse, 6), round(bound.refined, 6), round(bound.floor, 6)
    (7.800064, 4.72084, 1.28)
    """
    c = bias_constant(
        contraction=contraction,
        outer_lipschitz=outer_lipschitz,
        outer_smoothness=outer_smoothness,
        outer_cross_smoothness=outer_cross_smoothness,
        jacobian_lipschitz=jacobian_lipschitz,
        cross_lipschitz=cross_lipschitz,
        cross_norm=cross_norm,
    )
    check_nonnegative(cross_noise=cross_noise, inner_mse=inner_mse, adjoint_mse=adjoint_mse)
    m = _shared_noise(cross_noise, cross_samples)
    both = cross_lipschitz**2 * inner_mse * adjoint_mse
    roots = inner_mse**0.5, adjoint_mse**0.5
    floor = 2 * m * outer_lipschitz**2 / (1 - contraction) ** 2
    within = floor + 2 * (cross_norm**2 + m) * adjoint_mse + 2 * both
    between = 3 * (c**2 * inner_mse + cross_norm**2 * adjoint_mse + both)
    bias = c * roots[0] + cross_norm * roots[1] + cross_lipschitz * roots[0] * roots[1]
    return MSEBound(within + 2 * between, within + between, bias, within, between, floor, c)


def _shared_noise(cross_noise: Number, cross_samples: int | None) -> Value:
    """Of a mean of J samples, or of all of them."""
    if cross_samples is None:
        return 0 * cross_noise
    remedy = "It is the number of samples that the last product is averaged over."
    allowed = np.all(np.asarray(cross_samples) >= 1)
    require(allowed, "cross_samples", "be at least 1, or None", cross_samples, remedy)
    return cross_noise / cross_samples


def aid_fp_error(
    *,
    steps: Number,
    adjoint_steps: Number,
    contraction: Number,
    initial_distance: Number,
    bias_constant: Number,
    outer_lipschitz: Number,
    cross_lipschitz: Number,
    cross_norm: Number,
) -> Value:
    r"""Bounds the error of implicit differentiation by fixed-point iterations.

    $c_1 D q^t + (L_\phi + \nu_2 D q^t) q^k L_f / (1-q)$ after t iterations from distance D
    and k on the adjoint from zero (Grazzi et al. 2020): `aid_fp`, and `sid` on all rows with
    steps of 1.

    **Arguments:** `steps` t, `adjoint_steps` k, `initial_distance` $D = |y_0 - y^*|$, the
    others as in `mse_bound`.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> sid.aid_fp_error(steps=1, adjoint_steps=2, contraction=0.5, initial_distance=2.0,
    ...     bias_constant=3.0, outer_lipschitz=1.0, cross_lipschitz=1.0, cross_norm=1.0)
    4.0
    """
    check_nonnegative(adjoint_steps=adjoint_steps)
    return _implicit_error(
        contraction**adjoint_steps,
        steps=steps,
        contraction=contraction,
        initial_distance=initial_distance,
        bias_constant=bias_constant,
        outer_lipschitz=outer_lipschitz,
        cross_lipschitz=cross_lipschitz,
        cross_norm=cross_norm,
    )


def aid_cg_error(
    *,
    steps: Number,
    adjoint_steps: Number,
    contraction: Number,
    condition: Number,
    initial_distance: Number,
    bias_constant: Number,
    outer_lipschitz: Number,
    cross_lipschitz: Number,
    cross_norm: Number,
) -> Value:
    r"""The same with conjugate gradient on a symmetric adjoint system.

    $2 \sqrt\kappa ((\sqrt\kappa - 1) / (\sqrt\kappa + 1))^k$ in place of $q^k$ (Grazzi et
    al. 2020), with $\kappa$ the condition number of $I - \partial_y \phi$; of a gradient
    map that of the Hessian.

    **Arguments:** `condition` $\kappa$, the others as in `aid_fp_error`.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> sid.aid_cg_error(steps=1, adjoint_steps=1, contraction=0.5, condition=1.0,
    ...     initial_distance=2.0, bias_constant=3.0, outer_lipschitz=1.0,
    ...     cross_lipschitz=1.0, cross_norm=1.0)
    3.0
    """
    check_nonnegative(adjoint_steps=adjoint_steps)
    remedy = "It is a ratio of the largest to the smallest eigenvalue: check it."
    require(np.all(np.asarray(condition) >= 1), "condition", "be at least 1", condition, remedy)
    root = condition**0.5
    return _implicit_error(
        2 * root * ((root - 1) / (root + 1)) ** adjoint_steps,
        steps=steps,
        contraction=contraction,
        initial_distance=initial_distance,
        bias_constant=bias_constant,
        outer_lipschitz=outer_lipschitz,
        cross_lipschitz=cross_lipschitz,
        cross_norm=cross_norm,
    )


def _implicit_error(
    left: Value,
    *,
    steps: Number,
    contraction: Number,
    initial_distance: Number,
    bias_constant: Number,
    outer_lipschitz: Number,
    cross_lipschitz: Number,
    cross_norm: Number,
) -> Value:
    """The bound, where a solver leaves such a part of the adjoint."""
    check_contraction(contraction)
    check_nonnegative(
        steps=steps,
        initial_distance=initial_distance,
        bias_constant=bias_constant,
        outer_lipschitz=outer_lipschitz,
        cross_lipschitz=cross_lipschitz,
        cross_norm=cross_norm,
    )
    distance = initial_distance * contraction**steps
    size = outer_lipschitz / (1 - contraction)
    return bias_constant * distance + (cross_norm + cross_lipschitz * distance) * left * size


def itd_error(
    *,
    steps: Number,
    contraction: Number,
    initial_distance: Number,
    outer_lipschitz: Number,
    outer_smoothness: Number,
    outer_cross_smoothness: Number,
    jacobian_lipschitz: Number,
    cross_lipschitz: Number,
    cross_norm: Number,
) -> Value:
    r"""Bounds the error of differentiating through t fixed-point iterations (`itd`).

    $(C_1 + C_3 + C_2 t / q) q^t$ with $C_1 = (\mu_2 + \mu_1 L_\phi / (1-q)) D$,
    $C_2 = (\nu_2 + \nu_1 L_\phi / (1-q)) L_f D$ and $C_3 = L_f L_\phi / (1-q)$ (Grazzi et
    al. 2020): slower than `aid_fp` by the factor t.

    **Arguments:** `steps` t, `contraction` $q > 0$, `initial_distance`
    $D = |y_0 - y^*|$, the others as in `mse_bound`.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import sid
    >>> sid.itd_error(steps=1, contraction=0.5, initial_distance=1.0, outer_lipschitz=1.0,
    ...     outer_smoothness=1.0, outer_cross_smoothness=1.0, jacobian_lipschitz=0.0,
    ...     cross_lipschitz=1.0, cross_norm=1.0)
    3.5
    """
    check_contraction(contraction)
    check_positive(contraction=contraction)
    check_nonnegative(
        steps=steps,
        initial_distance=initial_distance,
        outer_lipschitz=outer_lipschitz,
        outer_smoothness=outer_smoothness,
        outer_cross_smoothness=outer_cross_smoothness,
        jacobian_lipschitz=jacobian_lipschitz,
        cross_lipschitz=cross_lipschitz,
        cross_norm=cross_norm,
    )
    size = cross_norm / (1 - contraction)
    of_outer = (outer_cross_smoothness + outer_smoothness * size) * initial_distance
    of_map = (cross_lipschitz + jacobian_lipschitz * size) * outer_lipschitz * initial_distance
    start = outer_lipschitz * size
    return (of_outer + start + of_map * steps / contraction) * contraction**steps
