"""Growth without a pause, by which divergence is told before anything overflows."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_Number = Float[Array, ""]

# Growth by more than this, at once or over many times in a row, is no transient.
LARGE = 100.0
_MANY, _FEW = 20, 3


class Growth(eqx.Module):
    """How a non-negative number has grown since it last failed to.

    - `start`: the number at the start of the present streak;
    - `last`: the last one;
    - `largest`, `before`: the largest size that was seen so far, and before the streak;
    - `count`: how many times in a row it has grown.
    """

    start: _Number
    last: _Number
    largest: _Number
    before: _Number
    count: Int[Array, ""]

    @classmethod
    def none(cls, dtype) -> "Growth":
        """Before the first number."""
        unknown = jnp.full((), jnp.inf, dtype)
        nothing = jnp.zeros((), dtype)
        return cls(unknown, unknown, nothing, nothing, jnp.int32(0))

    @jax.jit
    def then(
        self, number: _Number, size: _Number, counts: Bool[Array, ""] | bool = True
    ) -> "Growth":
        """With one number more, whose growth counts or not, and the size it is judged by."""
        # What is constant but for rounding creeps up for hundreds of steps.
        more = number > self.last * (1 + half_the_digits(self.last.dtype))
        grew = more & (self.last > 0) & counts
        return Growth(
            jnp.where(grew, self.start, number),
            number,
            jnp.maximum(self.largest, size),
            jnp.where(grew, self.before, self.largest),
            jnp.where(grew, self.count + 1, 0),
        )

    @jax.jit
    def then_noisy(self, number: _Number) -> "Growth":
        """With one number more of a kind that need not grow at every time.

        It is compared with the largest before the present block of twenty.
        """
        full = jnp.isinf(self.start) | (self.count >= _MANY)
        largest = jnp.maximum(self.largest, number)
        start = jnp.where(full, largest, self.start)
        count = jnp.where(full, 0, self.count + 1)
        return Growth(start, number, largest, self.before, count)

    def leapt(self) -> Bool[Array, ""]:
        """Whether the last noisy number is a hundred times what was there before."""
        return self.last / LARGE > self.start

    @jax.jit
    def runs_away(self, share: _Number | float) -> Bool[Array, ""]:
        """Whether the present streak is a divergence.

        Twenty times in a row and a hundredfold in all; or three times, and beyond what
        rounding could have hidden at its start. Growth is counted from the largest size before
        it, times `share`, at least: a method whose numbers say little while they are small
        takes 1.
        """
        size = jnp.maximum(self.start, jnp.asarray(share, self.start.dtype) * self.before)
        eps = jnp.finfo(self.last.dtype).eps
        # Divided, since a product could overflow.
        many = (self.count >= _MANY) & (self.last / LARGE > size)
        beyond = (self.count >= _FEW) & (self.last * eps * eps > size)
        return many | beyond


def half_the_digits(dtype) -> float:
    """The relative size below which a residual may be a rounding error of a larger one."""
    return float(jnp.finfo(dtype).eps) ** 0.5
