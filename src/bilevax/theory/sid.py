r"""Bounds for stochastic implicit differentiation, and the step sizes they ask for.

$l(x) = f(x, y^*(x))$, where $y^*(x)$ is the fixed point of the contraction
$\phi(x, \cdot) = E \, \hat\phi(x, \cdot, \zeta)$. SID takes t steps of a stochastic solver
for y, k for the adjoint z, and multiplies z by an average of J samples of
$\partial_x \hat\phi$ (`bx.algorithms.sid`). Its mean square error is bounded by those of the
two solutions (`mse_bound`), and these by the constants of the map and the steps taken.

All functions are pure and take keyword arguments, numbers or arrays that broadcast (`steps`:
numbers). What a function returns is what an argument of the same name expects. Norms are
Euclidean and spectral. A variance V is the expected square of the distance from the mean.
An *mse* is a mean square and a *distance* a norm.

| Grazzi et al. | here | argument | meaning |
|---|---|---|---|
| $\lambda$, $w$ | $x$, $y$ | | outer and inner variable |
| $E$, $f$ | $f$, $l$ | | outer objective, and as a function of x |
| $\Phi$, $\hat\Phi$ | $\phi$, $\hat\phi$ | | the map, and a sample of it |
| $v$ | $-z$ | | the adjoint, $(I - \partial_y \phi)^\top z = - \partial_y f$ |
| $\ell$ | $g$ | | inner objective, where $\phi = y - \alpha \nabla_y g$ |
| $t$ | $t$ | `steps` | steps on the inner problem, or on either |
| $k$ | $k$ | `adjoint_steps` | steps on the adjoint |
| $J$ | $J$ | `cross_samples` | samples of $\partial_x \hat\phi$; `None`: exact |
| $q_\lambda$ | $q$ | `contraction` | $\ge \Vert \partial_y \phi \Vert$ |
| $L_E$ | $L_f$ | `outer_lipschitz` | $\ge \vert \partial_y f \vert$ |
| $\mu_1$ | $\mu_1$ | `outer_smoothness` | Lipschitz constant in y of $\partial_y f$ |
| $\mu_2$ | $\mu_2$ | `outer_cross_smoothness` | of $\partial_x f$ |
| $\nu_1$ | $\nu_1$ | `jacobian_lipschitz` | of $\partial_y \phi$ |
| $\nu_2$ | $\nu_2$ | `cross_lipschitz` | of $\partial_x \phi$ |
| $L_\Phi$ | $L_\phi$ | `cross_norm` | $\Vert \partial_x \phi(x, y^*) \Vert$ |
| $m_2$ | $m_2$ | `cross_noise` | $\ge V[\partial_x \hat\phi]$ |
| $c_1$ | $c_1$ | `bias_constant` | of the bias |
| $\rho(t)$ | $\rho$ | `inner_mse` | $\ge E \vert y_t - y^* \vert^2$ |
| $\sigma(k)$ | $\sigma$ | `adjoint_mse` | $\ge E \vert z_k - z \vert^2$, whatever $y_t$ |
| $\hat L$, $L_{\hat T}$ | $\hat L$ | `sample_lipschitz` | of every sample of the map |
| $V[\hat T(w^*)]$ | the same | `noise_at_solution` | the map's variance there |
| $\sigma_1$ | $\sigma_1$ | `noise` | of a map: a variance, not its root |
| $\sigma_2$ | $\sigma_2$ | `relative_noise` | of a map, relative to $\vert T(u) - u \vert^2$ |
| $\sigma_1'$ | $\sigma_1'$ | `gradient_noise` | of the gradient of g: a variance |
| $\sigma_2'$ | $\sigma_2'$ | `relative_gradient_noise` | relative to $\vert \nabla g \vert^2$ |
| $\tau$, $L$ | $\tau$, $\Lambda$ | `strong_convexity`, `smoothness` | of g |
| $\eta$, $\alpha$ | the same | `step_size` | of the iteration, of a gradient map |
| $\beta$, $\gamma$ | the same | `beta`, `gamma` | of steps $\beta / (\gamma + i)$ |
| $w_0 - w^*$ | $y_0 - y^*$ | `initial_distance` | its norm; its square is `initial_mse` |

**Reference:** R. Grazzi, M. Pontil and S. Salzo, Convergence properties of stochastic
hypergradients, AISTATS 2021.
"""

from ._sid_fixed_point import (
    GradientMap,
    NoiseConstants,
    adjoint_mse,
    adjoint_noise,
    constant_step_floor,
    constant_step_mse,
    decreasing_step_mse,
    gradient_map,
    inner_mse,
    linear_model_noise,
    longest_step,
    map_noise,
)
from ._sid_hypergradient import (
    MSEBound,
    aid_cg_error,
    aid_fp_error,
    bias_constant,
    itd_error,
    mse_bound,
)
from ._sid_steps import Steps, steps

__all__ = [
    "GradientMap",
    "MSEBound",
    "NoiseConstants",
    "Steps",
    "adjoint_mse",
    "adjoint_noise",
    "aid_cg_error",
    "aid_fp_error",
    "bias_constant",
    "constant_step_floor",
    "constant_step_mse",
    "decreasing_step_mse",
    "gradient_map",
    "inner_mse",
    "itd_error",
    "linear_model_noise",
    "longest_step",
    "map_noise",
    "mse_bound",
    "steps",
]
