"""Random keys, which cost nothing where nothing is drawn."""

import jax
from jaxtyping import PRNGKeyArray

from .types import Keys


def split(key: PRNGKeyArray, num: int, needed: bool) -> Keys | list[PRNGKeyArray]:
    """Independent keys; where none is needed, the same one for all.

    Splitting is a hundred operations, and the compiler finds out late that nobody reads them:
    in a small program they are a fifth of all.
    """
    return jax.random.split(key, num) if needed else [key] * num
