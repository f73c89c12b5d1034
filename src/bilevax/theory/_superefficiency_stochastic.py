"""Bounds along stochastic gradient descent on the inner problem."""

import numpy as np

from ._checks import (
    Number,
    Value,
    check_nonnegative,
    check_positive,
    check_power,
    check_rank,
    require,
)


def stochastic_contraction(*, step_size: Number, strong_convexity: Number) -> Value:
    r"""The factor by which a step of SGD shrinks root mean squares, before its noise.

    $\kappa_2 = \sqrt{1 - 2 \rho \mu}$ (Ablin et al. 2020, Prop. 3.5). The paper asks for
    $\rho < 1 / \Lambda_1$, which need not make this real; what the proof uses is
    $2 \rho \mu < 1$.

    **Arguments:** `step_size` $\rho$, `strong_convexity` $\mu$.

    **Raises** `ValueError` where a step is not below 1 / (2 strong_convexity).

    >>> from bilevax.theory import superefficiency as se
    >>> se.stochastic_contraction(step_size=0.375, strong_convexity=1.0)
    0.5
    """
    check_positive(step_size=step_size, strong_convexity=strong_convexity)
    allowed = np.all(np.asarray(2 * step_size * strong_convexity) < 1)
    must = f"be below 1 / (2 strong_convexity) = {0.5 / strong_convexity}"
    remedy = "The factor sqrt(1 - 2 step_size strong_convexity) needs it: take a shorter step."
    require(allowed, "step_size", must, step_size, remedy)
    return (1 - 2 * step_size * strong_convexity) ** 0.5


def noise_floor(
    *, step_size: Number, strong_convexity: Number, gradient_noise: Number
) -> Value:
    r"""Bounds the root mean square distance of SGD with a constant step, after many steps.

    $\beta = \sqrt{\sigma^2 \rho / (2 \mu)}$ (Ablin et al. 2020, Prop. 3.5).

    **Arguments:** `step_size` $\rho$, `strong_convexity` $\mu$, `gradient_noise` $\sigma$.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import superefficiency as se
    >>> se.noise_floor(step_size=0.125, strong_convexity=1.0, gradient_noise=4.0)
    1.0
    """
    stochastic_contraction(step_size=step_size, strong_convexity=strong_convexity)
    check_nonnegative(gradient_noise=gradient_noise)
    return gradient_noise * (step_size / (2 * strong_convexity)) ** 0.5


def stochastic_distance(
    *,
    steps: Number,
    initial_distance: Number,
    step_size: Number,
    strong_convexity: Number,
    gradient_noise: Number,
) -> Value:
    r"""Bounds the root mean square distance of SGD with a constant step, after t steps.

    $\sqrt{d_t} \le \sqrt{\kappa_2^{2t} |y_0 - y^*|^2 + \beta^2}$
    (Ablin et al. 2020, Prop. 3.5).

    **Arguments:** `steps` t, `initial_distance` $|y_0 - y^*|$, `step_size` $\rho$,
    `strong_convexity` $\mu$, `gradient_noise` $\sigma$.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import superefficiency as se
    >>> se.stochastic_distance(steps=2, initial_distance=16.0, step_size=0.375,
    ...                        strong_convexity=1.0, gradient_noise=0.0)
    4.0
    """
    check_nonnegative(steps=steps, initial_distance=initial_distance)
    factor = stochastic_contraction(step_size=step_size, strong_convexity=strong_convexity)
    floor = noise_floor(
        step_size=step_size, strong_convexity=strong_convexity, gradient_noise=gradient_noise
    )
    return ((factor**steps * initial_distance) ** 2 + floor**2) ** 0.5


def jacobian_noise(
    *,
    hessian_noise: Number,
    cross_noise: Number,
    jacobian_bound: Number,
    printed: bool = False,
) -> Value:
    r"""Bounds the noise of the Jacobian's recursion along SGD.

    $B$ with $B^2 = 2 (\sigma_{21}^2 + B_J^2 \sigma_{11}^2) \ge
    E \|J_t D_{11} C + D_{21} C\|_F^2$. Ablin et al. (2020, Prop. 3.4) print $B^2$ without the
    2, which holds where the two terms are not positively correlated; in general
    $\|a + b\|^2 \le 2 \|a\|^2 + 2 \|b\|^2$ needs it.

    **Arguments:** `hessian_noise` $\sigma_{11}$, `cross_noise` $\sigma_{21}$,
    `jacobian_bound` $B_J$; `printed`: the paper's $B$.

    **Raises** `ValueError` for a negative or NaN constant.

    >>> from bilevax.theory import superefficiency as se
    >>> noise = dict(hessian_noise=1.0, cross_noise=1.0, jacobian_bound=7.0)
    >>> round(se.jacobian_noise(**noise), 9), round(se.jacobian_noise(**noise, printed=True), 3)
    (10.0, 7.071)
    """
    check_nonnegative(
        hessian_noise=hessian_noise, cross_noise=cross_noise, jacobian_bound=jacobian_bound
    )
    square = cross_noise**2 + (jacobian_bound * hessian_noise) ** 2
    return (square if printed else 2 * square) ** 0.5


