"""Numbers that arguments may be, such as step sizes, tolerances and counts: checked by name."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Int

from .tree import as_scalar, is_traced
from .types import Scalar

_RANGES = {
    "above 0 and at most 1": lambda number: 0 < number <= 1,
    "positive and finite": lambda number: number > 0,
    "finite and at least 0": lambda number: number >= 0,
    "finite": lambda number: True,
}


def as_positive(
    name: str, value: Any, *, kind: str = "a positive number", remedy: str = ""
) -> Scalar:
    """A positive number as an array leaf; a value that is not known yet is not looked at."""
    return _as_number(name, value, "positive and finite", kind, remedy)


def as_nonnegative(
    name: str, value: Any, *, kind: str = "a number of at least 0", remedy: str = ""
) -> Scalar:
    """The same for a number of at least 0."""
    return _as_number(name, value, "finite and at least 0", kind, remedy)


def as_share(name: str, value: Any) -> Scalar:
    """The same for a number above 0 and at most 1."""
    return _as_number(name, value, "above 0 and at most 1", "a number or a schedule", "")


def as_finite(name: str, value: Any) -> Scalar:
    """The same for any number but NaN and the infinite ones."""
    return _as_number(name, value, "finite", "a number", "")


def as_count(name: str, value: Any, *, kind: str = "an int", remedy: str = "") -> int:
    """An int of at least 1."""
    if isinstance(value, float):
        remedy = f": round it, as in int({value!r})"
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be {kind}, got {value!r}{remedy}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}{remedy}.")
    return int(value)


def _as_number(name: str, value: Any, must: str, kind: str, remedy: str) -> Scalar:
    if not _is_real(value):
        raise TypeError(f"{name} must be {kind}, got {value!r}{remedy}.")
    if np.shape(value) != ():
        raise ValueError(f"{name} is a scalar, got an array of shape {np.shape(value)}.")
    number = as_scalar(value)
    if is_traced(number):
        return number
    known = np.asarray(number)
    if not (np.isfinite(known) and _RANGES[must](known)):
        raise ValueError(f"{name} must be {must}, got {value}{remedy}.")
    return number


def _is_real(value: Any) -> bool:
    """Whether it is a real number, or an array of such: booleans and strings are not."""
    try:
        dtype = jnp.result_type(value)
    except (TypeError, ValueError):
        return False
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def always(number: Int[Array, ""]) -> Partial:
    """So many steps whatever the outer step: an argument of the program, which all numbers
    share."""
    return Partial(_whatever, number)


def _whatever(number, k):
    del k
    return number
