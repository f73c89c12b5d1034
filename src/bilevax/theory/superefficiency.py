r"""Error bounds and rates for gradients of functions defined as a minimum.

$l(x) = \min_y L(y, x)$, with $g^* = \nabla l(x) = D_2 L(y^*, x)$, is differentiated at an
iterate $y_t$ in place of the minimiser $y^*(x)$, in one of three ways:

- analytic, $g_1 = D_2 L(y_t, x)$ (`bx.Analytic`),
- automatic, $g_2 = g_1 + J_t D_1 L(y_t, x)$ (`bx.Unrolled`),
- implicit, $g_3 = g_1 + \mathcal{J}(y_t, x) D_1 L(y_t, x)$ (`bx.Implicit`).

Here x is the outer and y the inner variable, $D_1$ is in y and $D_2$ in x, $H = D_{11} L$,
$K = D_{21} L$ (a row an entry of x), $J_t$ is the transposed derivative of $y_t$,
$\mathcal{J} = - K H^{-1}$, and $J^*$ is its value at $y^*$.

All functions are pure and take keyword arguments, numbers or arrays that broadcast. What a
function returns is what an argument of the same name expects. Norms are Euclidean and
spectral; along SGD, distances are root mean squares and those of Jacobians are Frobenius.

| Ablin et al. | here | argument | meaning | unit |
|---|---|---|---|---|
| $z$, $x$ | $y$, $x$ | | inner and outer variable | Y, X |
| $\mathcal{L}$, $\ell$ | $L$, $l$ | | inner objective, value function | E |
| $t$ | $t$ | `steps` | inner steps taken | 1 |
| $z_t - z^*$ | $y_t - y^*$, $\sqrt{d_t}$ | `distance` | its norm | Y |
| $z_0 - z^*$ | $y_0 - y^*$ | `initial_distance` | its norm | Y |
| $J_t - J^*$ | the same, $\sqrt{\delta_t}$ | `jacobian_distance` | its norm | Y/X |
| $J_0 - J^*$ | the same | `initial_jacobian_distance` | its norm ($J_0 = 0$ is usual) | Y/X |
| $R(J)$ | $J H(y^*) + K(y^*)$ | `residual` | its norm | E/XY |
| $\mu$ | $\mu$ | `strong_convexity` | of L in y | E/Y² |
| $L_1$ | $\Lambda_1$ | `smoothness` | of L in y | E/Y² |
| $L_2$ | $\Lambda_2$ | `gradient_lipschitz` | of $D_2 L$ in y | E/XY |
| $L_{11}$ | $\Lambda_{11}$ | `hessian_lipschitz` | of H in y | E/Y³ |
| $L_{21}$ | $\Lambda_{21}$ | `cross_lipschitz` | of K in y | E/XY² |
| $L$ (eq. 9) | $\Lambda$ | `remainder` | $\Lambda_{21} + B_J \Lambda_{11}$ | E/XY² |
| $L_J$ (first) | $B_J$ | `jacobian_bound` | on norms of $J_t$, $\mathcal{J}$ | Y/X |
| $L_J$ (second) | $\Lambda_J$ | `jacobian_lipschitz` | of $\mathcal{J}$ in y | 1/X |
| $\rho$ | $\rho$ | `step_size` | inner step | Y²/E |
| $\rho_0$ | $\rho_0$ | `scale` | of steps $\rho_0 t^{-\alpha}$ | Y²/E |
| $\alpha$ (3.6) | $\alpha$ | `power` | of the same | 1 |
| $d$ | $d$ | `distance_scale` | $\sqrt{d_t} \le d t^{-\alpha/2}$ | Y |
| $\kappa$ | $\kappa$ | `contraction` | factor of a step | 1 |
| $\sigma$ (3.5) | $\sigma$ | `gradient_noise` | root mean square of $D_1 C$ | E/Y |
| $\sigma_{11}$ | $\sigma_{11}$ | `hessian_noise` | root mean square of $D_{11} C$ | E/Y² |
| $\sigma_{21}$ | $\sigma_{21}$ | `cross_noise` | root mean square of $D_{21} C$ | E/XY |
| $B$ | $B$ | `jacobian_noise` | of the Jacobian's recursion | E/XY |
| $r$ | $r$ | `rank` | $\min(n, m)$, sizes of x and y | 1 |
| $p$ | $p$ | `exponent` | of $L = \sum_i (x - D y)_i^p / p$ | 1 |
| $x - D z_0$ | $r_0$ | `initial_misfit` | its size; `misfit` bounds $r_t$ | X |
| $\mu_2$ (4) | $\mu_l$ | `outer_strong_convexity` | of l | E/X² |
| $L_2$ (4) | $\Lambda_l$ | `outer_smoothness` | of l | E/X² |
| $q$ | $q$ | `outer_steps` | steps taken on x | 1 |
| $\eta$ | $\eta$ | `outer_step_size` | outer step | X²/E |
| $x_0 - x^*$ | the same | `initial_outer_distance` | its norm | X |
| $\Delta$ | $\Delta$ | `error` | on gradients of l, everywhere | E/X |
| $\sigma$ (4.2) | $\sigma$ | `outer_noise` | of the stochastic gradients of l | E/X |

Letters that clash in the paper: $L_2$ is a Lipschitz constant, the smoothness of $\ell$ and a
test loss; $L_J$ a bound and a Lipschitz constant; $L$ a constant beside the objective; $\alpha$
the power of a step and a constant of Prop. 3.5; $\delta$ the Jacobian's error and a floor of
Prop. 4.1; $\sigma$ two noises and the sigmoid; $B$ differs from $B_2$ and $B_J$; $r$ a rank and
a residual; $d_t$ a mean square and d a factor of its root.

`printed=True`, where offered, gives the paper's constant in place of the one derived here.

**Reference:** P. Ablin, G. Peyré and T. Moreau, Super-efficiency of automatic
differentiation for functions defined as a minimum, ICML 2020.
"""

