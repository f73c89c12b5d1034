"""What an outer step leaves of the error of x (Prop. 2), and the weights of that error."""

import numpy as np

from ._checks import Number, Value, check_nonnegative, check_positive, check_step, require


def outer_sequence(*, step_sizes: Number, eta: float, bilevel_strong_convexity: float) -> Value:
    r"""$\eta_0, \eta_1, \dots$ for a convex l, the weights of $x_k - x^*$.

    $\eta_{k+1} = \eta_k / (1 + \gamma_{k+1} (\eta_k - \mu))$, so that
    $\eta_k = (1 - \delta_k) \eta_{k-1} + \mu \delta_k$ with $\delta_k = \eta_k \gamma_k$
    (Arbel and Mairal 2022, section 4.1). They do not increase and end at $\mu$.

    **Arguments:** `step_sizes` $\gamma_1, \gamma_2, \dots$, an array; `eta` $\eta_0$;
    `bilevel_strong_convexity` $\mu \le \eta_0$, which may be 0.

    **Returns** one number more than there are steps.

    >>> from bilevax.theory import amigo
    >>> import numpy as np
    >>> amigo.outer_sequence(step_sizes=np.ones(2), eta=1.0, bilevel_strong_convexity=0.0)
    array([1.        , 0.5       , 0.33333333])
    """
    steps = np.asarray(step_sizes, float)
    check_positive(step_sizes=steps, eta=eta)
    check_nonnegative(bilevel_strong_convexity=bilevel_strong_convexity)
    remedy = "The sequence falls from eta to it: start at mu or above."
    allowed = bilevel_strong_convexity <= eta
    require(allowed, "bilevel_strong_convexity", f"be at most eta = {eta}",
            bilevel_strong_convexity, remedy)  # fmt: skip
    etas = [float(eta)]
    for step in steps:
        etas.append(etas[-1] / (1 + step * (etas[-1] - bilevel_strong_convexity)))
    return np.array(etas)


def outer_bound(
    *,
    delta: Number,
    step_size: Number,
    energy: Number,
    bias: Number,
    variance: Number,
    averaged: bool = False,
    convex: bool = True,
    rho: Number = 0.5,
) -> Value:
    r"""$F_k + E^x_k$ at most, after one outer step from $E^x_{k-1}$.

    $(1 - (1 - \rho/2) \delta) E^x + \gamma s V^\psi + \gamma (s + 1/\rho) E^\psi$ with
    $s = \delta/2 + (u \delta + 1 - u)/2 \cdot 1\{\text{convex}\}$ (Arbel and Mairal 2022,
    Prop. 2). Where l is convex, $E^x = \eta \|x - x^*\|^2 / 2 + (1 - u)(l(x) - l^*)$ and
    $F_k = u \delta (l(x_k) - l^*)$; else $E^x = \|\nabla l\|^2 / (2L)$ and
    $F_k = l(x_k) - l(x_{k-1}) + E^x_{k-1} - E^x_k$.

    **Arguments:** `delta` $\delta = \eta\gamma$ (convex) or $L \gamma$; `step_size` $\gamma$,
    at most 1/L; `energy` $E^x_{k-1}$; `bias` $E^\psi$ and `variance` $V^\psi$; `averaged`: u;
    `rho` $\rho$ in (0, 2).

    >>> from bilevax.theory import amigo
    >>> amigo.outer_bound(delta=0.5, step_size=1.0, energy=1.0, bias=0.0, variance=1.0)
    1.375
    """
    check_nonnegative(energy=energy, bias=bias, variance=variance)
    check_positive(step_size=step_size, rho=rho)
    check_step("delta", delta, 1.0, "1")
    s = noise_weight(delta, averaged, convex)
    kept = (1 - (1 - rho / 2) * delta) * energy
    return kept + step_size * (s * variance + (s + 1 / rho) * bias)


def noise_weight(delta: Number, averaged: bool, convex: bool) -> Value:
    """$s_k$ of Prop. 2."""
    return delta / 2 + convex * (delta if averaged else 1) / 2
