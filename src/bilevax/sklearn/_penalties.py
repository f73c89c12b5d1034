"""How the penalties of all models follow from the outer variable of their runs."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# So far from the shared one, a penalty changes nothing or a weight is zero for all purposes.
_LEAST, _LARGEST = -25.0, 25.0


class Outer(NamedTuple):
    """The outer variable: one row a run."""

    shared: Any  # (runs,)
    theta: Any  # (runs, descriptions)
    free: Any  # (runs, groups)


class Penalties(eqx.Module):
    r"""$\log P_{ki} = b_r + \sum_q \theta_{rq} z_{kiq} + u_{r,g(i)}$ for model k of run r."""

    run: Int[Array, "models"]
    descriptions: Float[Array, "models features descriptions"]
    groups: Int[Array, "features"]

    def __call__(self, x: Outer) -> Float[Array, "models features"]:
        described = jnp.einsum("kiq,kq->ki", self.descriptions, x.theta[self.run])
        free = x.free[self.run][:, self.groups]
        own = jnp.clip(described + free, _LEAST, _LARGEST)
        return jnp.exp(x.shared[self.run][:, None] + own)