from ._checks import (
    Number,
    Value,
    check_contraction,
    check_curvature,
    check_nonnegative,
    check_positive,
    check_step,
)
from ._superefficiency_outer import (
    negligible_error,
    outer_distance,
    outer_gap,
    outer_gap_floor,
)
from ._superefficiency_rates import (
    ByEstimator,
    decreasing_step_exponents,
    least_squares_errors,
    misfit,
    noise_floor_exponents,
    orders,
    p_norm_errors,
    p_norm_exponents,
)
from ._superefficiency_stochastic import (
    decreasing_jacobian_distance,
    jacobian_floor,
    jacobian_noise,
    noise_floor,
    stochastic_automatic_error,
    stochastic_contraction,
    stochastic_distance,
    stochastic_jacobian_distance,
    stochastic_jacobian_step,
)

__all__ = [
    "ByEstimator",
    "analytic_error",
    "automatic_error",
    "bilevel_error",
    "contraction",
    "decreasing_jacobian_distance",
    "decreasing_step_exponents",
    "distance",
    "gradient_descent_errors",
    "implicit_error",
    "jacobian_distance",
    "jacobian_floor",
    "jacobian_noise",
    "least_squares_errors",
    "misfit",
    "negligible_error",
    "noise_floor",
    "noise_floor_exponents",
    "orders",
    "outer_distance",
    "outer_gap",
    "outer_gap_floor",
    "p_norm_errors",
    "p_norm_exponents",
    "remainder",
    "stochastic_automatic_error",
    "stochastic_contraction",
    "stochastic_distance",
    "stochastic_jacobian_distance",
    "stochastic_jacobian_step",
]


def remainder(
    *, cross_lipschitz: Number, hessian_lipschitz: Number, jacobian_bound: Number
) -> Value:
    r"""The constant of the second-order terms in the errors of $g_2$ and $g_3$.

    $\Lambda = \Lambda_{21} + B_J \Lambda_{11}$ (Ablin et al. 2020, eq. 9). It is zero for a
    quadratic L.

    **Arguments:** `cross_lipschitz` $\Lambda_{21}$, `hessian_lipschitz` $\Lambda_{11}$,
    `jacobian_bound` $B_J$.

    **Raises** `ValueError` for a negative or NaN constant.

    >>> from bilevax.theory import superefficiency as se
    >>> se.remainder(cross_lipschitz=1.0, hessian_lipschitz=2.0, jacobian_bound=3.0)
    7.0
    """
    check_nonnegative(
        cross_lipschitz=cross_lipschitz,
        hessian_lipschitz=hessian_lipschitz,
        jacobian_bound=jacobian_bound,
    )
    return cross_lipschitz + jacobian_bound * hessian_lipschitz


