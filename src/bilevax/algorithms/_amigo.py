r"""AmIGO and the AID family it is compared with (Arbel and Mairal, ICLR 2022).

All take T inner steps (`inner_steps`) and N adjoint steps (`adjoint_steps`) for each
outer step. They differ in the adjoint solver and in what is warm-started:

| preset | inner | adjoint | warm y | warm z | oracle calls an outer step |
|---|---|---|---|---|---|
| `amigo_gd` | gradient descent | gradient descent | yes | yes | T + N + 2 |
| `amigo_cg` | gradient descent | conjugate gradient | yes | yes | T + N + 3 |
| `aid_gd` | gradient descent | gradient descent | yes | no | T + N + 1 |
| `aid_cg` | gradient descent | conjugate gradient | yes | no | T + N + 2 |
| `aid_cg_ws` | gradient descent | conjugate gradient | no | yes | T + N + 3 |
| `aid_fp` | gradient map | the same map's adjoint | yes | no | T + N + 1 |
| `aid_n` | gradient descent | Neumann series | yes | no | T + N + 2 |

The calls are those really made: a cold start does not pay for the product with zero, a
warm conjugate gradient pays one for its first residual (the paper counts T + N + 2 for
all).
"""

from .._core.types import NumSteps, StepSize, Weight
from .._rows.samplers import BatchSize
from ..schedules import as_step_size
from ..solvers import CG, Neumann
from ..solvers._base import checked_num_steps
from ..solvers._directions import OuterStep
from ..theory import amigo as theory
from ._base import Algorithm
from ._batches import ALL, per_oracle
from ._implicit import implicit
from ._steps import descent


