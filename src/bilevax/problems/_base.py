"""Problems: the outer objective, the inner equation, the data of each level.

The methods of `AbstractProblem` are the only place where a user's functions are evaluated
or linearised. Everything that counts oracle calls counts calls of these methods.
"""

import abc
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import optax.tree
from jaxtyping import Array, Float, PyTree

from .._core.numbers import as_positive
from .._core.tree import axpy
from .._core.types import Function, Number, Scalar
from .._rows.batch import Batch
from .._rows.blocks import mean_over_rows, on_disk
from .._rows.data import as_data


class Linearization(eqx.Module):
    r"""The inner residual $F$ linearised at one (x, y) on one batch.

    - `hvp(z)`: $(\partial_y F)^\top z$, a Hessian-vector product where
      $F = \nabla_y g$;
    - `cross(z)`: $(\partial_x F)^\top z$.
    """

    hvp: Callable[[PyTree], PyTree]
    cross: Callable[[PyTree], PyTree]


class AbstractProblem(eqx.Module):
    """What hypergradients and solvers see of a bilevel problem: oracles and data."""

    outer: eqx.AbstractVar[Function]
    outer_data: eqx.AbstractVar[PyTree]
    inner_data: eqx.AbstractVar[PyTree]
    gauge: eqx.AbstractVar[Callable | None]

    @property
    @abc.abstractmethod
    def symmetric(self) -> bool:
        r"""Whether $\partial_y F$ is known to be symmetric."""

    @abc.abstractmethod
    def residual(self, x: PyTree, y: PyTree, batch: Batch) -> PyTree:
        r"""The inner residual $F(x, y)$, which vanishes at $y^*(x)$."""

    @abc.abstractmethod
    def sweep(self, x: PyTree, y: PyTree, batch: Batch) -> PyTree:
        """One fixed-point iteration of the inner problem."""

    def inner_value_and_gradient(
        self, x: PyTree, y: PyTree, batch: Batch
    ) -> tuple[Float[Array, ""], PyTree]:
        r"""$g(x, y)$ and $\nabla_y g(x, y)$, where the inner problem minimises."""
        del x, y, batch
        raise TypeError(_NO_VALUE)

    def inner_gradients(self, x: PyTree, y: PyTree, batch: Batch) -> tuple[PyTree, PyTree]:
        r"""$(\partial_x g, \partial_y g)$, where the inner problem minimises.

        One evaluation of the inner gradient, whichever of the two is used.
        """
        del x, y, batch
        raise TypeError(_NO_VALUE)

    def adjoint_map(self, z: PyTree, residual: PyTree) -> PyTree:
        """The fixed-point form of the adjoint system, given its residual at z."""
        del z, residual
        raise TypeError(_NO_ADJOINT_MAP)

    def value_and_gradients(
        self, x: PyTree, y: PyTree, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[PyTree, PyTree]]:
        r"""$f(x, y)$ and $(\partial_x f, \partial_y f)$, on one batch."""

        def on_rows(rows):
            objective = lambda x, y: call(self.outer, x, y, rows)
            return jax.value_and_grad(objective, argnums=(0, 1))(x, y)

        return mean_over_rows(on_rows, batch)

    def residual_and_products(
        self, x: PyTree, y: PyTree, z: PyTree, batch: Batch
    ) -> tuple[PyTree, PyTree, PyTree]:
        r"""$F(x, y)$, $(\partial_y F)^\top z$ and $(\partial_x F)^\top z$, from one pass."""
        residual, pullback = jax.vjp(lambda x, y: self.residual(x, y, batch), x, y)
        cross, product = pullback(z)
        return residual, product, cross

    def linearize(self, x: PyTree, y: PyTree, batch: Batch) -> Linearization:
        """The inner residual, linearised once at (x, y), for any number of products."""
        _, pullback = jax.vjp(lambda x, y: self.residual(x, y, batch), x, y)
        if not self.symmetric:
            return Linearization(lambda z: pullback(z)[1], lambda z: pullback(z)[0])
        # A symmetric Jacobian need not be transposed. Forward mode multiplies by A where
        # reverse mode multiplies by its transpose, which takes up to twice the time.
        _, pushforward = jax.linearize(lambda y: self.residual(x, y, batch), y)
        return Linearization(pushforward, lambda z: pullback(z)[0])


# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Problem = AbstractProblem
else:
    Problem = Any


