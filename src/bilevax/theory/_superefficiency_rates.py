"""Orders and rates of the three gradients, and losses whose rates are known exactly."""

from typing import NamedTuple

import numpy as np

from ._checks import (
    Number,
    Value,
    check_contraction,
    check_nonnegative,
    check_positive,
    check_power,
    require,
)


class ByEstimator(NamedTuple):
    """One number, or array of them, for each of the three gradient estimators."""

    analytic: Value
    automatic: Value
    implicit: Value


def orders(*, bilevel: bool = False) -> ByEstimator:
    r"""The powers of the distance $|y_t - y^*|$ by which the errors vanish.

    1, 2 and 2 (Ablin et al. 2020, Props. 2.1 to 2.3). Along gradient descent that of $g_2$
    carries a further factor t: its error is $\|J_t - J^*\|$ times the distance (Prop. 2.2),
    and $\|J_t - J^*\| = O(t \kappa^t)$ where the distance is $O(\kappa^t)$. It is of order 2
    up to logarithms of the distance, then, and not $O(|y_t - y^*|^2)$: on $L = x y^2 / 2 - y$,
    with $e_0 = y_0 - y^*$, the ratio $|g_2 - g^*| / |y_t - y^*|^2$ is
    $|1/2 + 1 / (x e_0) - \rho x t / \kappa|$. Quadratics do not have it. Where the outer
    objective is not the inner one (`bilevel`) $g_1$ is inconsistent, 0, and the others are of
    order 1, $g_2$ with the factor t.

    >>> from bilevax.theory import superefficiency as se
    >>> tuple(se.orders()), tuple(se.orders(bilevel=True))
    ((1, 2, 2), (0, 1, 1))
    """
    return ByEstimator(0, 1, 1) if bilevel else ByEstimator(1, 2, 2)


def noise_floor_exponents(*, bilevel: bool = False) -> ByEstimator:
    r"""The powers of a constant step to which the errors along SGD level off.

    Half the `orders`, since the distance levels off at $\beta \sim \rho^{1/2}$ (Ablin et al.
    2020, Prop. 3.5), and the Jacobian's too.

    >>> from bilevax.theory import superefficiency as se
    >>> tuple(se.noise_floor_exponents())
    (0.5, 1.0, 1.0)
    """
    return ByEstimator(*(order / 2 for order in orders(bilevel=bilevel)))


def decreasing_step_exponents(*, power: Number, bilevel: bool = False) -> ByEstimator:
    r"""The powers of t by which the errors vanish along SGD with steps $C t^{-\alpha}$.

    $-\alpha / 2$, $-\alpha$ and $-\alpha$ (Ablin et al. 2020, Prop. 3.7).

    **Arguments:** `power` $\alpha$; `bilevel`: as in `orders`.

    **Raises** `ValueError` for a power not in (0, 1).

    >>> from bilevax.theory import superefficiency as se
    >>> tuple(se.decreasing_step_exponents(power=0.5))
    (-0.25, -0.5, -0.5)
    """
    check_power(power)
    return ByEstimator(*(-power * floor for floor in noise_floor_exponents(bilevel=bilevel)))


def least_squares_errors(
    *, steps: Number, contraction: Number, initial_misfit: Number
) -> ByEstimator:
    r"""The gradients of $L = |x - D y|^2 / 2$, with $D$ of full row rank, where $g^* = 0$.

    With $r_t = x - D y_t = - D (y_t - y^*)$, $g_1 = r_t = (I - \rho D D^T)^t r_0$,
    $g_2 = (I - \rho D D^T)^{2t} r_0$, which is $g_1$ at $2t$, and $g_3 = 0$ (Ablin et al. 2020,
    Prop. 3.8, which has $g_1$ with the other sign). In norm, with
    $\kappa = 1 - \rho s_{\min}(D)^2$ and $\rho \le 1 / s_{\max}(D)^2$, these are bounds; in the
    basis of the left singular vectors, with $\kappa_i = 1 - \rho s_i^2$, they are exact.

    **Arguments:** `steps` t, `contraction` $\kappa$ or all $\kappa_i$, `initial_misfit`
    $|r_0|$ or the coefficients of $r_0$, of any sign.

    **Raises** `ValueError` for a contraction not in [0, 1), or a misfit that is not finite.

    >>> from bilevax.theory import superefficiency as se
    >>> tuple(se.least_squares_errors(steps=2, contraction=0.5, initial_misfit=16.0))
    (4.0, 1.0, 0.0)
    """
    check_contraction(contraction)
    check_nonnegative(steps=steps, initial_misfit=abs(initial_misfit))
    after = contraction**steps
    analytic = after * initial_misfit
    return ByEstimator(analytic, after * analytic, 0 * analytic)