def amigo_gd(
    *,
    outer_step_size: OuterStep | None = None,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    inner_steps: NumSteps | None = None,
    adjoint_steps: NumSteps | None = None,
    averaging: Weight | None = None,
    constants: theory.Constants | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""AmIGO-GD: gradient descent on both levels, both warm-started.

    $y^t = y^{t-1} - \alpha \nabla_y g(x_k, y^{t-1})$ from $y_{k-1}$, then
    $z^n = z^{n-1} - \beta (H z^{n-1} + \partial_y f)$ from $z_{k-1}$, then
    $x_{k+1} = x_k - \gamma (\partial_x f + J z_k)$ (Arbel and Mairal 2022, Algs. 1-3). With
    batch sizes all T + 1 + N + 1 batches of an outer step are independent; one outer batch
    serves both partial gradients of f.

    **Arguments:** see `bilevax.algorithms`; T and N are 10 each if not given;

    - `averaging`: the weight $\delta_k$ of the averages $\bar x_k$ of `bx.averaged`, which are
      then what is shown: for a stochastic problem with a convex value function. With
      $\gamma = 1/L$ and $\eta_0 = \mu$ it is $1 / \kappa_L$ (section 4). By default $x_k$
      itself is shown.
    - `constants`: a `bx.theory.amigo.Constants`, in place of all of these: T, N, $\alpha$,
      $\beta$ and $\gamma$ are then those of Prop. 10 (`bx.theory.amigo.steps`), with which
      Theorem 1 holds. Its variances are those of the batches that are drawn; where there are
      any and the problem is strongly convex, the averages are shown, with
      $\delta = 1 / \kappa_L$.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.amigo_gd(
    ...     outer_step_size=1.0, inner_step_size=0.1, adjoint_step_size=0.1)

    **Reference:** M. Arbel and J. Mairal, Amortized implicit differentiation for
    stochastic bilevel optimization, ICLR 2022.
    """
    if constants is not None:
        given = outer_step_size, inner_step_size, adjoint_step_size, averaging
        if any(value is not None for value in (*given, inner_steps, adjoint_steps)):
            raise TypeError(_TWICE)
        steps = theory.steps(constants=constants)
        outer_step_size, inner_step_size = steps.outer_step_size, steps.inner_step_size
        adjoint_step_size = steps.adjoint_step_size
        inner_steps, adjoint_steps = steps.inner_steps, steps.adjoint_steps
        averaging = constants.delta if constants.is_averaged else None
    rows = per_oracle(ALL, batch_sizes)
    inner = descent("inner", inner_step_size, _or_ten(inner_steps), rows["inner"])
    adjoint = descent("adjoint", adjoint_step_size, _or_ten(adjoint_steps), rows["hvp"])
    return implicit(inner, adjoint, outer_step_size, rows, averaging=averaging)


def _or_ten(steps: NumSteps | None) -> NumSteps:
    return 10 if steps is None else steps


def amigo_cg(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    averaging: Weight | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""AmIGO-CG: the adjoint by conjugate gradient, both levels warm-started.

    As `amigo_gd`, with N steps of conjugate gradient on $H z = -\partial_y f$ from
    $z_{k-1}$ in place of gradient descent (Arbel and Mairal 2022, section 2). With a batch
    size one batch, drawn at each outer step, serves all N products: the operator of
    conjugate gradient must not change.

    **Arguments:** see `bilevax.algorithms`; the adjoint needs no step size. `averaging` is
    that of `amigo_gd`.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.amigo_cg(outer_step_size=1.0, inner_step_size=0.1)

    **Reference:** M. Arbel and J. Mairal, ICLR 2022.
    """
    rows = per_oracle(ALL, batch_sizes)
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    adjoint = CG(checked_num_steps(adjoint_steps, "adjoint_steps"), batch_size=rows["hvp"])
    return implicit(inner, adjoint, outer_step_size, rows, averaging=averaging)


def aid_gd(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""AID-GD: `amigo_gd` with the adjoint started from zero at every outer step.

    **Arguments:** see `bilevax.algorithms`.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.aid_gd(
    ...     outer_step_size=1.0, inner_step_size=0.1, adjoint_step_size=0.1)

    **Reference:** M. Arbel and J. Mairal, ICLR 2022, section 5.
    """
    rows = per_oracle(ALL, batch_sizes)
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    adjoint = descent("adjoint", adjoint_step_size, adjoint_steps, rows["hvp"])
    return implicit(inner, adjoint, outer_step_size, rows, warm_start_adjoint=False)


def aid_cg(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""AID-CG: `amigo_cg` with the adjoint started from zero at every outer step.

    **Arguments:** see `bilevax.algorithms`; the adjoint needs no step size.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.aid_cg(outer_step_size=1.0, inner_step_size=0.1)

    **Reference:** R. Grazzi, L. Franceschi, M. Pontil and S. Salzo, On the iteration
    complexity of hypergradient computation, ICML 2020.
    """
    rows = per_oracle(ALL, batch_sizes)
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    adjoint = CG(checked_num_steps(adjoint_steps, "adjoint_steps"), batch_size=rows["hvp"])
    return implicit(inner, adjoint, outer_step_size, rows, warm_start_adjoint=False)


def aid_cg_ws(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""AID-CG-WS: the adjoint warm-started, the inner solver always from the initial y.

    **Arguments:** see `bilevax.algorithms`; the adjoint needs no step size.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.aid_cg_ws(outer_step_size=1.0, inner_step_size=0.1)

    **Reference:** M. Arbel and J. Mairal, ICLR 2022, section 5.
    """
    rows = per_oracle(ALL, batch_sizes)
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    adjoint = CG(checked_num_steps(adjoint_steps, "adjoint_steps"), batch_size=rows["hvp"])
    return implicit(inner, adjoint, outer_step_size, rows, warm_start_inner=False)


def aid_fp(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""AID-FP: the fixed-point iteration of the inner map's own adjoint, from zero.

    With the map $\Phi = y - \alpha \nabla_y g$: $w \leftarrow (\partial_y \Phi)^\top w +
    \partial_y f$, N times from $w = 0$, and $z = -\alpha w$. These are the steps of
    `aid_gd` with $\beta = \alpha$, so there is one step size. On a
    `bx.FixedPointProblem`, whose residual is $y - \phi$, `inner_step_size=1` iterates
    $\phi$ and its adjoint themselves.

    **Arguments:** see `bilevax.algorithms`; `inner_step_size` serves both levels.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.aid_fp(outer_step_size=1.0, inner_step_size=0.1)

    **Reference:** R. Grazzi et al., ICML 2020.
    """
    rows = per_oracle(ALL, batch_sizes)
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    step_size = as_step_size(inner_step_size, "inner_step_size")
    adjoint = descent("adjoint", step_size, adjoint_steps, rows["hvp"])
    return implicit(inner, adjoint, outer_step_size, rows, warm_start_adjoint=False)


def aid_n(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""AID-N: the adjoint by a truncated Neumann series.

    $z = -\eta \sum_{q=0}^{N} (I - \eta H)^q \partial_y f$: N products, N + 1 terms.

    **Arguments:** see `bilevax.algorithms`; `adjoint_step_size` is $\eta$.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.aid_n(
    ...     outer_step_size=1.0, inner_step_size=0.1, adjoint_step_size=0.1)

    **Reference:** J. Lorraine, P. Vicol and D. Duvenaud, Optimizing millions of
    hyperparameters by implicit differentiation, AISTATS 2020.
    """
    rows = per_oracle(ALL, batch_sizes)
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    adjoint = Neumann(
        step_size=as_step_size(adjoint_step_size, "adjoint_step_size"),
        num_steps=checked_num_steps(adjoint_steps, "adjoint_steps"),
        batch_size=rows["hvp"],
    )
    return implicit(inner, adjoint, outer_step_size, rows, warm_start_adjoint=False)


_TWICE = (
    "constants= sets all step sizes, counts and averages of amigo_gd: leave these out, or give "
    "them one by one, such as those of bx.theory.amigo.steps(constants=constants)._asdict()."
)
