"""The arguments of a computation: all that is checked of them before any work."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._core.tree import float_dtype
from .check import as_variable, check_domain, check_kinds, check_numbers, check_structures
from .means import check_means
from .steps import with_steps


def checked(problem, estimator, variables, adjoint, key):
    """The inputs of a computation as arrays, once their values have been looked at."""
    check_kinds(problem, estimator)
    x, y = (as_variable(name, value) for name, value in variables.items())
    if adjoint is not None:
        adjoint = _like_y(as_variable("adjoint0", adjoint), y)
    check_numbers(**dict(zip(variables, (x, y), strict=True)), adjoint0=adjoint)
    check_domain(problem, x)
    check_numbers(outer_data=problem.outer_data, inner_data=problem.inner_data)
    check_means(problem, estimator, x, y)
    if key is None and estimator.random:
        raise ValueError(
            "This method draws random rows: pass a key, as in key=jax.random.key(0)."
        )
    key = _unused_key(_prng_impl()) if key is None else key
    if not isinstance(key, jax.Array):
        raise TypeError(f"key must be a JAX key, as in jax.random.key({key!r}).")
    return x, y, adjoint, key


def _prng_impl() -> str:
    return str(jax.config.jax_default_prng_impl)  # pyright: ignore[reportAttributeAccessIssue]


@functools.cache
def _unused_key(impl: str) -> jax.Array:
    """The key of methods that draw nothing, made once and not at every call."""
    with jax.ensure_compile_time_eval():
        return jax.random.key(0, impl=impl)


def _like_y(adjoint: PyTree, y: PyTree) -> PyTree:
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), adjoint)
    if shapes != jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), y):
        raise ValueError("adjoint0 must have the structure, the shapes and the dtype of y.")
    return adjoint


def initial_estimate(problem, estimator, x, y, adjoint):
    """The estimator's first state, after the checks that need shapes only."""
    check_structures(problem, x, y)
    # Of what is called before the first step only the shape is asked: any step does.
    estimator = with_steps(estimator, jnp.ones((), float_dtype(y)))
    return estimator.init(problem, x, y, adjoint)
