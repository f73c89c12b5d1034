"""Fixed-point iteration."""

from .._sampling import AbstractSampler, as_sampler
from .._types import NumSteps
from ._base import AbstractIterativeSolver, check_num_steps


class FixedPointIteration(AbstractIterativeSolver):
    r"""Repeats the fixed-point form of the equation: $u^{i+1} = T(u^i)$.

    On the inner level of a `bx.FixedPointProblem` T is $\phi(x, \cdot)$; elsewhere it is
    the problem's own `update`. On the adjoint system of a fixed-point problem it is
    $z \mapsto (\partial_y \phi)^\top z - \partial_y f$, the AID-FP of Grazzi et al. (2020).

    **Arguments:**

    - `num_steps`: iterations of one solve, an int or a function of the outer step k.

    >>> import bilevax as bx
    >>> bx.FixedPointIteration(num_steps=20)
    FixedPointIteration(num_steps=20, sampler=FullBatch())
    """

    num_steps: NumSteps
    sampler: AbstractSampler

    def __init__(self, num_steps: NumSteps):
        check_num_steps(num_steps)
        self.num_steps = num_steps
        self.sampler = as_sampler(None)

    def init_method(self, equation, u):
        return ()

    def step(self, equation, u, state, batch):
        return equation.update(u, batch), state.tick(state.method)