def p_norm_exponents(*, exponent: int) -> ByEstimator:
    r"""The powers of t by which the gradients of $\sum_i (x - D y)_i^p / p$ vanish.

    $-a$, $-2a$ and $-\infty$ with $a = (p - 1) / (p - 2)$, for even $p \ge 4$ and $D D^T = I$
    (Ablin et al. 2020, Prop. 3.9): $g_3$ is zero.

    **Arguments:** `exponent` p.

    **Raises** `ValueError` for an exponent that is odd or below 4.

    >>> from bilevax.theory import superefficiency as se
    >>> tuple(se.p_norm_exponents(exponent=4))
    (-1.5, -3.0, -inf)
    """
    _check_exponent(exponent)
    rate = (exponent - 1) / (exponent - 2)
    return ByEstimator(-rate, -2 * rate, -np.inf)


def _check_exponent(exponent: int) -> None:
    allowed = exponent >= 4 and exponent % 2 == 0
    remedy = "Odd powers have no minimum; for 2 the rate is linear: least_squares_errors."
    require(allowed, "exponent", "be an even number of at least 4", exponent, remedy)


def misfit(
    *, steps: Number, step_size: Number, exponent: int, initial_misfit: Number = np.inf
) -> Value:
    r"""Bounds $|x - D y_t|$, an entry of it, for the p-norm of `p_norm_exponents`.

    Gradient descent is $r_{t+1} = r_t - \rho r_t^{p-1}$ in each entry, and
    $|r_t| \le (|r_0|^{-(p-2)} + \rho (p - 2) t)^{-1/(p-2)}$ wherever $\rho |r_0|^{p-2} \le 1$.
    Without $|r_0|$ it is $(\rho (p - 2) t)^{-1/(p-2)}$, to which all $|r_t|$ tend (Ablin et
    al. 2020, Prop. 3.9).

    **Arguments:** `steps` t (at least 1 without `initial_misfit`), `step_size` $\rho$,
    `exponent` p, `initial_misfit` $|r_0|$.

    **Raises** `ValueError` for an argument out of range, an exponent that is odd or below 4,
    or a step above $|r_0|^{-(p-2)}$.

    >>> from bilevax.theory import superefficiency as se
    >>> se.misfit(steps=8, step_size=1.0, exponent=4)
    0.25
    """
    _check_exponent(exponent)
    check_nonnegative(steps=steps)
    check_positive(step_size=step_size)
    remedy = "It is an absolute value: at 0 the entry has converged."
    allowed = np.all(np.asarray(initial_misfit) > 0)
    require(allowed, "initial_misfit", "be above 0", initial_misfit, remedy)
    start = (1 / initial_misfit) ** (exponent - 2)
    _check_p_norm_step(step_size, initial_misfit, start)
    inverse = start + step_size * (exponent - 2) * steps
    remedy = "At 0 steps nothing but the misfit at the start is known: give it."
    require(np.all(inverse > 0), "steps", "be above 0 without initial_misfit", steps, remedy)
    return inverse ** (-1 / (exponent - 2))


def _check_p_norm_step(step_size: Number, initial_misfit: Number, largest: Number) -> None:
    allowed = np.all(np.isinf(initial_misfit) | (np.asarray(step_size) <= largest))
    remedy = "With longer steps the misfit may change sign or grow: take a shorter one."
    require(allowed, "step_size", f"be at most {largest}", step_size, remedy)


def p_norm_errors(
    *, steps: Number, step_size: Number, exponent: int, initial_misfit: Number
) -> ByEstimator:
    r"""Bounds the gradients of the p-norm of `p_norm_exponents`, where $g^* = 0$, by entries.

    $|g_1| = |r_t|^{p-1}$, with $r_t$ bounded by `misfit`, and $|g_2| \le |g_1|^2 / |r_0|^{p-1}$
    where $(p - 1) \rho |r_0|^{p-2} \le 1$: $g_2 = M_t g_1$ with
    $M_{t+1} = M_t (1 - (p - 1) \rho r_t^{p-2}) \le M_t (r_{t+1} / r_t)^{p-1}$, $M_0 = 1$. The
    constants are not in Ablin et al. (2020, Prop. 3.9), which has the rates.

    **Arguments:** `steps` t, `step_size` $\rho$, `exponent` p, `initial_misfit` $|r_0|$.

    **Raises** `ValueError` for an argument out of range, an exponent that is odd or below 4,
    or a step above $|r_0|^{-(p-2)} / (p - 1)$.

    >>> from bilevax.theory import superefficiency as se
    >>> tuple(se.p_norm_errors(steps=6, step_size=0.25, exponent=4, initial_misfit=1.0))
    (0.125, 0.015625, 0.0)
    """
    _check_exponent(exponent)
    check_positive(initial_misfit=initial_misfit, step_size=step_size)
    largest = (1 / initial_misfit) ** (exponent - 2) / (exponent - 1)
    _check_p_norm_step(step_size, initial_misfit, largest)
    after = misfit(
        steps=steps, step_size=step_size, exponent=exponent, initial_misfit=initial_misfit
    )
    analytic = after ** (exponent - 1)
    return ByEstimator(analytic, analytic * (after / initial_misfit) ** (exponent - 1), 0.0)