def analytic_error(*, gradient_lipschitz: Number, distance: Number) -> Value:
    r"""Bounds the error of the analytic gradient.

    $|g_1 - g^*| \le \Lambda_2 |y_t - y^*|$ (Ablin et al. 2020, Prop. 2.1), along SGD in mean
    (Prop. 3.7).

    **Arguments:** `gradient_lipschitz` $\Lambda_2$, `distance` $|y_t - y^*|$.

    **Raises** `ValueError` for a negative or NaN argument.

    >>> from bilevax.theory import superefficiency as se
    >>> se.analytic_error(gradient_lipschitz=2.0, distance=0.5)
    1.0
    """
    check_nonnegative(gradient_lipschitz=gradient_lipschitz, distance=distance)
    return gradient_lipschitz * distance


def automatic_error(*, residual: Number, remainder: Number, distance: Number) -> Value:
    r"""Bounds the error of the automatic gradient.

    $|g_2 - g^*| \le \|R(J_t)\| |y_t - y^*| + \frac{\Lambda}{2} |y_t - y^*|^2$ with
    $R(J) = J H(y^*) + K(y^*)$, at most $\Lambda_1 \|J - J^*\|$ (Ablin et al. 2020, Prop. 2.2).

    **Arguments:** `residual` $\|R(J_t)\|$, `remainder` $\Lambda$, `distance` $|y_t - y^*|$.

    **Raises** `ValueError` for a negative or NaN argument.

    >>> from bilevax.theory import superefficiency as se
    >>> se.automatic_error(residual=1.0, remainder=4.0, distance=0.5)
    1.0
    """
    check_nonnegative(residual=residual, remainder=remainder, distance=distance)
    return residual * distance + remainder / 2 * distance**2


def implicit_error(
    *,
    remainder: Number,
    distance: Number,
    smoothness: Number = 0.0,
    jacobian_lipschitz: Number = 0.0,
) -> Value:
    r"""Bounds the error of the implicit gradient.

    $|g_3 - g^*| \le \frac{\Lambda}{2} |y_t - y^*|^2$, by a Taylor expansion about $y_t$: there
    $\mathcal{J} H + K = 0$, and the first order vanishes. Ablin et al. (2020, Prop. 2.3)
    expand about $y^*$ and have $\frac{\Lambda}{2} + \Lambda_J \Lambda_1$ in place of
    $\frac{\Lambda}{2}$: with `smoothness` and `jacobian_lipschitz` given, it is that.

    **Arguments:** `remainder` $\Lambda$ with $B_J \ge \|\mathcal{J}(y_t, x)\|$, `distance`
    $|y_t - y^*|$, `smoothness` $\Lambda_1$, `jacobian_lipschitz` $\Lambda_J$.

    **Raises** `ValueError` for a negative or NaN argument.

    >>> from bilevax.theory import superefficiency as se
    >>> se.implicit_error(remainder=4.0, distance=0.5)
    0.5
    >>> se.implicit_error(remainder=4.0, distance=0.5, smoothness=2.0, jacobian_lipschitz=3.0)
    2.0
    """
    check_nonnegative(remainder=remainder, distance=distance, smoothness=smoothness)
    check_nonnegative(jacobian_lipschitz=jacobian_lipschitz)
    return (remainder / 2 + jacobian_lipschitz * smoothness) * distance**2


