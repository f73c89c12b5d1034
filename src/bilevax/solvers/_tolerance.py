"""Stopping when the residual is small enough."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, PyTree

from .._core.numbers import as_nonnegative
from .._core.result import Result
from .._core.types import Number, Scalar
from .._rows.sampler import AbstractSampler
from ._base import AbstractIterativeSolver


def as_tolerance(tol: Number | None, sampler: AbstractSampler) -> Scalar | None:
    """A checked tolerance as an array leaf, or `None`."""
    if tol is None:
        return None
    if not sampler.deterministic:
        raise ValueError(
            "A tolerance needs the residual on all rows, and this solver draws some: leave "
            "`tol` or `batch_size` out."
        )
    return checked_tolerance(tol)


def checked_tolerance(tol: Number) -> Scalar:
    """A tolerance of at least 0, as an array leaf."""
    return as_nonnegative("tol", tol)


class AbstractTolerantSolver(AbstractIterativeSolver):
    """An iterative solver that stops once a residual it computed is within `tol`."""

    tol: eqx.AbstractVar[Scalar | None]
    must_converge: eqx.AbstractVar[bool | None]

    @property
    def stops_early(self):
        return self.tol is not None

    def done(self, state):
        if self.tol is None:
            return jnp.array(False)
        return jnp.asarray(state.residual <= jnp.asarray(self.tol, state.residual.dtype))

    def converged(self, state):
        return self.done(state)

    def required(self):
        return self.tol is not None and bool(self.must_converge)

    def shortfall(self, state, failure):
        if self.tol is None or self.must_converge is False:
            return Result.successful
        return Result.where(state.watch.met, Result.successful, failure)

    def seen(self, residual: PyTree) -> Array | None:
        """The norm of a residual, unless it is one of a few random rows."""
        if not self.sampler.deterministic:
            return None
        return jnp.asarray(optax.tree.norm(jax.lax.stop_gradient(residual)))
