"""What the residuals of a solve, and of the solves before it, say of how it goes."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._growth import LARGE, Growth, half_the_digits

_Number = Float[Array, ""]


class Watch(eqx.Module):
    """Norms of residuals, infinite where they are not known.

    - `first`, `last`, `least`: of the present solve, those that were computed;
    - `solves`: what each solve came to: the last residual, or how far it moved where it
      draws rows and a residual says little;
    - `share`: which share of earlier numbers counts when growth is looked at;
    - `met`: whether any solve so far met its tolerance.
    """

    first: _Number
    last: _Number
    least: _Number
    solves: Growth
    share: _Number
    met: Bool[Array, ""]

    @classmethod
    def none(cls, dtype) -> "Watch":
        """Before the first solve."""
        unknown, one = jnp.full((), jnp.inf, dtype), jnp.ones((), dtype)
        return cls(unknown, unknown, unknown, Growth.none(dtype), one, jnp.array(False))

    def begin(self) -> "Watch":
        """A new equation's residual is not known before it is evaluated."""
        unknown = jnp.full_like(self.last, jnp.inf)
        return Watch(unknown, unknown, unknown, self.solves, self.share, self.met)

    def forget(self) -> "Watch":
        """Before a cold start: the solves so far say nothing of the next one."""
        solves = Growth.none(self.last.dtype)
        return Watch(self.first, self.last, self.least, solves, self.share, self.met)

    def see(self, norm: _Number) -> "Watch":
        """With the norm of one residual more."""
        norm = jnp.asarray(norm, self.last.dtype)
        first = jnp.where(jnp.isinf(self.first), norm, self.first)
        least = jnp.minimum(self.least, norm)
        return Watch(first, norm, least, self.solves, self.share, self.met)

    def end(self, steady: bool, met: Bool[Array, ""] | bool) -> "Watch":
        """After a solve that watched its residual.

        `steady`: whether the method, where it converges, hardly ever lets it grow.
        """
        grew = self.last > self.first
        # A solve of one step shows no growth of its own: x may have moved faster.
        share = jnp.where(grew & steady, half_the_digits(self.last.dtype), 1.0)
        solves = self.solves.then(self.last, self.first, self.last >= self.first)
        share = jnp.asarray(share, self.last.dtype)
        return Watch(self.first, self.last, self.least, solves, share, self.met | met)

    def end_moved(self, distance: _Number) -> "Watch":
        """After a solve on random rows that moved so far."""
        distance = jnp.asarray(distance, self.last.dtype)
        solves, one = self.solves.then(distance, distance), jnp.ones_like(self.last)
        return Watch(self.first, self.last, self.least, solves, one, self.met)

    def diverged(self) -> Bool[Array, ""]:
        """Whether the last solve ended a hundred times worse than it began, or solves have
        grown worse and worse."""
        most = jnp.maximum(self.first, self.share * self.solves.largest)
        at_once = (self.first < jnp.inf) & (self.last / LARGE > most)
        return at_once | self.solves.runs_away(self.share)

    def turned(self, noise: _Number) -> Bool[Array, ""]:
        """Whether the residual has turned and grows again, above its noise."""
        return (self.last / 2 > self.least) & (self.last > noise)
