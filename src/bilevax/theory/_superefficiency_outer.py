"""Bounds along gradient descent on the value function with inexact gradients."""

from ._checks import (
    Number,
    Value,
    check_curvature,
    check_nonnegative,
    check_step,
)


def outer_gap_floor(
    *,
    error: Number,
    outer_smoothness: Number,
    outer_strong_convexity: Number,
    printed: bool = False,
) -> Value:
    r"""Bounds the gap $l(x_q) - l^*$ of inexact gradient descent on l, after many steps.

    $\Delta^2 / (2 \mu_l)$, where the contraction of `outer_gap` stands still. The one of Ablin
    et al. (2020, Prop. 4.1), $\Delta^2 (1 / \mu_l + 1 / (2 \Lambda_l))$, is two to three times
    as large. Both are of second order in the gradient's error.

    **Arguments:** `error` $\Delta$, `outer_smoothness` $\Lambda_l$, `outer_strong_convexity`
    $\mu_l$; `printed`: the paper's floor.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import superefficiency as se
    >>> constants = dict(error=2.0, outer_smoothness=1.0, outer_strong_convexity=0.5)
    >>> se.outer_gap_floor(**constants), se.outer_gap_floor(**constants, printed=True)
    (4.0, 10.0)
    """
    check_curvature("outer_", outer_smoothness, outer_strong_convexity)
    check_nonnegative(error=error)
    floor = error**2 / (2 * outer_strong_convexity)
    return 2 * floor + error**2 / (2 * outer_smoothness) if printed else floor


def outer_gap(
    *,
    outer_steps: Number,
    initial_outer_distance: Number,
    error: Number,
    outer_smoothness: Number,
    outer_strong_convexity: Number,
    printed: bool = False,
) -> Value:
    r"""Bounds the gap $l(x_q) - l^*$ of inexact gradient descent on l after q steps.

    For steps $\eta = 1 / (2 \Lambda_l)$ along gradients with $|g - g^*| \le \Delta$,
    $l(x_q) - l^* \le \frac{\Lambda_l}{2} (1 - \frac{\mu_l}{2 \Lambda_l})^q |x_0 - x^*|^2
    + \frac{\Delta^2}{2 \mu_l}$, from $l(x^+) \le l(x) - \frac{\eta}{2} |g^*|^2
    + \frac{\eta}{2} \Delta^2$ and $|g^*|^2 \ge 2 \mu_l (l(x) - l^*)$. The bound of Ablin et al.
    (2020, Prop. 4.1), $2 \Lambda_l (1 - \frac{\mu_l}{4 \Lambda_l})^q |x_0 - x^*|^2
    + \Delta^2 (\frac{1}{\mu_l} + \frac{1}{2 \Lambda_l})$, is larger in every term.

    **Arguments:** `outer_steps` q, `initial_outer_distance` $|x_0 - x^*|$, `error` $\Delta$,
    `outer_smoothness` $\Lambda_l$, `outer_strong_convexity` $\mu_l$; `printed`: the paper's.

    **Raises** `ValueError` for a constant out of range.

    >>> from bilevax.theory import superefficiency as se
    >>> se.outer_gap(outer_steps=1, initial_outer_distance=2.0, error=0.0,
    ...              outer_smoothness=1.0, outer_strong_convexity=1.0)
    1.0
    """
    check_nonnegative(outer_steps=outer_steps, initial_outer_distance=initial_outer_distance)
    floor = outer_gap_floor(
        error=error,
        outer_smoothness=outer_smoothness,
        outer_strong_convexity=outer_strong_convexity,
        printed=printed,
    )
    scale, slowdown = (2, 4) if printed else (0.5, 2)
    factor = 1 - outer_strong_convexity / (slowdown * outer_smoothness)
    start = scale * outer_smoothness * initial_outer_distance**2
    return factor**outer_steps * start + floor


