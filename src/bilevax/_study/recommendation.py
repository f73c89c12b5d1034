"""What `bx.recommend` returns."""

from typing import Any, Literal, NamedTuple

import equinox as eqx

from ..hypergradients import Analytic, Implicit, Unrolled
from ..hypergradients._base import Estimator
from ..solvers import AbstractIterativeSolver, Direct
from ..solvers._base import IterativeSolver, Solver
from .observed import HAS_TOLERANCE, NOT_ITERATIVE


class Recommendation(NamedTuple):
    r"""Which gradient, with how many iterations, and why.

    - `gradient`: `"analytic"` ($g^1$), `"automatic"` ($g^2$) or `"implicit"` ($g^3$).
    - `steps`: the iterations of the inner solver.
    - `rule`: the row of the table of `bx.recommend` that decided, `"R0"` to `"R4"`.
    - `reason`: a sentence with the numbers that decided.
    - `options`: what `bx.Unrolled` takes beside the solver; empty for the others.
    """

    gradient: Literal["analytic", "automatic", "implicit"]
    steps: int
    rule: Literal["R0", "R1", "R2", "R3", "R4"]
    reason: str
    options: dict[str, Any]

    def estimator(self, inner: IterativeSolver, linear: Solver | None = None) -> Estimator:
        """The recommended estimator, whose inner solver takes the recommended steps.

        **Arguments:** `inner`: the solver; its own number of steps is replaced, a function
        of the outer step too. `linear`: of `bx.Implicit`, by default `bx.Direct()`.
        """
        if not isinstance(inner, AbstractIterativeSolver):
            raise TypeError(NOT_ITERATIVE.format(inner))
        if self.gradient == "automatic" and inner.stops_early:
            raise ValueError(HAS_TOLERANCE)
        inner = eqx.tree_at(lambda s: s.num_steps, inner, self.steps)
        if self.gradient == "analytic":
            return Analytic(inner)
        if self.gradient == "automatic":
            return Unrolled(inner, **self.options)
        return Implicit(inner, Direct() if linear is None else linear)
