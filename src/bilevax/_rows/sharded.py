"""Dense rows that are spread over devices, which need not divide them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Int


class ShardedRows(eqx.Module):
    """An array in equal parts on devices, with as many rows after its own as that takes.

    An array on several devices has the same number of rows on each; what a compiled program
    computes need not. So the padding is cut off inside of programs, before anything is read
    (`whole`), and each device skips what it holds of it in its sums: nobody sees a row of
    padding, whatever stands in it, and no function needs to know of weights. Functions other
    than those of a problem may read it as an array of its own rows.
    """

    padded: Array
    num: int = eqx.field(static=True)
    sharding: NamedSharding = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the padding."""
        return self.num, *self.padded.shape[1:]

    @property
    def ndim(self) -> int:
        """Of the array."""
        return self.padded.ndim

    @property
    def dtype(self) -> Any:
        """Of the array."""
        return self.padded.dtype

    @property
    def parts(self) -> int:
        """On how many devices they lie."""
        return self.sharding.num_devices

    def __jax_array__(self) -> Array:
        return self.whole()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        del copy
        return np.asarray(self.padded, dtype)[: self.num]

    def whole(self) -> Array:
        """All rows and no padding."""
        return self.padded[: self.num]

    def take(self, indices: Int[Array, "batch"]) -> Array:
        """The given rows."""
        return jnp.take(self.padded, jnp.clip(indices, 0, self.num - 1), axis=0, mode="clip")

    def cut(self, start: int | Int[Array, ""], size: int) -> Array:
        """`size` consecutive rows."""
        return jax.lax.dynamic_slice_in_dim(self.padded, start, size)
