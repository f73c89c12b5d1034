"""The penalised inner problem, and its multiplier."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, PyTree

from .._core.cost import Cost
from .._core.numbers import as_nonnegative, as_positive
from .._core.result import Result
from .._core.tree import axpy, float_dtype
from .._core.types import Index, Number, Scalar, StepSize
from ..problems._base import AbstractProblem
from ..schedules import evaluate
from ..solvers._equation import ANY, AbstractEquation


class PenalisedEquation(AbstractEquation):
    r"""$\partial_y f + \lambda \, \partial_y g = 0$; a batch is one of each level.

    Where the residual at the only y that is asked for is `known`, nothing is called.
    """

    problem: AbstractProblem
    x: PyTree
    multiplier: Scalar
    known: PyTree = None
    fixed: Any = None

    oracle: ClassVar[str] = "outer_gradient"
    nonfinite: ClassVar[Result] = Result.inner_nonfinite
    diverged: ClassVar[Result] = Result.inner_diverged
    unconverged: ClassVar[Result] = Result.inner_max_steps

    @property
    def data(self):
        return self.problem.outer_data, self.problem.inner_data

    def cost(self, calls, rows: Any):
        if self.known is not None:
            return Cost()
        outer, inner = rows
        return Cost.of("outer_gradient", calls, outer) + Cost.of("inner_gradient", calls, inner)

    def fix(self, batch):
        return PenalisedEquation(self.problem, self.x, self.multiplier, self.known, batch)

    def residual(self, u, batch=ANY):
        if self.known is not None:
            return self.known
        return self.mean((self.x, u), self.fixed or batch)

    def point(self, u):
        return self.x, u

    def mean(self, w, batch: Any):
        (x, y), (outer, inner) = w, batch
        _, (_, f_y) = self.problem.value_and_gradients(x, y, outer)
        return axpy(self.multiplier, self.problem.residual(x, y, inner), f_y)

    def completed(self, mean):
        return mean

    def value_and_residual(self, u, batch=ANY):
        del u, batch
        raise TypeError(_NO_SEARCH)

    def sweep(self, u, batch=ANY):
        del u, batch
        raise TypeError(_NO_SEARCH)


class AbstractMultiplier(eqx.Module):
    """How much a violation of the inner problem weighs against the outer objective."""

    # Whether it is chosen by the gradients at the present point.
    adapts: ClassVar[bool]

    @abc.abstractmethod
    def init(self, y: PyTree) -> Array:
        """Before the first step."""

    @abc.abstractmethod
    def next(self, value: Array, k: Index) -> Array:
        """That of the step after k."""


class Growing(AbstractMultiplier):
    r"""$\lambda_{k+1} = \lambda_k + \delta_k$."""

    start: Scalar
    growth: StepSize

    adapts: ClassVar[bool] = False

    def init(self, y):
        return jnp.asarray(self.start, float_dtype(y))

    def next(self, value, k):
        return value + jnp.asarray(evaluate(self.growth, k, k), value.dtype)


class DynamicBarrier(AbstractMultiplier):
    r"""The least multiplier with which the gap q of the inner problem falls.

    $\lambda = \max(0, (\eta \|\nabla q\|^2 - \langle \nabla f, \nabla q \rangle) /
    \|\nabla q\|^2)$, so that along $\nabla f + \lambda \nabla q$ the gap falls at least at the
    rate $\eta \|\nabla q\|^2$ (Gong, Liu and Liu 2021; Liu et al. 2022, Eq. 7). Where
    $\nabla q$ vanishes it is 0.

    **Arguments:** `rate`: $\eta$.

    >>> import bilevax as bx
    >>> rule = bx.DynamicBarrier(0.5)
    """

    rate: Scalar

    adapts: ClassVar[bool] = True

    def __init__(self, rate: Number = 0.5):
        self.rate = as_positive("rate", rate)

    def init(self, y):
        return jnp.zeros((), float_dtype(y))

    def next(self, value, k):
        return value

    def chosen(self, of_f: PyTree, of_gap: PyTree) -> Array:
        """By the gradients of f and of the gap."""
        square = jnp.asarray(optax.tree.vdot(of_gap, of_gap))
        along = optax.tree.vdot(of_f, of_gap)
        some = square > 0
        ratio = along / jnp.where(some, square, 1)
        barrier = jnp.asarray(self.rate, square.dtype) - ratio
        return jnp.where(some, jnp.maximum(barrier, 0), 0)


def as_multiplier(multiplier: Any, growth: StepSize) -> AbstractMultiplier:
    """A multiplier from a number and its growth; or a rule as it is."""
    if isinstance(multiplier, DynamicBarrier):
        if growth is not None:
            raise TypeError(_NO_GROWTH)
        return multiplier
    start = as_positive("multiplier", multiplier, kind="a number or bx.DynamicBarrier(rate)")
    zero = 0.0 if growth is None else growth
    return Growing(start, growth if callable(growth) else as_nonnegative("growth", zero))


_NO_GROWTH = "bx.DynamicBarrier chooses the multiplier itself: leave `growth` out."
_NO_SEARCH = (
    "The penalised problem is solved by steps along its gradient: take bx.GradientDescent, or "
    "bx.Descent with a transformation that asks for the gradient alone."
)