def bilevel_error(
    *,
    distance: Number,
    jacobian_distance: Number,
    jacobian_bound: Number,
    objective_gradient_lipschitz: Number,
    objective_smoothness: Number,
    objective_gradient: Number,
) -> Value:
    r"""Bounds the error of a hypergradient where the outer objective is not the inner one.

    For an outer objective $f(y, x)$ and $g' = D_2 f + J D_1 f$,
    $|g' - g'^*| \le (\Lambda_2' + B_J \Lambda_1') |y_t - y^*| + \|J - J^*\| |D_1 f(y^*, x)|$
    (Ablin et al. 2020, section 2, without constants). Super-efficiency is lost: the Jacobian
    counts in first order. `jacobian_distance` is $\|J_t - J^*\|$ for $g_2'$, at most
    $\Lambda_J |y_t - y^*|$ for $g_3'$, and $\|J^*\|$, with $B_J = 0$, for $g_1'$.

    **Arguments:** `distance` $|y_t - y^*|$, `jacobian_distance`, `jacobian_bound` $B_J$; of f
    the Lipschitz constants in y `objective_gradient_lipschitz` $\Lambda_2'$ of $D_2 f$ and
    `objective_smoothness` $\Lambda_1'$ of $D_1 f$, and `objective_gradient` $|D_1 f(y^*, x)|$.

    **Raises** `ValueError` for a negative or NaN argument.

    >>> from bilevax.theory import superefficiency as se
    >>> se.bilevel_error(distance=0.5, jacobian_distance=0.25, jacobian_bound=1.0,
    ...     objective_gradient_lipschitz=1.0, objective_smoothness=1.0, objective_gradient=4.0)
    2.0
    """
    check_nonnegative(
        objective_gradient_lipschitz=objective_gradient_lipschitz,
        objective_smoothness=objective_smoothness,
        objective_gradient=objective_gradient,
    )
    check_nonnegative(
        distance=distance, jacobian_distance=jacobian_distance, jacobian_bound=jacobian_bound
    )
    direct = objective_gradient_lipschitz + jacobian_bound * objective_smoothness
    return direct * distance + jacobian_distance * objective_gradient


def contraction(*, step_size: Number, smoothness: Number, strong_convexity: Number) -> Value:
    r"""The factor of a step of gradient descent: $\kappa = 1 - \rho \mu$.

    Ablin et al. 2020, Prop. 3.2; for $\rho \le 1 / \Lambda_1$.

    **Arguments:** `step_size` $\rho$, `smoothness` $\Lambda_1$, `strong_convexity` $\mu$.

    **Raises** `ValueError` for a constant out of range, or a step above 1 / smoothness.

    >>> from bilevax.theory import superefficiency as se
    >>> se.contraction(step_size=0.25, smoothness=4.0, strong_convexity=1.0)
    0.75
    """
    check_curvature("", smoothness, strong_convexity)
    check_step("step_size", step_size, 1 / smoothness, "1 / smoothness")
    return 1 - step_size * strong_convexity


def distance(*, steps: Number, contraction: Number, initial_distance: Number) -> Value:
    r"""Bounds the distance of an iterate of any contraction, gradient descent among them.

    $|y_t - y^*| \le \kappa^t |y_0 - y^*|$ (Ablin et al. 2020, Props. 3.1 and 3.2).

    **Arguments:** `steps` t, `contraction` $\kappa$, `initial_distance` $|y_0 - y^*|$.

    **Raises** `ValueError` for a negative or NaN argument, or a contraction not in [0, 1).

    >>> from bilevax.theory import superefficiency as se
    >>> se.distance(steps=2, contraction=0.5, initial_distance=4.0)
    1.0
    """
    check_contraction(contraction)
    check_nonnegative(steps=steps, initial_distance=initial_distance)
    return contraction**steps * initial_distance


