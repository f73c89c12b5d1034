"""Truncated Neumann series on the adjoint system."""

import optax.tree

from .._sampling import AbstractSampler, as_sampler
from .._tree import axpy, scale
from .._types import BatchSize, NumSteps, Scalar
from ..schedules import as_number
from ._base import AbstractIterativeSolver, check_num_steps


class Neumann(AbstractIterativeSolver):
    r"""$z = -\eta \sum_{q=0}^{N} (I - \eta H)^q \, \partial_y f$, with N products.

    The series starts afresh at every solve: a warm start has no meaning for it. With
    `batch_size` the products are nested with fresh rows each, as in stocBiO (Ji, Yang and
    Liang 2021). On a fixed-point problem take `step_size=1`: H is
    $I - (\partial_y \phi)^\top$.

    **Arguments:**

    - `step_size`: $\eta$; the series converges when it is below 2 / smoothness.
    - `num_steps`: N, the number of products; the number of terms is N + 1.
    - `batch_size`: rows of each product: an int, a sampler, or `None` (all).

    >>> import bilevax as bx
    >>> solver = bx.Neumann(step_size=0.5, num_steps=10)
    """

    step_size: Scalar
    num_steps: NumSteps
    sampler: AbstractSampler

    def __init__(
        self,
        step_size: float,
        num_steps: NumSteps,
        batch_size: BatchSize = None,
    ):
        check_num_steps(num_steps)
        self.step_size = as_number(step_size)
        self.num_steps = num_steps
        self.sampler = as_sampler(batch_size)

    def init_method(self, equation, u):
        return equation.zeros()

    def begin(self, equation, u, state):
        del u
        first_term = scale(self.step_size, equation.rhs)
        return first_term, state.with_method(first_term), 0, 0

    def step(self, equation, u, state, batch):
        product = equation.operator(batch)(state.method)
        term = axpy(-self.step_size, product, state.method)
        return optax.tree.add(u, term), state.tick(term)
