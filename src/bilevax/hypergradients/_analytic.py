"""The analytic estimator: the outer gradient, as if y did not depend on x."""

from .._core.keys import split
from .._core.result import first_failure
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, as_sampler
from ..solvers import AbstractSolver
from ..solvers._base import Solver, check_solver
from ._stages import AbstractTwoStage, TwoStageState


class Analytic(AbstractTwoStage):
    r"""The analytic estimator $g^1 = \partial_x f(x, y_t)$ (Ablin et al. 2020, Eq. 2).

    Right whenever $\partial_y f$ vanishes at $y^*$: for the value function of a minimum
    ($f = g$, `bx.MinProblem`) and for $f = c - g$. Its error is then proportional to
    $\|y_t - y^*\|$. For any other bilevel problem it is biased: use `bx.Implicit` or
    `bx.Unrolled`.

    **Arguments:**

    - `inner`: the solver of the inner problem.
    - `warm_start_inner`: start from the last y; otherwise from the initial one.
    - `outer_batch_size`: rows for the outer gradient: an int, a sampler, or `None` (all).

    >>> import bilevax as bx
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2 / 2 + y**2 / 2)
    >>> h = bx.hypergradient(problem, bx.Analytic(bx.GradientDescent(0.3, 30)), 1.0, 0.0)
    >>> round(float(h.gradient), 4)
    0.5

    **Reference:** P. Ablin, G. Peyré and T. Moreau, Super-efficiency of automatic
    differentiation for functions defined as a minimum, ICML 2020.
    """

    inner: AbstractSolver
    warm_start_inner: bool
    outer_sampler: AbstractSampler

    def __init__(
        self,
        inner: Solver,
        *,
        warm_start_inner: bool = True,
        outer_batch_size: BatchSize = None,
    ):
        self.inner = check_solver("inner", inner)
        self.warm_start_inner = warm_start_inner
        self.outer_sampler = as_sampler(outer_batch_size)

    def __call__(self, problem, x, state, key):
        inner_key, outer_key = split(key, 2, self.random)
        inner, cost, result = self.solve_inner(
            problem, x, state.inner_state, inner_key, state.k
        )
        value, (f_x, _), sampler, outer_cost, outer_result = self.evaluate_outer(
            problem, x, inner.y, state.outer_sampler, outer_key
        )
        state = TwoStageState(state.k + 1, inner, value, sampler)
        return f_x, state, cost + outer_cost, first_failure(result, outer_result)