def outer_distance(
    *,
    outer_steps: Number,
    initial_outer_distance: Number,
    outer_step_size: Number,
    outer_smoothness: Number,
    outer_strong_convexity: Number,
    error: Number,
    outer_noise: Number,
    printed: bool = False,
) -> Value:
    r"""Bounds the root mean square distance of SGD on l with inexact stochastic gradients.

    $E |x_q - x^*|^2 \le (1 - \eta \mu_l / 2)^q |x_0 - x^*|^2 + (4 / \mu_l)
    (\Delta^2 / \mu_l + \eta (\Delta^2 + \sigma^2))$ for $\eta \le 1 / (2 \Lambda_l)$, whatever
    the errors depend on. The floor of Ablin et al. (2020, Prop. 4.2) is $(2 \eta / \mu_l)
    \sigma^2 + (4 / \mu_l) \Delta^2 (1 / \mu_l + 1 / (2 \Lambda_l) + 2 \eta)$; its $\sigma^2$
    holds where the errors do not depend on the sample's noise. ($\eta$ enters to the first
    power: no other gives the units of $|x|^2$.)

    **Arguments:** `outer_steps` q, `initial_outer_distance` $|x_0 - x^*|$, `outer_step_size`
    $\eta$, `outer_smoothness` $\Lambda_l$, `outer_strong_convexity` $\mu_l$, `error`
    $\Delta$, `outer_noise` $\sigma$; `printed`: the paper's floor.

    **Raises** `ValueError` for a constant out of range, or a step above
    1 / (2 outer_smoothness).

    >>> from bilevax.theory import superefficiency as se
    >>> constants = dict(outer_step_size=0.5, outer_smoothness=1.0, outer_strong_convexity=1.0)
    >>> se.outer_distance(outer_steps=2, initial_outer_distance=4.0, **constants, error=0.0,
    ...                   outer_noise=0.0)
    3.0
    """
    check_nonnegative(
        outer_steps=outer_steps, initial_outer_distance=initial_outer_distance, error=error
    )
    check_nonnegative(outer_noise=outer_noise)
    exact, noisy = _floor_weights(
        outer_step_size, outer_smoothness, outer_strong_convexity, printed
    )
    shrink = (1 - outer_step_size * outer_strong_convexity / 2) ** outer_steps
    square = shrink * initial_outer_distance**2 + exact * error**2 + noisy * outer_noise**2
    return square**0.5


def _floor_weights(outer_step_size, outer_smoothness, outer_strong_convexity, printed: bool):
    """The weights of error^2 and outer_noise^2 in the floor of Prop. 4.2."""
    check_curvature("outer_", outer_smoothness, outer_strong_convexity)
    largest, text = 0.5 / outer_smoothness, "1 / (2 outer_smoothness)"
    check_step("outer_step_size", outer_step_size, largest, text)
    weight = 4 / outer_strong_convexity
    if printed:
        rest = 0.5 / outer_smoothness + 2 * outer_step_size
        return weight * (1 / outer_strong_convexity + rest), weight * outer_step_size / 2
    return weight * (1 / outer_strong_convexity + outer_step_size), weight * outer_step_size


def negligible_error(
    *,
    outer_step_size: Number,
    outer_smoothness: Number,
    outer_strong_convexity: Number,
    outer_noise: Number,
    printed: bool = False,
) -> Value:
    r"""The gradient error below which the noise of the outer loop dominates.

    Where the two terms of the floor of `outer_distance` are equal:
    $\Delta = \sigma \sqrt{\eta \mu_l / (1 + \eta \mu_l)}$; with the floor of Ablin et al.
    (2020, Prop. 4.2) $\Delta = \sigma \sqrt{\eta / (2 / \mu_l + 1 / \Lambda_l + 4 \eta)}$.
    Gradients more accurate than that are of no use.

    **Arguments:** as in `outer_distance`.

    **Raises** `ValueError` as `outer_distance` does.

    >>> from bilevax.theory import superefficiency as se
    >>> se.negligible_error(outer_step_size=0.125, outer_smoothness=1.0,
    ...                     outer_strong_convexity=1.0, outer_noise=3.0)
    1.0
    """
    check_nonnegative(outer_noise=outer_noise)
    exact, noisy = _floor_weights(
        outer_step_size, outer_smoothness, outer_strong_convexity, printed
    )
    return outer_noise * (noisy / exact) ** 0.5
