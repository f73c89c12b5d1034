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
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Float, PyTree

from .._core.result import Result
from .._core.tree import float_dtype, norm, scale

Number = Float[Array, ""]
# A residual, and M times it where that is another vector: the first and the last.
Pair = tuple[PyTree, ...]


class AbstractMetric(eqx.Module):
    """Norms of residuals, directions and unknowns."""

    @abc.abstractmethod
    def pair(self, residual: PyTree) -> Pair:
        """A residual, and last the direction along which it is reduced."""

    @abc.abstractmethod
    def weight_at(self, residual: PyTree) -> Number:
        """The weight with which this residual is near 1, 1 where a metric has none."""

    @abc.abstractmethod
    def size(self, vector: PyTree) -> Number:
        """The norm of a residual of any scale."""

    @abc.abstractmethod
    def reach(self, z: PyTree, product: PyTree) -> Number:
        """The length of an unknown z with this H z."""

    @abc.abstractmethod
    def euclidean(self, pair: Pair, square: Number) -> Number:
        """The Euclidean norm of a residual with that square."""

    @abc.abstractmethod
    def failure(self, square: Number, euclidean: Number) -> Any:
        """Why no direction leads from a residual with these norms, if none does."""

    def square(self, pair: Pair) -> Number:
        """The square of the norm of a residual that is near 1 in scale."""
        return dot(pair[0], pair[-1])


class Plain(AbstractMetric):
    """Euclidean norms."""

    def pair(self, residual):
        return (residual,)

    def weight_at(self, residual):
        return jnp.ones((), float_dtype(residual))

    def size(self, vector):
        return norm(vector)

    def reach(self, z, product):
        del product
        return norm(z)

    def euclidean(self, pair, square):
        del pair
        return jnp.sqrt(square)

    def failure(self, square, euclidean):
        del square, euclidean
        return Result.successful


class Preconditioned(AbstractMetric):
    """The norms of a preconditioner, `inverse`, whose scale is taken out.

    - `weight`: M is divided by its square.
    """

    inverse: Callable[[PyTree], PyTree]
    weight: Number

    def pair(self, residual):
        return residual, self._pull(residual)

    def weight_at(self, residual):
        return power_of_two(self.size(residual))

    def size(self, vector):
        return _root(vector, self.inverse(vector)) / self.weight

    def reach(self, z, product):
        # H stands for the inverse of M, which is not at hand.
        return _root(z, product) * self.weight

    def euclidean(self, pair, square):
        del square
        return norm(pair[0])

    def failure(self, square, euclidean):
        sound = (square > 0) | (euclidean == 0)
        finite = jnp.isfinite(euclidean)
        known = Result.where(finite, Result.preconditioner, Result.adjoint_nonfinite)
        return Result.where(sound, Result.successful, known)

    def _pull(self, residual):
        return scale(1 / self.weight, scale(1 / self.weight, self.inverse(residual)))


def dot(a: PyTree, b: PyTree) -> Number:
    """The inner product of two trees."""
    return jnp.asarray(optax.tree.vdot(a, b))


def power_of_two(size: Number) -> Number:
    """One near a quarter of a size: to divide by it rounds nothing, nor does its inverse."""
    kind = jnp.finfo(size.dtype)
    near = jax.lax.reduce_precision(jax.lax.stop_gradient(size) / 4, kind.nexp, 0)
    return jnp.maximum(near, float(kind.tiny))


def _root(a: PyTree, b: PyTree) -> Number:
    """The root of an inner product, of unit vectors so that nothing over- or underflows."""
    lengths = norm(a), norm(b)
    units = (jnp.where(length > 0, length, 1) for length in lengths)
    cosine = dot(*(scale(1 / unit, v) for v, unit in zip((a, b), units, strict=True)))
    return jnp.sqrt(jnp.maximum(cosine, 0)) * jnp.sqrt(lengths[0]) * jnp.sqrt(lengths[1])