def jacobian_distance(
    *,
    steps: Number,
    contraction: Number,
    initial_distance: Number,
    initial_jacobian_distance: Number,
    remainder: Number,
    step_size: Number = 1.0,
) -> Value:
    r"""Bounds the distance of the Jacobian along gradient descent or another contraction.

    $\|J_t - J^*\| \le \kappa^t \|J_0 - J^*\| + t \kappa^{t-1} \rho \Lambda |y_0 - y^*|$ (Ablin
    et al. 2020, Prop. 3.2, as printed without the first term, which a quadratic L
    contradicts: there $\Lambda = 0$, and $J_t - J^* = (J_0 - J^*) (I - \rho H)^t$). For another
    contraction $y_{t+1} = \phi(y_t, x)$ (Prop. 3.1) $\rho$ is 1, and $\Lambda$ is
    $\mathrm{Lip}(D_2 \phi) + B_J \mathrm{Lip}(D_1 \phi)$.

    **Arguments:** `steps` t, `contraction` $\kappa$, `initial_distance` $|y_0 - y^*|$,
    `initial_jacobian_distance` $\|J_0 - J^*\|$, `remainder` $\Lambda$, `step_size` $\rho$.

    **Raises** `ValueError` for an argument out of range.

    >>> from bilevax.theory import superefficiency as se
    >>> se.jacobian_distance(steps=2, contraction=0.5, initial_distance=1.0,
    ...                      initial_jacobian_distance=4.0, remainder=1.0)
    2.0
    """
    check_contraction(contraction)
    check_nonnegative(steps=steps, initial_distance=initial_distance, remainder=remainder)
    check_nonnegative(initial_jacobian_distance=initial_jacobian_distance)
    check_positive(step_size=step_size)
    grown = steps * contraction ** (steps - (steps > 0))
    start = contraction**steps * initial_jacobian_distance
    return start + grown * step_size * remainder * initial_distance


def gradient_descent_errors(
    *,
    steps: Number,
    step_size: Number,
    smoothness: Number,
    strong_convexity: Number,
    gradient_lipschitz: Number,
    remainder: Number,
    initial_distance: Number,
    initial_jacobian_distance: Number,
    jacobian_lipschitz: Number = 0.0,
) -> ByEstimator:
    r"""Bounds the errors of the three gradients after t steps of gradient descent.

    Ablin et al. 2020, eq. (13): with $e = |y_0 - y^*|$ and $\kappa = 1 - \rho \mu$,

    $|g_1 - g^*| \le \Lambda_2 e \kappa^t$,
    $|g_2 - g^*| \le (\rho \Lambda_1 t + \kappa / 2) \Lambda e^2 \kappa^{2t-1}
    + \Lambda_1 \|J_0 - J^*\| e \kappa^{2t}$,
    $|g_3 - g^*| \le (\Lambda / 2 + \Lambda_J \Lambda_1) e^2 \kappa^{2t}$.

    The printed bound of $g_2$ lacks its last term, as `jacobian_distance` says; that of $g_3$
    holds with $\Lambda_J = 0$, as `implicit_error` says.

    **Arguments:** `steps` t, `step_size` $\rho$, `smoothness` $\Lambda_1$, `strong_convexity`
    $\mu$, `gradient_lipschitz` $\Lambda_2$, `remainder` $\Lambda$, `initial_distance` e,
    `initial_jacobian_distance` $\|J_0 - J^*\|$, `jacobian_lipschitz` $\Lambda_J$.

    **Raises** `ValueError` for a constant out of range, or a step above 1 / smoothness.

    >>> from bilevax.theory import superefficiency as se
    >>> tuple(se.gradient_descent_errors(
    ...     steps=1, step_size=0.5, smoothness=1.0, strong_convexity=1.0, remainder=0.0,
    ...     gradient_lipschitz=2.0, initial_distance=1.0, initial_jacobian_distance=1.0))
    (1.0, 0.25, 0.0)
    """
    factor = contraction(
        step_size=step_size, smoothness=smoothness, strong_convexity=strong_convexity
    )
    after = distance(steps=steps, contraction=factor, initial_distance=initial_distance)
    jacobian_after = jacobian_distance(
        steps=steps,
        contraction=factor,
        initial_distance=initial_distance,
        initial_jacobian_distance=initial_jacobian_distance,
        remainder=remainder,
        step_size=step_size,
    )
    return ByEstimator(
        analytic_error(gradient_lipschitz=gradient_lipschitz, distance=after),
        automatic_error(
            residual=smoothness * jacobian_after, remainder=remainder, distance=after
        ),
        implicit_error(
            remainder=remainder,
            distance=after,
            smoothness=smoothness,
            jacobian_lipschitz=jacobian_lipschitz,
        ),
    )
