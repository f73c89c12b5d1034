r"""Equations: the inner problem and the adjoint system, seen through one interface.

A solver works on an equation $R(u) = 0$ and does not know which level it is at:

    level     u   residual                              oracle
    Inner     y   F(x, y)                               inner gradient
    Adjoint   z   (d_y F)^T z + d_y f   (linear)        Hessian-vector product
"""

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, PyTree

from .._core.cost import Cost
from .._core.result import Result
from .._core.tree import negative
from .._rows.batch import Batch
from ..problems._base import AbstractProblem, Linearization

# Stands for the batch of an equation that is fixed on one already.
ANY = Batch()


class AbstractEquation(eqx.Module):
    """An equation R(u) = 0 whose residual may be averaged over data."""

    problem: eqx.AbstractVar[AbstractProblem]

    oracle: eqx.AbstractClassVar[str]
    nonfinite: eqx.AbstractClassVar[Result]
    diverged: eqx.AbstractClassVar[Result]
    unconverged: eqx.AbstractClassVar[Result]

    @property
    def data(self) -> PyTree:
        """The data the residual is averaged over."""
        return self.problem.inner_data

    def cost(self, calls: int | Array, rows: int) -> Cost:
        """The cost of so many residuals or products on batches of so many rows."""
        return Cost.of(self.oracle, calls, rows)

    @abc.abstractmethod
    def fix(self, batch: Batch) -> "AbstractEquation":
        """The equation on one batch for good: later batches are ignored."""

    @abc.abstractmethod
    def residual(self, u: PyTree, batch: Batch = ANY) -> PyTree:
        """R(u), on one batch."""

    @abc.abstractmethod
    def point(self, u: PyTree) -> PyTree:
        """All that R(u) depends on and that moves in a run."""

    @abc.abstractmethod
    def mean(self, w: PyTree, batch: Batch) -> PyTree:
        """The part of R that is averaged over rows, at such a point, on one batch."""

    @abc.abstractmethod
    def completed(self, mean: PyTree) -> PyTree:
        """R, from an estimate of that part."""

    @abc.abstractmethod
    def value_and_residual(self, u: PyTree, batch: Batch = ANY) -> tuple[Array, PyTree]:
        """The objective whose gradient R is, and R(u), in one call of the oracle."""

    def objective(self, batch: Batch = ANY) -> Callable[[PyTree], Array]:
        """The objective whose gradient R is, as a function that others differentiate.

        Its derivative is R itself, so that value and gradient are one call of the oracle.
        """

        @jax.custom_jvp
        def value(u):
            return self.value_and_residual(u, batch)[0]

        @value.defjvp
        def _rule(primals, tangents):
            (u,), (tangent,) = primals, tangents
            value, residual = self.value_and_residual(u, batch)
            along = optax.tree.vdot(residual, tangent)
            return value, jnp.asarray(along, value.dtype)

        return value

    @abc.abstractmethod
    def sweep(self, u: PyTree, batch: Batch = ANY) -> PyTree:
        """One sweep of the fixed-point form, whose fixed point solves the equation."""

    @property
    def symmetric(self) -> bool:
        """Whether the Jacobian of R is known to be symmetric."""
        return self.problem.symmetric


class AbstractLinearEquation(AbstractEquation):
    """An equation operator(u) = rhs."""

    @property
    @abc.abstractmethod
    def rhs(self) -> PyTree:
        """The right-hand side."""

    @abc.abstractmethod
    def operator(self, batch: Batch = ANY) -> Callable[[PyTree], PyTree]:
        """The operator on a batch, linearised once."""

    @abc.abstractmethod
    def inverse(self, preconditioner: Callable) -> Callable[[PyTree], PyTree]:
        """What a user's `preconditioner(x, y, r)` makes of a residual of this equation."""

    @abc.abstractmethod
    def zeros(self) -> PyTree:
        """The zero of the unknown's space."""

    @abc.abstractmethod
    def at_zero(self) -> "AbstractLinearEquation":
        """The equation at zero, where products are known for free."""


def as_linear(equation: AbstractEquation) -> AbstractLinearEquation:
    """The same equation, if a solver of linear equations can take it."""
    if not isinstance(equation, AbstractLinearEquation):
        raise TypeError(_NOT_LINEAR)
    return equation


