"""Stopping when the residual is small enough."""

import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._sampling import AbstractSampler
from .._tree import as_scalar, is_traced
from .._types import Scalar
from ._base import SolverState


def as_tolerance(tol: float | None, sampler: AbstractSampler) -> Scalar | None:
    """A checked tolerance as an array leaf, or `None`."""
    if tol is None:
        return None
    if not sampler.deterministic:
        raise ValueError(
            "A tolerance needs the residual on all rows, and this solver draws some: leave "
            "`tol` or `batch_size` out."
        )
    return checked_tolerance(tol)


def checked_tolerance(tol: float) -> Scalar:
    """A tolerance of at least 0, as an array leaf."""
    scalar = as_scalar(tol)
    if scalar.shape != () or not (is_traced(scalar) or scalar >= 0):
        raise ValueError(f"tol must be a number of at least 0, got {tol}.")
    return scalar


def met(tol: Scalar | None, state: SolverState) -> Bool[Array, ""]:
    """Whether the last residual the solver computed is within the tolerance."""
    if tol is None:
        return jnp.array(False)
    return jnp.asarray(state.residual <= jnp.asarray(tol, state.residual.dtype))
