"""Solvers of the optimistix library, on the inner problem."""

import importlib
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._core.cost import Cost
from .._core.numbers import as_count
from .._core.result import Result, finite_or, first_failure
from .._core.tree import norm
from .._core.types import Count
from .._rows.batch import full
from .._rows.sampler import AbstractSampler
from .._rows.samplers import as_sampler
from ._base import AbstractSolver, SolverState
from ._equation import InnerEquation, as_inner

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    import optimistix

    Outside = optimistix.AbstractMinimiser | optimistix.AbstractRootFinder
else:
    Outside = Any


class Optimistix(AbstractSolver):
    r"""A minimiser of `optimistix` on g, or one of its root finders on F, as the inner solver.

    It starts from y, warm or cold, on all rows; nothing else is carried from one solve
    to the next. Derivatives are those of the estimator, as with every inner solver: it is
    never differentiated itself, and `bx.Unrolled` does not take it.

    **Cost:** an inner gradient for each step that optimistix reports
    (`sol.stats["num_steps"]`), and one for the residual where it ended. For a minimiser that is
    one value with its gradient a step; what a root finder or a Newton step takes to build
    or solve its own linear systems is not counted.

    **Arguments:**

    - `solver`: such as `optimistix.BFGS(rtol, atol)` or `optimistix.Newton(rtol, atol)`, whose
      tolerances end a solve. A minimiser needs an inner problem that minimises.
    - `num_steps`: the most steps of one solve, an int.
    - `must_converge`: whether a solve that has not met its tolerances has failed, as in
      `bx.Descent`.

    optimistix is an optional dependency: `pip install bilevax[optimistix]`.

    >>> import bilevax as bx, optimistix
    >>> inner = bx.Optimistix(optimistix.Newton(1e-5, 1e-5), num_steps=20)
    >>> problem = bx.BilevelProblem(outer=lambda x, y: y, inner=lambda x, y: (y - x) ** 4)
    >>> h = bx.hypergradient(problem, bx.Analytic(inner), 1.0, 2.0)
    >>> abs(float(h.y) - 1.0) < 0.1
    True

    **Reference:** J. Rader, T. Lyons and P. Kidger, Optimistix: modular optimisation in JAX
    and Equinox, Journal of Open Source Software, 2024.
    """

    solver: Any
    num_steps: int = eqx.field(static=True)
    sampler: AbstractSampler
    must_converge: bool | None = eqx.field(static=True)

    def __init__(self, solver: Outside, num_steps: Count, *, must_converge: bool | None = None):
        library = _library()
        if not isinstance(solver, library.AbstractMinimiser | library.AbstractRootFinder):
            raise TypeError(_NOT_ONE.format(solver))
        self.solver = solver
        self.num_steps = as_count("num_steps", num_steps)
        self.sampler = as_sampler(None)
        self.must_converge = must_converge

    def init(self, equation, u):
        equation = as_inner(equation, _NOT_INNER)
        batch = full(equation.data, None)
        if self._minimises:  # raises where there is nothing to minimise
            jax.eval_shape(lambda u: equation.value_and_residual(u, batch), u)
        return SolverState.start((), self.sampler.init(equation.data), u)

    def solve(self, equation, u, state, key, k):
        del k
        batch, _ = self.sampler.draw(equation.data, state.sampler, key)
        found = self._run(as_inner(equation, _NOT_INNER).fix(batch), u)
        size = norm(equation.residual(found.value, batch))
        met = self._ended(found, "successful")
        watch = state.watch.begin().see(size).end(False, met)
        calls = jnp.asarray(found.stats["num_steps"], jnp.int32) + 1
        cost = Cost.of("inner_gradient", calls, self.sampler.rows(equation.data))
        return found.value, state.with_watch(watch), cost, self._result(found, met)

    def shortfall(self, state, failure):
        if self.must_converge is False:
            return Result.successful
        return Result.where(state.watch.met, Result.successful, failure)

    def _run(self, equation: InnerEquation, u: PyTree):
        """What optimistix returns, started at u."""
        library, settings = _library(), {"max_steps": self.num_steps, "throw": False}
        if self._minimises:
            value = equation.objective()
            return library.minimise(lambda y, _: value(y), self.solver, u, **settings)
        return library.root_find(lambda y, _: equation.residual(y), self.solver, u, **settings)

    @property
    def _minimises(self) -> bool:
        return isinstance(self.solver, _library().AbstractMinimiser)

    def _ended(self, found, *codes: str):
        """Whether it ended in one of these ways, by optimistix's names."""
        results = _library().RESULTS
        ended = [found.result == getattr(results, code) for code in codes]
        return jnp.any(jnp.array(ended))

    def _result(self, found, met):
        out_of_steps = self._ended(found, "max_steps_reached", "nonlinear_max_steps_reached")
        failed = Result.where(met | out_of_steps, Result.successful, Result.optimistix_failed)
        missed = out_of_steps & bool(self.must_converge)
        short = Result.where(missed, Result.inner_max_steps, Result.successful)
        return first_failure(finite_or(found.value, Result.inner_nonfinite), failed, short)


def _library() -> Any:
    try:
        return importlib.import_module("optimistix")
    except ImportError as error:
        raise ImportError(_MISSING) from error


_MISSING = "bx.Optimistix needs optimistix: pip install bilevax[optimistix]."
_NOT_ONE = (
    "solver must be a minimiser or a root finder of optimistix, such as "
    "optimistix.BFGS(1e-8, 1e-8) or optimistix.Newton(1e-8, 1e-8), got {!r}."
)
_NOT_INNER = (
    "bx.Optimistix is for inner problems; the adjoint system is linear: use bx.CG, bx.Direct "
    "or any other solver of bilevax."
)