class InnerEquation(AbstractEquation):
    """The inner problem: find y with F(x, y) = 0."""

    problem: AbstractProblem
    x: PyTree
    fixed: Batch | None = None

    oracle: ClassVar[str] = "inner_gradient"
    nonfinite: ClassVar[Result] = Result.inner_nonfinite
    diverged: ClassVar[Result] = Result.inner_diverged
    unconverged: ClassVar[Result] = Result.inner_max_steps

    def fix(self, batch) -> "InnerEquation":
        return InnerEquation(self.problem, self.x, batch)

    def residual(self, u, batch=ANY):
        return self.problem.residual(self.x, u, self.fixed or batch)

    def point(self, u):
        return self.x, u

    def mean(self, w, batch):
        x, y = w
        return self.problem.residual(x, y, batch)

    def completed(self, mean):
        return mean

    def value_and_residual(self, u, batch=ANY):
        return self.problem.inner_value_and_gradient(self.x, u, self.fixed or batch)

    def linearized(self, u: PyTree, residual: PyTree, batch: Batch = ANY) -> "AdjointEquation":
        """The system H d = -R(u) for a step d from u, H linearised there once.

        It is an adjoint system, as H is symmetric.
        """
        linearization = self.problem.linearize(self.x, u, self.fixed or batch)
        return AdjointEquation(self.problem, self.x, u, residual, linearization)

    def sweep(self, u, batch=ANY):
        return self.problem.sweep(self.x, u, self.fixed or batch)


def as_inner(equation: AbstractEquation, refusal: str) -> InnerEquation:
    """The same equation, if it is that of an inner problem."""
    if not isinstance(equation, InnerEquation):
        raise TypeError(refusal)
    return equation


class AdjointEquation(AbstractLinearEquation):
    r"""The adjoint system: find z with $(\partial_y F)^\top z + \partial_y f = 0$.

    $\partial_y f$ is frozen in `offset`. With a declared gauge, a projection P off the
    kernel of the Hessian, the system is $(P H P + I - P) z + P \partial_y f = 0$: regular,
    and its solution is the one of least norm.
    """

    problem: AbstractProblem
    x: PyTree
    y: PyTree
    offset: PyTree
    linearization: Linearization | None = None

    oracle: ClassVar[str] = "hvp"
    nonfinite: ClassVar[Result] = Result.adjoint_nonfinite
    diverged: ClassVar[Result] = Result.adjoint_diverged
    unconverged: ClassVar[Result] = Result.linear_max_steps

    def __init__(self, problem, x, y, offset, linearization=None):
        self.problem, self.x, self.y = problem, x, y
        self.offset = off_kernel(offset, problem.gauge)
        self.linearization = linearization

    @property
    def rhs(self):
        return negative(self.offset)

    def zeros(self):
        return optax.tree.zeros_like(self.offset)

    def fix(self, batch):
        if self.linearization is not None:
            return self
        return self._with(self.problem.linearize(self.x, self.y, batch))

    def at_zero(self):
        return self._with(_Zero())

    def operator(self, batch=ANY):
        linear = self.linearization or self.problem.linearize(self.x, self.y, batch)
        return on_quotient(linear.hvp, self.problem.gauge)

    def inverse(self, preconditioner):
        apply = lambda r: preconditioner(self.x, self.y, r)
        return on_quotient(apply, self.problem.gauge)

    def residual(self, u, batch=ANY):
        return optax.tree.add(self.operator(batch)(u), self.offset)

    def point(self, u):
        return self.x, self.y, u

    def mean(self, w, batch):
        x, y, z = w
        product = self.problem.linearize(x, y, batch).hvp
        return on_quotient(product, self.problem.gauge)(z)

    def completed(self, mean):
        return optax.tree.add(mean, self.offset)

    def value_and_residual(self, u, batch=ANY):
        if not self.symmetric:
            raise TypeError(_NO_OBJECTIVE)
        product = self.operator(batch)(u)
        value = optax.tree.vdot(u, product) / 2 + optax.tree.vdot(u, self.offset)
        return jnp.asarray(value), optax.tree.add(product, self.offset)

    def sweep(self, u, batch=ANY):
        return self.problem.adjoint_map(u, self.residual(u, batch))

    def _with(self, linearization) -> "AdjointEquation":
        return AdjointEquation(self.problem, self.x, self.y, self.offset, linearization)


def off_kernel(vector: PyTree, gauge: Callable | None) -> PyTree:
    """P times a vector, where a gauge P is declared."""
    return vector if gauge is None else gauge(vector)


def on_quotient(product: Callable, gauge: Callable | None) -> Callable[[PyTree], PyTree]:
    """P A P + I - P for a product with A, where a gauge P is declared."""
    if gauge is None:
        return product

    def regular(z):
        projected = gauge(z)
        kernel_part = optax.tree.sub(z, projected)
        return optax.tree.add(gauge(product(projected)), kernel_part)

    return regular


class _Zero(eqx.Module):
    """Stands for a linearisation whose product with z = 0 is wanted."""

    def hvp(self, z: PyTree) -> PyTree:
        return optax.tree.zeros_like(z)


_NO_OBJECTIVE = (
    "This solver needs an objective, and an adjoint system that is not symmetric is the "
    "gradient of none: use bx.FixedPointIteration, bx.Neumann or bx.Direct."
)
_NOT_LINEAR = (
    "This solver is for linear equations, and the inner problem is not known to be one: "
    "pass it as `linear=`, and take bx.GradientDescent as the inner solver. (bx.CG and "
    "bx.Direct can be inner solvers of a quadratic inner objective.)"
)
