"""The random function of JAX's usual keys, as one expression.

JAX writes it as loops of a few rounds, of which a CPU reads and writes all numbers again at
each turn, and which LLVM takes longer to compile.
"""

import jax.numpy as jnp
from jaxtyping import Array

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(k0: Array, k1: Array, x0: Array, x1: Array) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011, section 3.3)."""
    keys = k0, k1, k0 ^ k1 ^ jnp.uint32(_PARITY)
    x0, x1 = x0 + k0, x1 + k1
    for turn in range(5):
        for by in _ROTATIONS[turn % 2]:
            x0 = x0 + x1
            x1 = (x1 << by | x1 >> (32 - by)) ^ x0
        x0 = x0 + keys[(turn + 1) % 3]
        x1 = x1 + keys[(turn + 2) % 3] + jnp.uint32(turn + 1)
    return x0, x1
