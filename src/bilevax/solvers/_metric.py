r"""How conjugate gradient measures: plainly, or as a preconditioner says.

With $M \approx H^{-1}$ it is conjugate gradient on $M^{1/2} H M^{1/2}$, and no root is ever
needed: residuals r are measured by $\sqrt{r^\top M r}$, directions p and the unknown by
$\sqrt{p^\top M^{-1} p}$, which recurrences know. Rounding is judged in this metric too: where
penalties spread over many orders of magnitude, so do the entries of a product's error.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Float, PyTree

from .._core.result import Result, all_finite
from .._core.tree import norm, scale

Number = Float[Array, ""]


class Measures(eqx.Module):
    """Of a direction p and of an unknown z, in the metric."""

    length: Number
    reach: Number


class AbstractMetric(eqx.Module):
    """Norms of residuals, directions and unknowns."""

    @abc.abstractmethod
    def pull(self, residual: PyTree) -> PyTree:
        """The direction along which a residual is reduced."""

    @abc.abstractmethod
    def size(self, residual: PyTree, pulled: PyTree) -> Number:
        """The norm of a residual."""

    @abc.abstractmethod
    def start(self, z: PyTree | None, product: PyTree, size: Number) -> Measures | None:
        """What is remembered before the first step, of size |r|, from z with this H z."""

    @abc.abstractmethod
    def length(self, direction: PyTree, measures: Any) -> Number:
        """The length of a direction."""

    @abc.abstractmethod
    def reach(self, z: PyTree, measures: Any, step: Number) -> Number:
        """The length of the unknown, or a little more, after a step of this length to z."""

    @abc.abstractmethod
    def after(self, reach: Number, size: Number, carried: Number) -> Measures | None:
        """What is remembered after a step: the next direction is a residual of that size,
        and a share of that length of the last direction."""

    @abc.abstractmethod
    def failure(self, residual: PyTree, size: Number):
        """Why no direction leads from this residual, if none does."""

    def measure(self, residual: PyTree) -> Number:
        """The norm of a residual that was not pulled yet."""
        return self.size(residual, self.pull(residual))


class Plain(AbstractMetric):
    """Euclidean norms."""

    def pull(self, residual):
        return residual

    def size(self, residual, pulled):
        del pulled
        return norm(residual)

    def start(self, z, product, size):
        return None

    def length(self, direction, measures):
        return norm(direction)

    def reach(self, z, measures, step):
        return norm(z)

    def after(self, reach, size, carried):
        return None

    def failure(self, residual, size):
        return Result.successful


class Preconditioned(AbstractMetric):
    """The norms of a preconditioner, `inverse`."""

    inverse: Callable[[PyTree], PyTree]

    def pull(self, residual):
        return self.inverse(residual)

    def size(self, residual, pulled):
        # Of unit vectors, so that nothing over- or underflows.
        lengths = norm(residual), norm(pulled)
        units = (jnp.where(length > 0, length, 1) for length in lengths)
        parts = zip((residual, pulled), units, strict=True)
        cosine = optax.tree.vdot(*(scale(1 / unit, v) for v, unit in parts))
        root = jnp.sqrt(jnp.maximum(jnp.asarray(cosine), 0))
        return root * jnp.sqrt(lengths[0]) * jnp.sqrt(lengths[1])

    def start(self, z, product, size):
        if z is None:
            return Measures(size, jnp.zeros_like(size))
        # H stands for the inverse of M, which is not at hand.
        return Measures(size, self.size(z, product))

    def length(self, direction, measures):
        return measures.length

    def reach(self, z, measures, step):
        return measures.reach + jnp.abs(step)

    def after(self, reach, size, carried):
        # A residual is orthogonal to the directions before it.
        return Measures(jnp.hypot(size, carried), reach)

    def failure(self, residual, size):
        sound = (size > 0) | (norm(residual) == 0)
        known = Result.where(
            all_finite(residual), Result.preconditioner, Result.adjoint_nonfinite
        )
        return Result.where(sound, Result.successful, known)
