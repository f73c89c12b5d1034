"""What the residuals of a solve, and of the solves before it, say of how it goes."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._core.growth import LARGE, Growth, half_the_digits

_Number = Float[Array, ""]


class Watch(eqx.Module):
    """Norms of residuals, infinite where they are not known.

    - `first`, `last`, `least`: of the present solve, those that were computed;
    - `solves`: what each solve came to: the last residual, or how far it moved where it
      draws rows and a residual says little;
    - `share`: which share of earlier numbers counts when growth is looked at;
    - `astray`: whether solves have grown worse and worse;
    - `met`: whether any solve so far met its tolerance.
    """

    first: _Number
    last: _Number
    least: _Number
    solves: Growth
    share: _Number
    astray: Bool[Array, ""]
    met: Bool[Array, ""]

    @classmethod
    def none(cls, dtype) -> "Watch":
        """Before the first solve."""
        unknown, one = jnp.full((), jnp.inf, dtype), jnp.ones((), dtype)
        no = jnp.array(False)
        return cls(unknown, unknown, unknown, Growth.none(dtype), one, no, no)

    def begin(self) -> "Watch":
        """A new equation's residual is not known before it is evaluated."""
        unknown = jnp.full_like(self.last, jnp.inf)
        return self._with(first=unknown, last=unknown, least=unknown)

    def forget(self) -> "Watch":
        """Before a cold start: the solves so far say nothing of the next one."""
        return self._with(solves=Growth.none(self.last.dtype))

    def see(self, norm: _Number) -> "Watch":
        """With the norm of one residual more."""
        norm = jnp.asarray(norm, self.last.dtype)
        first = jnp.where(jnp.isinf(self.first), norm, self.first)
        least = jnp.minimum(self.least, norm)
        return self._with(first=first, last=norm, least=least)

    def at(self, norm: _Number) -> "Watch":
        """With the norm of the last residual, and no judgement of its growth."""
        return self._with(last=jnp.asarray(norm, self.last.dtype))

    def conclude(self, met: Bool[Array, ""] | bool) -> "Watch":
        """After a solve whose growth is not judged."""
        return self._with(met=self.met | met)

    def end(self, steady: bool, met: Bool[Array, ""] | bool) -> "Watch":
        """After a solve that watched its residual.

        `steady`: whether the method, where it converges, hardly ever lets it grow.
        """
        grew = self.last > self.first
        # A solve of one step shows no growth of its own: x may have moved faster.
        share = jnp.where(grew & steady, half_the_digits(self.last.dtype), 1.0)
        solves = self.solves.then(self.last, self.first, self.last >= self.first)
        share = jnp.asarray(share, self.last.dtype)
        astray = solves.runs_away(share)
        return self._with(solves=solves, share=share, astray=astray, met=self.met | met)

    def end_moved(self, distance: _Number) -> "Watch":
        """After a solve on random rows that moved so far."""
        distance = jnp.asarray(distance, self.last.dtype)
        solves = self.solves.then_noisy(distance)
        return self._with(solves=solves, astray=solves.leapt())

    def acquit(self, better: Bool[Array, ""]) -> "Watch":
        """The growth so far forgotten, where the last solve is known to have improved u."""
        last = self.solves.last
        fresh = Growth.none(last.dtype).then(last, self.solves.largest)
        solves = jax.tree.map(lambda new, old: jnp.where(better, new, old), fresh, self.solves)
        return self._with(solves=solves, astray=self.astray & ~better)

    def diverged(self) -> Bool[Array, ""]:
        """Whether the last solve ended a hundred times worse than it began, or solves have
        grown worse and worse."""
        most = jnp.maximum(self.first, self.share * self.solves.largest)
        at_once = (self.first < jnp.inf) & (self.last / LARGE > most)
        return at_once | self.astray

    def _with(self, **changed) -> "Watch":
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Watch(**(fields | changed))

    def turned(self, noise: _Number) -> Bool[Array, ""]:
        """Whether the residual has turned and grows again, above its noise."""
        return (self.last / 2 > self.least) & (self.last > noise)
