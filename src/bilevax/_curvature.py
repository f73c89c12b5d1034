"""Smoothness and strong convexity of the inner problem, measured."""

import warnings
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._algorithm import Algorithm
from ._check import as_variable
from ._cost import Cost
from ._data import num_rows
from ._means import check_means
from ._problem import AbstractProblem, FixedPointProblem
from ._sampling import FullBatch, full
from ._transformation import SteepestDescent
from ._tree import axpy, is_traced, norm
from ._types import BlockSize
from .schedules import Measured
from .solvers import Neumann

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
    - `cost`: the products it took.
    """

    smoothness: _Number
    strong_convexity: _Number
    strong_convexity_is_bound: bool
    residuals: tuple[_Number, _Number]
    contraction: _Number | None
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
    num_products: int = 30,
    strong_convexity: float | None = None,
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
    if num_products < 1:
        raise ValueError(f"num_products must be at least 1, got {num_products}.")
    x, y = as_variable("x", x), as_variable("y", y)
    key = jax.random.key(0) if key is None else key
    sampler = FullBatch(block_size)
    check_means(problem, sampler, x, y, levels=("inner",))
    return _measure(problem, x, y, num_products, strong_convexity, key, sampler.block_size)


@eqx.filter_jit
def _measure(problem, x, y, num_products, bound, key, block_size) -> Curvature:
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
    values, residuals = _lanczos(product, flat, num, key)
    cost = Cost.of("hvp", num * per_step, num_rows(problem.inner_data))

    extreme = residuals[-1], residuals[0]
    if not maps:
        given = bound is not None
        smallest = jnp.asarray(bound, flat.dtype) if given else values[0]
        return Curvature(values[-1] + residuals[-1], smallest, given, extreme, None, cost)
    if problem.symmetric:  # values are those of I - M
        q = jnp.max(jnp.abs(1 - values[jnp.array([0, -1])]))
    else:
        q = jnp.sqrt(jnp.maximum(values[-1] + residuals[-1], 0))
    return Curvature(1 + q, 1 - q, False, extreme, q, cost)


def _lanczos(product, like, num: int, key):
    """Ritz values in increasing order and their residuals, after `num` products."""
    start = jax.random.normal(key, like.shape, like.dtype)
    basis = jnp.zeros((num + 1, like.size), like.dtype)
    basis = basis.at[0].set(start / norm(start))

    def orthogonal(vector, basis):
        # Twice is enough: the second pass removes what rounding left.
        for _ in range(2):
            vector = vector - (basis @ vector) @ basis
        return vector

    def step(carry, inputs):
        basis, scale = carry
        i, fresh_key = inputs
        image = product(basis[i])
        alpha = basis[i] @ image
        rest = orthogonal(image, basis)
        beta = norm(rest)
        scale = jnp.maximum(scale, norm(image))
        # An invariant subspace is found: go on in its complement, not coupled to it.
        closed = beta <= 10 * jnp.finfo(like.dtype).eps * scale
        fresh = orthogonal(jax.random.normal(fresh_key, like.shape, like.dtype), basis)
        rest = jnp.where(closed, fresh / norm(fresh), rest / beta)
        return (basis.at[i + 1].set(rest), scale), (alpha, jnp.where(closed, 0, beta))

    keys = jax.random.split(jax.random.fold_in(key, 1), num)
    inputs = jnp.arange(num), keys
    _, (alphas, betas) = jax.lax.scan(step, (basis, jnp.zeros((), like.dtype)), inputs)
    tridiagonal = jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)
    values, vectors = jnp.linalg.eigh(tridiagonal)
    return values, jnp.abs(betas[-1] * vectors[-1])


def _is_measured(node) -> bool:
    return isinstance(node, Measured)


def has_steps_to_measure(tree: PyTree) -> bool:
    """Whether any step size was left to be measured."""
    nodes = jax.tree.leaves(tree, is_leaf=_is_measured)
    return any(_is_measured(node) and node.step_size is None for node in nodes)


def with_steps(tree: PyTree, step_size) -> PyTree:
    """The same algorithm or estimator with all steps left to be measured set to one."""
    fill = lambda node: Measured(step_size) if _is_measured(node) else node
    return jax.tree.map(fill, tree, is_leaf=_is_measured)


_PROBES = 3


def common_block_size(readers: PyTree) -> BlockSize:
    """How full batches may be split: not at all where any reader says so."""
    is_sampler = lambda node: isinstance(node, FullBatch)
    nodes = jax.tree.leaves(readers, is_leaf=is_sampler)
    sizes = [node.block_size for node in nodes if is_sampler(node)]
    return None if None in sizes else next(iter(sizes), "auto")


def measure_step(
    problem: AbstractProblem, readers: PyTree, x: PyTree, y: PyTree
) -> tuple[Array, Cost]:
    """The step that gradient descent can take on the inner problem at x, and the cost.

    All rows are read, in blocks where the `readers`, an algorithm or an estimator, allow.

    1 / smoothness, the largest of three measured along the first steps from y, since an
    inner Hessian may be flat where a run starts and steep where it goes. Smoothness is the
    largest eigenvalue in absolute value; where there is no curvature at all it is taken as
    1. For a fixed-point map the step is 1, which iterates the map itself, and costs nothing.
    """
    dtype = jnp.result_type(*jax.tree.leaves(y))
    if isinstance(problem, FixedPointProblem):
        return jnp.ones((), dtype), Cost()
    return _probe(problem, x, y, common_block_size(readers))


@eqx.filter_jit
def _probe(problem, x, y, block_size):
    batch, rows = full(problem.inner_data, block_size), num_rows(problem.inner_data)
    smoothness, cost = jnp.zeros((), jnp.result_type(*jax.tree.leaves(y))), Cost()
    for probe in range(_PROBES):
        measured = curvature(problem, x, y, num_products=15, block_size=block_size)
        size = jnp.maximum(measured.smoothness, -measured.strong_convexity)
        smoothness = jnp.maximum(smoothness, size)
        smoothness = jnp.where(smoothness > 0, smoothness, 1)
        cost = cost + measured.cost
        if probe < _PROBES - 1:
            y = axpy(-1 / smoothness, problem.residual(x, y, batch), y)
            cost = cost + Cost.of("inner_gradient", 1, rows)
    return 1 / smoothness, cost


def with_measured_steps(tree: PyTree, problem: AbstractProblem, x: PyTree, y: PyTree) -> PyTree:
    """An algorithm or estimator whose missing inner and adjoint steps are measured.

    `bx.minimize` and `bx.hypergradient` do this by themselves.

    >>> import bilevax as bx
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2)
    >>> estimator = bx.with_measured_steps(
    ...     bx.Analytic(bx.GradientDescent(num_steps=3)), problem, 1.0, 0.0)
    >>> float(bx.hypergradient(problem, estimator, 1.0, 0.0).y)
    1.0
    """
    if not has_steps_to_measure(tree):
        return tree
    x, y = as_variable("x", x), as_variable("y", y)
    return with_steps(tree, measure_step(problem, tree, x, y)[0])


def check_steps(problem: AbstractProblem, tree: PyTree, x: PyTree, y: PyTree) -> Curvature:
    """Measures the curvature at (x, y), and warns of what cannot converge there.

    Warns of constant inner and adjoint steps above 2 / smoothness, and of a fixed-point map
    whose Jacobian has a norm of 1 or more. `bx.minimize` calls it where a run ended because
    y or z diverged; call it yourself before a long run.

    **Arguments:**

    - `problem`, `x`, `y`: where to look.
    - `tree`: an algorithm, an estimator or a solver.

    **Returns:** the `bx.Curvature`.

    >>> import bilevax as bx, warnings
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2)
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     c = bx.check_steps(problem, bx.GradientDescent(1.5, 10), 1.0, 0.0)
    >>> print(str(caught[0].message)[:54])
    A step of 1.5 in SteepestDescent is above 2 / smoothne
    """
    tree = tree.hypergradient if isinstance(tree, Algorithm) else tree
    measured = curvature(problem, x, y, block_size=common_block_size(tree))
    if is_traced(measured.smoothness) or not jnp.isfinite(measured.smoothness):
        return measured
    if measured.contraction is not None and measured.contraction >= 1:
        warnings.warn(
            f"The fixed-point map does not contract here: the norm of its Jacobian is about "
            f"{float(measured.contraction):.3g}, and must be below 1.",
            stacklevel=2,
        )
    limit = 2 / float(measured.smoothness)
    for name, step in _constant_steps(tree):
        if float(step) > limit:
            warnings.warn(
                f"A step of {float(step):.3g} in {name} is above 2 / smoothness = "
                f"{limit:.3g}, measured here: iterations with it diverge. Leave the step out "
                "to have it measured, with `measure_every=` again and again.",
                stacklevel=2,
            )
    return measured


def _constant_steps(tree: PyTree) -> Iterator[tuple[str, Any]]:
    """The constant step sizes of solvers and Neumann series, with the solver's name."""
    kinds = SteepestDescent | Neumann
    for node in jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kinds)):
        if not isinstance(node, kinds):
            continue
        step = node.step_size
        step = step.step_size if isinstance(step, Measured) else step
        if step is not None and not callable(step) and not is_traced(step):
            yield type(node).__name__, step
