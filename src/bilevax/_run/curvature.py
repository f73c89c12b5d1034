"""Smoothness and strong convexity of the inner problem, measured."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .._core.cost import Cost
from .._core.numbers import as_count
from .._core.program import program
from .._core.types import BlockSize, Count, Number
from .._rows.batch import full
from .._rows.data import num_rows
from .._rows.samplers import FullBatch
from ..problems._base import AbstractProblem, FixedPointProblem
from .check import as_variable
from .lanczos import lanczos
from .means import check_means

_Number = Float[Array, ""]


class Curvature(eqx.Module):
    r"""What Lanczos finds out about the inner problem at one (x, y).

    - `smoothness`: the largest Ritz value plus its residual. The Ritz value alone is a
      lower bound on the largest eigenvalue; some eigenvalue lies within its residual.
    - `strong_convexity`: the lower bound the caller gave; otherwise the smallest Ritz
      value, which **overestimates** the smallest eigenvalue: do not build a guarantee on
      it.
    - `strong_convexity_is_bound`: whether the caller gave it.
    - `residuals`: those of the largest and the smallest Ritz value. Small ones say that
      these are eigenvalues, though not that nothing lies beyond.
    - `contraction`: of a fixed-point map, an estimate of $\|\partial_y \phi\|_2$ here
      (`None` for an inner objective); then smoothness is 1 + q and strong convexity 1 - q,
      those of $y - \phi$. At 1 or above the map does not contract in the Euclidean norm.
    - `direction`: of an inner objective, a unit vector like y along which the curvature is
      about the largest in absolute value.
    - `cost`: the products it took.
    """

    smoothness: _Number
    strong_convexity: _Number
    strong_convexity_is_bound: bool
    residuals: tuple[_Number, _Number]
    contraction: _Number | None
    direction: PyTree
    cost: Cost

    @property
    def condition(self) -> _Number:
        """Smoothness over strong convexity."""
        return self.smoothness / self.strong_convexity


def curvature(
    problem: AbstractProblem,
    x: PyTree,
    y: PyTree,
    *,
    num_products: Count = 30,
    strong_convexity: Number | None = None,
    key: PRNGKeyArray | None = None,
    block_size: BlockSize = "auto",
) -> Curvature:
    r"""Measures the extreme eigenvalues of the inner Hessian by Lanczos.

    On all rows, from a random start, with full reorthogonalisation: after `num_products`
    Hessian-vector products the extreme Ritz values are usually accurate to a few digits.
    For a fixed-point map that is not symmetric it is the largest singular value of
    $\partial_y \phi$, at two products an iteration.

    **Arguments:**

    - `problem`, `x`, `y`: where to measure.
    - `num_products`: Lanczos iterations, at most the size of y.
    - `strong_convexity`: a known lower bound on the smallest eigenvalue, such as the
      weight of a ridge penalty; it is then what is reported.
    - `key`: for the random start.
    - `block_size`: how all rows of data are read, as in `bx.FullBatch`.

    **Returns:** a `bx.Curvature`. Works under `jit` and `vmap`.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> scales = jnp.array([1.0, 2.0, 4.0])
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: jnp.sum(y), inner=lambda x, y: jnp.sum(scales * y**2) / 2)
    >>> c = bx.curvature(problem, jnp.zeros(1), jnp.zeros(3))
    >>> round(float(c.smoothness), 4), round(float(c.strong_convexity), 4)
    (4.0, 1.0)
    """
    num_products = as_count("num_products", num_products)
    x, y = as_variable("x", x), as_variable("y", y)
    key = jax.random.key(0) if key is None else key
    sampler = FullBatch(block_size)
    check_means(problem, sampler, x, y, levels=("inner",))
    return _curvature(problem, x, y, num_products, strong_convexity, key, sampler.block_size)


@program
def _curvature(problem, x, y, num_products, bound, key, block_size) -> Curvature:
    flat, unravel = ravel_pytree(y)
    batch = full(problem.inner_data, block_size)
    hvp = problem.linearize(x, y, batch).hvp
    ravelled = lambda v: ravel_pytree(hvp(unravel(v)))[0]
    product, per_step = ravelled, 1
    maps = isinstance(problem, FixedPointProblem)
    if maps and not problem.symmetric:
        # The singular values of the map's Jacobian M, as eigenvalues of M M^T.
        sweep = lambda v: ravel_pytree(problem.sweep(x, unravel(v), batch))[0]
        _, pushforward = jax.linearize(sweep, flat)
        product, per_step = lambda v: pushforward(v - ravelled(v)), 2
    num = min(num_products, flat.size)
    values, residuals, leading = lanczos(product, flat, num, key)
    cost = Cost.of("hvp", num * per_step, num_rows(problem.inner_data))

    extreme = residuals[-1], residuals[0]
    if not maps:
        given = bound is not None
        smallest = jnp.asarray(bound, flat.dtype) if given else values[0]
        direction = unravel(leading)
        largest = values[-1] + residuals[-1]
        return Curvature(largest, smallest, given, extreme, None, direction, cost)
    if problem.symmetric:  # values are those of I - M
        q = jnp.max(jnp.abs(1 - values[jnp.array([0, -1])]))
    else:
        q = jnp.sqrt(jnp.maximum(values[-1] + residuals[-1], 0))
    return Curvature(1 + q, 1 - q, False, extreme, q, None, cost)