class ObjectiveProblem(AbstractProblem):
    r"""Problems whose inner level minimises: $F = \nabla_y g$, with an optional sweep."""

    inner: eqx.AbstractVar[Function]
    update: eqx.AbstractVar[Callable | None]
    check: eqx.AbstractVar[Callable | None]

    @property
    def symmetric(self) -> bool:
        return True

    def residual(self, x, y, batch):
        def on_rows(rows):
            return jax.grad(lambda y: call(self.inner, x, y, rows))(y)

        return mean_over_rows(on_rows, batch)

    def inner_value_and_gradient(self, x, y, batch):
        def on_rows(rows):
            return jax.value_and_grad(lambda y: call(self.inner, x, y, rows))(y)

        return mean_over_rows(on_rows, batch)

    def inner_gradients(self, x, y, batch):
        def on_rows(rows):
            return jax.grad(lambda x, y: call(self.inner, x, y, rows), argnums=(0, 1))(x, y)

        return mean_over_rows(on_rows, batch)

    def sweep(self, x, y, batch):
        if self.update is None:
            raise TypeError(_NO_SWEEP)
        # A sweep need not be a mean over rows: it sees them all.
        if on_disk(batch.rows):
            raise TypeError(_NO_SWEEP_ON_DISK)
        return call(self.update, x, y, batch.rows)

    def as_fixed_point(self, step_size: Number | Callable[[Any], Any]) -> "FixedPointProblem":
        r"""The gradient-descent map $\phi(x, y) = y - \alpha \nabla_y g(x, y)$.

        Its solution and its hypergradient are those of this problem; a linear solver sees
        $I - \partial_y \phi = \alpha H$. The step is a constant under differentiation
        (Grazzi et al. 2021, Eq. 3).

        **Arguments:**

        - `step_size`: $\alpha > 0$, a number or a function of x. The map contracts when it is
          below 2 / smoothness of g, and fastest at 2 / (smoothness + strong convexity), which
          depend on x where a penalty does.

        >>> import bilevax as bx, jax.numpy as jnp
        >>> problem = bx.BilevelProblem(
        ...     outer=lambda x, y: y**2, inner=lambda x, y: (y - x) ** 2 / 2)
        >>> phi = problem.as_fixed_point(0.5).fixed_point
        >>> float(phi(jnp.array(1.0), jnp.array(0.0)))
        0.5
        """
        return FixedPointProblem(
            outer=self.outer,
            fixed_point=GradientMap(self.inner, step_size),
            outer_data=self.outer_data,
            inner_data=self.inner_data,
            symmetric=True,
            gauge=self.gauge,
            check=self.check,
        )


class BilevelProblem(ObjectiveProblem):
    r"""Minimise $f(x, y^*(x))$ over x, where $y^*(x)$ minimises $g(x, \cdot)$.

    **Arguments:**

    - `outer`: $f$, called as `outer(x, y)` or, with `outer_data`, `outer(x, y, batch)`;
      returns a scalar.
    - `inner`: $g$, called as `inner(x, y)` or, with `inner_data`,
      `inner(x, y, batch)`; returns a scalar, strictly convex in y near the solution.
    - `outer_data`, `inner_data`: the data of each level, pytrees of arrays with one
      leading axis of rows. Each objective must be the mean over the rows of its batch of
      per-row terms, plus terms that do not involve the batch; that lets bilevax draw
      rows. Data are arguments of the compiled program: pass big arrays here, and do not
      close over them.
    - `gauge`: for an inner Hessian with a known kernel, a callable that projects y
      orthogonally off it. The adjoint system is then solved on the quotient.
    - `update`: an optional problem-specific sweep `update(x, y[, batch]) -> y` whose
      fixed point is $y^*(x)$, for `bx.FixedPointIteration`.
    - `constants`: an optional `constants(x) -> bx.Constants`, for `bx.error_bound`.
    - `check`: an optional `check(x)` that raises where x is out of the problem's domain,
      called before any work. Under `jit` x is traced: only its shape is known then.

    x and y are any pytrees of float32 or float64 arrays, one dtype a level.

    The functions are compiled once, as under `jax.jit`: what they read from a global or from
    where they were defined is a constant of the program, and changing it later changes
    nothing. Pass what changes as data or as a part of x, or make function and problem anew.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: jnp.sum((y - 1.0) ** 2) / 2,
    ...     inner=lambda x, y: jnp.sum((y - x) ** 2) / 2)
    >>> estimator = bx.Implicit(bx.GradientDescent(0.5, 50), bx.CG(3))
    >>> h = bx.hypergradient(problem, estimator, jnp.zeros(3), jnp.zeros(3))
    >>> h.gradient.round(6).tolist()
    [-1.0, -1.0, -1.0]
    """

    outer: Function
    inner: Function
    _: KW_ONLY
    outer_data: PyTree = eqx.field(default=None, converter=as_data)
    inner_data: PyTree = eqx.field(default=None, converter=as_data)
    gauge: Callable | None = None
    update: Callable | None = None
    constants: Callable | None = None
    check: Callable | None = None


