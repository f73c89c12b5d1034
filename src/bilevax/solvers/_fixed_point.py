"""Fixed-point iteration."""

import equinox as eqx
import optax.tree

from .._core.types import Number, NumSteps, Scalar
from .._rows.sampler import AbstractSampler
from .._rows.samplers import as_sampler
from ._base import checked_num_steps
from ._tolerance import AbstractTolerantSolver, as_tolerance


class FixedPointIteration(AbstractTolerantSolver):
    r"""Repeats the fixed-point form of the equation: $u^{i+1} = T(u^i)$.

    On the inner level of a `bx.FixedPointProblem` T is $\phi(x, \cdot)$; elsewhere it is
    the problem's own `update`. On the adjoint system of a fixed-point problem it is
    $z \mapsto (\partial_y \phi)^\top z - \partial_y f$, the AID-FP of Grazzi et al. (2020).

    **Arguments:**

    - `num_steps`: iterations of one solve, an int or a function of the outer step k.
    - `tol`: stop after the first step that moved by at most this norm.
    - `must_converge`: as in `bx.Descent`.

    >>> import bilevax as bx
    >>> solver = bx.FixedPointIteration(num_steps=20, tol=1e-6)
    """

    num_steps: NumSteps
    sampler: AbstractSampler
    tol: Scalar | None
    must_converge: bool | None = eqx.field(static=True)

    def __init__(
        self,
        num_steps: NumSteps,
        *,
        tol: Number | None = None,
        must_converge: bool | None = None,
    ):
        self.num_steps = checked_num_steps(num_steps)
        self.sampler = as_sampler(None)
        self.tol = as_tolerance(tol, self.sampler)
        self.must_converge = must_converge

    def init_method(self, equation, u):
        return ()

    def step(self, equation, u, state, batch):
        new = equation.sweep(u, batch)
        return new, state.tick(state.method, self.seen(optax.tree.sub(new, u)))