def _check_jacobian(remainder: Number, rank: int, jacobian_noise: Number) -> None:
    check_nonnegative(remainder=remainder, jacobian_noise=jacobian_noise)
    check_rank(rank)


def stochastic_jacobian_step(
    *,
    jacobian_distance: Number,
    distance: Number,
    step_size: Number,
    strong_convexity: Number,
    remainder: Number,
    rank: int,
    jacobian_noise: Number,
) -> Value:
    r"""Bounds the Jacobian's root mean square distance after one more step of SGD.

    $\delta_{t+1} \le (1 - 2 \rho \mu) \delta_t + 2 \rho \sqrt{r} \Lambda \sqrt{d_t \delta_t}
    + \rho^2 B^2$ (Ablin et al. 2020, Prop. 3.4), of which this is the square root. The step
    may change from call to call.

    **Arguments:** `jacobian_distance` $\sqrt{\delta_t}$, `distance` $\sqrt{d_t}$,
    `step_size` $\rho_t$, `strong_convexity` $\mu$, `remainder` $\Lambda$, `rank` r,
    `jacobian_noise` B (for a guarantee not the printed one).

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import superefficiency as se
    >>> round(se.stochastic_jacobian_step(jacobian_distance=4.0, distance=1.0, rank=1,
    ...     step_size=0.125, strong_convexity=2.0, remainder=1.0, jacobian_noise=0.0), 9)
    3.0
    """
    check_nonnegative(jacobian_distance=jacobian_distance, distance=distance)
    _check_jacobian(remainder, rank, jacobian_noise)
    factor = stochastic_contraction(step_size=step_size, strong_convexity=strong_convexity)
    pull = 2 * step_size * rank**0.5 * remainder * distance * jacobian_distance
    return ((factor * jacobian_distance) ** 2 + pull + (step_size * jacobian_noise) ** 2) ** 0.5


def _standstill(pull: Number, step_size, strong_convexity, jacobian_noise) -> Value:
    """Where the recursion of Prop. 3.4 stands still, `pull` being sqrt(r) Lambda sqrt(d)."""
    noise = 2 * strong_convexity * step_size * jacobian_noise**2
    return (pull + (pull**2 + noise) ** 0.5) / (2 * strong_convexity)


def jacobian_floor(
    *,
    step_size: Number,
    strong_convexity: Number,
    gradient_noise: Number,
    remainder: Number,
    rank: int,
    jacobian_noise: Number,
    printed: bool = False,
) -> Value:
    r"""Bounds the Jacobian's root mean square distance after many steps of SGD.

    The fixed point of the recursion of Prop. 3.4 with $d = \beta^2$,
    $B_3 = \sqrt{\rho} \, (\sqrt{r} \Lambda \sigma + \sqrt{r \Lambda^2 \sigma^2 + 4 \mu^2 B^2})
    / (2 \mu)^{3/2}$, vanishes with the step as it should. The one of Ablin et al. (2020,
    Prop. 3.5), $B_2 = \rho \sqrt{r} \Lambda \beta / (\kappa_2 (1 - \kappa_2))
    + \rho B / (1 - \kappa_2)$, is never smaller and tends to $B / \mu$.

    **Arguments:** `step_size` $\rho$, `strong_convexity` $\mu$, `gradient_noise` $\sigma$,
    `remainder` $\Lambda$, `rank` r, `jacobian_noise` B; `printed`: $B_2$, not $B_3$.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import superefficiency as se
    >>> problem = dict(strong_convexity=0.5, gradient_noise=4.0, remainder=1.0, rank=1,
    ...                jacobian_noise=3.0)
    >>> se.jacobian_floor(step_size=0.01, **problem)
    0.9
    >>> round(se.jacobian_floor(step_size=0.01, **problem, printed=True), 2)
    6.79
    """
    _check_jacobian(remainder, rank, jacobian_noise)
    factor = stochastic_contraction(step_size=step_size, strong_convexity=strong_convexity)
    floor = noise_floor(
        step_size=step_size, strong_convexity=strong_convexity, gradient_noise=gradient_noise
    )
    pull = rank**0.5 * remainder * floor
    if printed:
        return step_size * (pull / factor + jacobian_noise) / (1 - factor)
    return _standstill(pull, step_size, strong_convexity, jacobian_noise)