class MinProblem(ObjectiveProblem):
    r"""The min-min case: outer and inner objective are the same $L(x, y)$.

    The value function is $\ell(x) = \min_y L(x, y)$ (Ablin et al. 2020, Eq. 1, who write
    the inner variable first).

    **Arguments:**

    - `objective`: $L$, called as `objective(x, y)` or, with `data`,
      `objective(x, y, batch)`; returns a scalar.
    - `data`, `gauge`, `update`, `constants`, `check`: as in `bx.BilevelProblem`.

    >>> import bilevax as bx
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2 / 2 + y**2 / 2)
    >>> h = bx.hypergradient(
    ...     problem, bx.Implicit(bx.GradientDescent(0.3, 50), bx.Direct()), 1.0, 0.0)
    >>> round(float(h.gradient), 6)
    0.5
    """

    objective: Function
    data: PyTree
    gauge: Callable | None
    update: Callable | None
    constants: Callable | None
    check: Callable | None

    def __init__(
        self,
        objective: Function,
        data: PyTree = None,
        *,
        gauge: Callable | None = None,
        update: Callable | None = None,
        constants: Callable | None = None,
        check: Callable | None = None,
    ):
        self.objective = objective
        self.data = as_data(data)
        self.gauge = gauge
        self.update = update
        self.constants = constants
        self.check = check

    @property
    def outer(self):
        """The objective."""
        return self.objective

    @property
    def inner(self):
        """The objective."""
        return self.objective

    @property
    def outer_data(self):
        """The data."""
        return self.data

    @property
    def inner_data(self):
        """The data."""
        return self.data


class FixedPointProblem(AbstractProblem):
    r"""Minimise $f(x, y^*(x))$ over x, where $y^*(x) = \phi(x, y^*(x))$.

    The residual is $F = y - \phi$, so the adjoint solves
    $(I - \partial_y \phi)^\top z = -\partial_y f$ and the hypergradient is
    $\partial_x f - (\partial_x \phi)^\top z$ (Grazzi et al. 2021, Eqs. 4-5, with their
    $v = -z$).

    **Arguments:**

    - `outer`: $f$, as in `bx.BilevelProblem`.
    - `fixed_point`: $\phi$, called as `fixed_point(x, y)` or, with `inner_data`,
      `fixed_point(x, y, batch)`; returns a new y and contracts in y.
    - `outer_data`, `inner_data`: as in `bx.BilevelProblem`.
    - `symmetric`: whether $\partial_y \phi$ is symmetric, which `bx.CG` needs.
    - `gauge`: as in `bx.BilevelProblem`, for a map that leaves known directions alone.
    - `check`: as in `bx.BilevelProblem`.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> problem = bx.FixedPointProblem(
    ...     outer=lambda x, y: y, fixed_point=lambda x, y: 0.5 * jnp.cos(x + y))
    >>> estimator = bx.Implicit(bx.FixedPointIteration(30), bx.FixedPointIteration(30))
    >>> h = bx.hypergradient(problem, estimator, 1.0, 0.0)
    >>> s = jnp.sin(1.0 + h.y)
    >>> bool(abs(h.gradient + 0.5 * s / (1 + 0.5 * s)) < 1e-6)
    True
    """

    outer: Function
    fixed_point: Function
    _: KW_ONLY
    outer_data: PyTree = eqx.field(default=None, converter=as_data)
    inner_data: PyTree = eqx.field(default=None, converter=as_data)
    symmetric: bool = eqx.field(static=True, default=False)
    gauge: Callable | None = None
    check: Callable | None = None

    def residual(self, x, y, batch):
        return optax.tree.sub(y, self.sweep(x, y, batch))

    def sweep(self, x, y, batch):
        return mean_over_rows(lambda rows: call(self.fixed_point, x, y, rows), batch)

    def adjoint_map(self, z, residual):
        return optax.tree.sub(z, residual)


class GradientMap(eqx.Module):
    r"""$(x, y) \mapsto y - \alpha \nabla_y g(x, y)$, with $\alpha$ held constant."""

    inner: Function
    step_size: Scalar | Callable

    def __init__(self, inner: Function, step_size: Number | Callable[[Any], Any]):
        self.inner = inner
        of_x = callable(step_size)
        kind = "a positive number or a function of x"
        self.step_size = step_size if of_x else as_positive("step_size", step_size, kind=kind)

    def __call__(self, x, y, *batch):
        gradient = jax.grad(lambda y: self.inner(x, y, *batch))(y)
        step_size = self.step_size(x) if callable(self.step_size) else self.step_size
        # Its derivative would add a multiple of the gradient, which is zero in the mean only.
        return axpy(-jax.lax.stop_gradient(step_size), gradient, y)


def call(function: Function, x: PyTree, y: PyTree, rows: PyTree):
    """A user's function on rows of data, which are left out for a level without any."""
    return function(x, y) if rows is None else function(x, y, rows)


_NO_SWEEP = (
    "A fixed-point iteration needs a fixed-point form of the inner problem, and this "
    "problem has none: pass `update=`, use `problem.as_fixed_point(step_size)`, or solve "
    "the inner problem with bx.GradientDescent."
)
_NO_SWEEP_ON_DISK = (
    "A problem's own `update` sees all rows at once, and rows on disk are read in blocks: pass "
    "them as arrays, or solve the inner problem with bx.GradientDescent."
)
_NO_VALUE = (
    "This solver or estimator needs an inner problem that minimises, and a FixedPointProblem "
    "has no objective: solve it with bx.FixedPointIteration, or pass the objective g itself as "
    "a bx.BilevelProblem."
)
_NO_ADJOINT_MAP = (
    "FixedPointIteration on the adjoint system needs a FixedPointProblem: use "
    "`problem.as_fixed_point(step_size)`, or solve it with bx.CG or bx.GradientDescent."
)
