r"""Constants, step counts, guarantees and costs of AmIGO.

$l(x) = f(x, y^*(x))$ is minimised over x, where $y^*(x)$ minimises $g(x, \cdot)$. An outer
step takes T steps on g from $y_{k-1}$, N steps on $\partial_{yy} g \, z + \partial_y f = 0$
from $z_{k-1}$, and then moves x along $\psi_k = \partial_x f + \partial_{xy} g \, z_k$
(`bx.algorithms.amigo_gd`, which takes T, N and its step sizes from `steps` when it is given
`constants=`).

What the paper proves, and what here says so: the constants of Prop. 6 are properties of
`Constants`; the solves contract (`contractions`, `solve_errors`: Prop. 7), the hypergradient
is as near as they are (`hypergradient_errors`: Prop. 4), x, y and z pass their errors on
(`outer_bound`, `inner_bounds`, `energy_step`: Props. 2, 5, 8, 9 and 12), and with enough steps
(`steps`: Prop. 10) one total energy falls to a floor that is the `effective_variance`
(`energy_bound`, `mean_energy_bound`: Theorem 1). The orders of the cost that follow are in
`table`, `amigo_plan`, `sag_cost`, `ttsa_plan` and `accbio_plan`.

All functions are pure and take keyword arguments, numbers or arrays that broadcast.
Norms are Euclidean and spectral, *mse* a mean square, a variance the expected square of the
distance from the mean, of the batches as they are drawn. X, Y are the units of x and y, F and G
those of f and g.

| paper | here | argument or property | meaning | unit |
|---|---|---|---|---|
| $\mu_g$, $L_g$ | the same | `strong_convexity`, `smoothness` | of g in y | G/Y² |
| $L_g'$ | the same | `cross_smoothness` | $\ge \Vert \partial_{xy} g \Vert$ | G/XY |
| $M_g$ | the same | `derivative_lipschitz` | of second derivatives of g | G/Y³ |
| $L_f$ | the same | `outer_smoothness` | of f in (x, y) | F/Y² |
| $B$ | the same | `outer_lipschitz` | $\ge \Vert \partial_y f \Vert$ | F/Y |
| $\sigma_g^2$ | the same | `inner_variance` | of $\partial_y g$ | (G/Y)² |
| $\sigma_{gyy}^2$ | the same | `hvp_variance` | of $\partial_{yy} g$, spectral | (G/Y²)² |
| $\sigma_{gxy}^2$ | the same | `cross_variance` | of $\partial_{xy} g$, spectral | (G/XY)² |
| $\sigma_f^2$ | the same | `outer_variance` | of $\nabla f$ | (F/Y)² |
| $\tilde\sigma^2$ | $\varsigma^2$ | `Variances` | the same of single rows | |
| $\mathcal L$ | $l$ | | the bilevel objective | F |
| $\mu$ | the same | `bilevel_strong_convexity` | of l; `None`: l is not convex | F/X² |
| $L$ | the same | `bilevel_smoothness`, `gradient_lipschitz` | of l | F/X² |
| $\kappa_g$ | the same | `inner_condition` | $L_g/\mu_g$ | 1 |
| $\kappa_L$ | the same | `outer_condition` | $L/\mu$ | 1 |
| $L_y$ | the same | `solution_lipschitz` | of $y^*(x)$ | Y/X |
| $L_z$ | the same | `adjoint_lipschitz` | of $z^*(x, y)$ | |
| $L_\psi$ | the same | `hypergradient_lipschitz` | of $\psi$ in y and z | |
| $\alpha$, $T$ | the same | `inner_step_size`, `inner_steps` | | Y²/G, 1 |
| $\beta$, $N$ | the same | `adjoint_step_size`, `adjoint_steps` | | Y²/G, 1 |
| $\gamma$, $k$ | the same | `outer_step_size` or `step_size`, `outer_steps` | | X²/F, 1 |
| $\eta_0$, $\delta_0$ | the same | `eta`, `delta` | $\mu$ or L, $\eta_0 / L$ | F/X², 1 |
| $u$ | $u$ | `averaged` | whether $\bar x_k$ is shown: 1 or 0 | 1 |
| $\Lambda$, $\Pi$, $R^y$, $R^z$ | the same | `Contractions` | of the solves | |
| $E^y$, $E^z$ | the same | `inner_mse`, `adjoint_mse` | before the solves | Y² |
| $E^x$, $E^{tot}$ | the same | `outer_energy`, `energy` | | F |
| $E^\psi$, $V^\psi$ | the same | `bias`, `variance` | of $\psi$, squares | (F/X)² |
| $\rho_k$, $r_k$, $\theta_k$ | the same | `rho`, `r`, `theta` | free in the proofs | 1 |
| $\epsilon$ | $\epsilon$ | `accuracy` | | F, or (F/X)² |
| $W^2$ | the same | `effective_variance` | | |

The proofs add distances of x and y, so that X = Y and F = G are understood where a unit is
missing or one of several is given.

**Reference:** M. Arbel and J. Mairal, Amortized implicit differentiation for stochastic bilevel
optimization, ICLR 2022.
"""

from ._amigo_constants import Constants
from ._amigo_costs import (
    Plan,
    Variances,
    accbio_plan,
    amigo_plan,
    paper_cost,
    sag_cost,
    ttsa_plan,
)
from ._amigo_energy import EnergyStep, InnerErrors, energy_step, gradient_ratio, inner_bounds
from ._amigo_hypergradient import (
    HypergradientErrors,
    HypergradientNoise,
    hypergradient_errors,
    hypergradient_noise,
)
from ._amigo_inner import (
    Contractions,
    SolveErrors,
    contractions,
    longest_adjoint_step,
    solve_errors,
)
from ._amigo_outer import outer_bound, outer_sequence
from ._amigo_solvers import (
    LinearSystemErrors,
    accelerated_mse,
    linear_system_errors,
    sag_mse,
)
from ._amigo_steps import EnergyWeights, Steps, energy_weights, steps
from ._amigo_table import PredictedCost, table
from ._amigo_theorem import effective_variance, energy_bound, mean_energy_bound, outer_steps

__all__ = [
    "Constants",
    "Contractions",
    "EnergyStep",
    "EnergyWeights",
    "HypergradientErrors",
    "HypergradientNoise",
    "InnerErrors",
    "LinearSystemErrors",
    "Plan",
    "PredictedCost",
    "SolveErrors",
    "Steps",
    "Variances",
    "accbio_plan",
    "accelerated_mse",
    "amigo_plan",
    "contractions",
    "effective_variance",
    "energy_bound",
    "energy_step",
    "energy_weights",
    "gradient_ratio",
    "hypergradient_errors",
    "hypergradient_noise",
    "inner_bounds",
    "linear_system_errors",
    "longest_adjoint_step",
    "mean_energy_bound",
    "outer_bound",
    "outer_sequence",
    "outer_steps",
    "paper_cost",
    "sag_cost",
    "sag_mse",
    "solve_errors",
    "steps",
    "table",
    "ttsa_plan",
]