def stochastic_jacobian_distance(
    *,
    steps: Number,
    initial_distance: Number,
    initial_jacobian_distance: Number,
    step_size: Number,
    strong_convexity: Number,
    gradient_noise: Number,
    remainder: Number,
    rank: int,
    jacobian_noise: Number,
) -> Value:
    r"""Bounds the Jacobian's root mean square distance after t steps of SGD.

    $\sqrt{\delta_t} \le \kappa_2^t \|J_0 - J^*\|_F + t \kappa_2^{t-1} \alpha + B_2$ with
    $\alpha = \rho \sqrt{r} \Lambda |y_0 - y^*| / \kappa_2$ (Ablin et al. 2020, Prop. 3.5). As
    extracted it reads $t \kappa_2^t \alpha$, where the power of $\kappa_2$ in $\alpha$ is not
    legible: with $\kappa_2^2$ below the line it is the same; with $\kappa_2$ it is too small
    by a factor $\kappa_2$, since unrolling $u_{t+1} \le \kappa_2 u_t + \alpha \kappa_2^t$
    leaves $t - 1$ factors to a term.

    **Arguments:** `steps` t, `initial_distance` $|y_0 - y^*|$, `initial_jacobian_distance`
    $\|J_0 - J^*\|_F$, the others as in `jacobian_floor`.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import superefficiency as se
    >>> se.stochastic_jacobian_distance(steps=2, initial_distance=0.0,
    ...     initial_jacobian_distance=16.0, step_size=0.375, strong_convexity=1.0,
    ...     gradient_noise=0.0, remainder=1.0, rank=1, jacobian_noise=0.0)
    4.0
    """
    check_nonnegative(
        steps=steps,
        initial_distance=initial_distance,
        initial_jacobian_distance=initial_jacobian_distance,
    )
    floor = jacobian_floor(
        step_size=step_size,
        strong_convexity=strong_convexity,
        gradient_noise=gradient_noise,
        remainder=remainder,
        rank=rank,
        jacobian_noise=jacobian_noise,
        printed=True,
    )
    factor = stochastic_contraction(step_size=step_size, strong_convexity=strong_convexity)
    slope = step_size * rank**0.5 * remainder * initial_distance / factor
    grown = steps * factor ** (steps - (steps > 0)) * slope
    return factor**steps * initial_jacobian_distance + grown + floor


def decreasing_jacobian_distance(
    *,
    steps: Number,
    scale: Number,
    power: Number,
    distance_scale: Number,
    strong_convexity: Number,
    remainder: Number,
    rank: int,
    jacobian_noise: Number,
    printed: bool = False,
) -> Value:
    r"""Bounds the Jacobian's root mean square distance, to leading order, as steps decrease.

    With $\rho_t = \rho_0 t^{-\alpha}$ and $\sqrt{d_t} \le d \, t^{-\alpha / 2}$,
    $\sqrt{\delta_t} \le c \, t^{-\alpha / 2} + o(t^{-\alpha / 2})$. Here
    $c = (a + \sqrt{a^2 + 2 \mu \rho_0 B^2}) / (2 \mu)$, $a = \sqrt{r} \Lambda d$, is where the
    recursion of Prop. 3.4 stands still. The one of Ablin et al. (2020, Prop. 3.6),
    $c^2 = 4 (\rho_0 B^2 \mu + r \Lambda^2 d^2) / \mu^2$, is at least twice as large.

    **Arguments:** `steps` $t \ge 1$, `scale` $\rho_0$ and `power` $\alpha$ as in
    `bx.schedules.polynomial`, `distance_scale` d, `strong_convexity` $\mu$, `remainder`
    $\Lambda$, `rank` r, `jacobian_noise` B; `printed`: the paper's c.

    **Raises** `ValueError` for a constant out of range, or a power not in (0, 1).

    >>> from bilevax.theory import superefficiency as se
    >>> se.decreasing_jacobian_distance(steps=16, scale=1.0, power=0.5, distance_scale=1.0,
    ...     strong_convexity=1.0, remainder=1.0, rank=1, jacobian_noise=0.0)
    0.5
    """
    check_power(power)
    check_positive(steps=steps, scale=scale, strong_convexity=strong_convexity)
    check_nonnegative(distance_scale=distance_scale)
    _check_jacobian(remainder, rank, jacobian_noise)
    pull = rank**0.5 * remainder * distance_scale
    if printed:
        square = scale * jacobian_noise**2 * strong_convexity + pull**2
        constant = 2 * square**0.5 / strong_convexity
    else:
        constant = _standstill(pull, scale, strong_convexity, jacobian_noise)
    return constant * steps ** (-power / 2)


def stochastic_automatic_error(
    *, smoothness: Number, jacobian_distance: Number, remainder: Number, distance: Number
) -> Value:
    r"""Bounds the mean error of the automatic gradient along SGD.

    $E |g_2 - g^*| \le \Lambda_1 \sqrt{\delta_t d_t} + \frac{\Lambda}{2} d_t$ with
    $\delta_t = E \|J_t - J^*\|_F^2$ and $d_t = E |y_t - y^*|^2$ (Ablin et al. 2020, Prop. 3.3).

    **Arguments:** `smoothness` $\Lambda_1$, `jacobian_distance` $\sqrt{\delta_t}$, `remainder`
    $\Lambda$, `distance` $\sqrt{d_t}$.

    **Raises** `ValueError` for a negative or NaN argument.

    >>> from bilevax.theory import superefficiency as se
    >>> se.stochastic_automatic_error(
    ...     smoothness=2.0, jacobian_distance=0.5, remainder=4.0, distance=0.5)
    1.0
    """
    check_nonnegative(smoothness=smoothness, jacobian_distance=jacobian_distance)
    check_nonnegative(remainder=remainder, distance=distance)
    return smoothness * jacobian_distance * distance + remainder / 2 * distance**2
