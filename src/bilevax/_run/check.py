"""What is checked before any work: inputs whose fault a user should hear of by name."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._core.tree import is_traced
from .._core.types import Function
from .._rows.sparse import is_sparse
from ..hypergradients import AbstractHypergradient
from ..problems._base import AbstractProblem, FixedPointProblem, ObjectiveProblem, call


def as_variable(name: str, value: PyTree) -> PyTree:
    """A variable as arrays of one float dtype; otherwise an error that names the leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(value)
    if not leaves:
        raise ValueError(f"{name} has no arrays: pass a pytree with at least one number.")
    for path, leaf in leaves:
        where = name + jax.tree_util.keystr(path)
        try:
            dtype = jnp.result_type(leaf)
        except (TypeError, ValueError):
            raise TypeError(f"{where} is {leaf!r}, which is not an array.") from None
        if dtype not in (jnp.float32, jnp.float64):
            raise TypeError(
                f"{where} has dtype {dtype}: {name} must be float32 or float64. "
                f"Convert it, for example with jnp.asarray({name}, float)."
            )
    value = jax.tree.map(_strong, value)
    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(value)})
    if len(dtypes) > 1:
        raise TypeError(
            f"{name} mixes the dtypes {' and '.join(dtypes)}: use one for all its arrays."
        )
    return value


def check_kinds(problem: Any, estimator: Any) -> None:
    """Raise unless these are a problem and an estimator of hypergradients."""
    if not isinstance(problem, AbstractProblem):
        raise TypeError(f"problem must be one, such as bx.BilevelProblem, got {problem!r}.")
    if not isinstance(estimator, AbstractHypergradient):
        raise TypeError(
            "An estimator of hypergradients is expected, such as bx.Implicit(inner, linear) "
            f"(bx.minimize takes it in a bx.Algorithm), got {type(estimator).__name__}."
        )


def _strong(leaf) -> Array:
    """An array whose dtype does not depend on how it was written."""
    leaf = jnp.asarray(leaf)
    return jax.lax.convert_element_type(leaf, leaf.dtype)


def check_structures(problem: AbstractProblem, x: PyTree, y: PyTree) -> None:
    """Check data shapes and the signatures and outputs of the problem's functions.

    Runs at trace time: nothing is computed.
    """
    for level in ("outer", "inner"):
        check_level(problem, level, x, y)


def check_level(problem: AbstractProblem, level: str, x: PyTree, y: PyTree) -> None:
    """The same for one level."""
    data = getattr(problem, f"{level}_data")
    check_rows(f"{level}_data", data)
    if level == "outer":
        _check_scalar("outer", problem.outer, data, x, y)
    elif isinstance(problem, FixedPointProblem):
        _check_map("fixed_point", problem.fixed_point, data, x, y)
    elif isinstance(problem, ObjectiveProblem):
        _check_scalar("inner", problem.inner, data, x, y)
        if problem.update is not None:
            _check_map("update", problem.update, data, x, y)


def check_numbers(**trees: PyTree) -> None:
    """Raise if any tree holds NaN or infinite numbers; traced values are not looked at."""
    for name, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if not eqx.is_inexact_array(leaf) or is_traced(leaf):
                continue
            with jax.ensure_compile_time_eval():
                finite = bool(_finite(leaf))
            if not finite:
                where = name + jax.tree_util.keystr(path)
                raise ValueError(
                    f"{where} contains NaN or infinite values. Clean or impute it first."
                )


def check_domain(problem: AbstractProblem, x: PyTree) -> None:
    """The problem's own check of x."""
    check = getattr(problem, "check", None)
    if check is not None:
        check(x)


_finite = jax.jit(lambda leaf: jnp.all(jnp.isfinite(leaf)))


def check_rows(name: str, data: PyTree) -> None:
    """Raise unless all arrays of a level have the same number of rows, at least one."""
    leaves = jax.tree_util.tree_leaves_with_path(data, is_leaf=is_sparse)
    sizes = {}
    for path, leaf in leaves:
        where = name + jax.tree_util.keystr(path)
        if leaf.ndim == 0:
            raise ValueError(f"{where} is a scalar: data need a leading axis of rows.")
        if leaf.shape[0] == 0:
            raise ValueError(f"{where} is empty: it has shape {leaf.shape}.")
        sizes[where] = leaf.shape[0]
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{where} has {rows}" for where, rows in sizes.items())
        raise ValueError(f"All arrays of {name} need the same number of rows; {listed}.")


def _check_scalar(name: str, function: Function, data: PyTree, x: PyTree, y: PyTree) -> None:
    out = _output(name, function, data, x, y)
    if not _is_float_array(out) or out.shape != ():
        raise ValueError(
            f"{name} must return one real number, but it returned {_describe(out)}. "
            "If it returns one value a row, take their mean."
        )


def _check_map(name: str, function: Function, data: PyTree, x: PyTree, y: PyTree) -> None:
    out = _output(name, function, data, x, y)
    if jax.tree.structure(out) != jax.tree.structure(y):
        raise ValueError(
            f"{name} must return something of y's structure {jax.tree.structure(y)}, but it "
            f"returned {jax.tree.structure(out)}."
        )
    for (path, new), old in zip(
        jax.tree_util.tree_leaves_with_path(out), jax.tree.leaves(y), strict=True
    ):
        if new.shape != old.shape or new.dtype != old.dtype:
            raise ValueError(
                f"{name} must return y's shapes and dtypes, but its output"
                f"{jax.tree_util.keystr(path)} is {new.dtype}{list(new.shape)} where y has "
                f"{old.dtype}{list(old.shape)}."
            )


def _output(name: str, function: Function, data: PyTree, x: PyTree, y: PyTree) -> PyTree:
    """The shapes a user's function returns, with its failure explained."""
    arguments = "(x, y)" if data is None else "(x, y, batch)"
    _check_signature(name, function, arguments)
    try:
        return jax.eval_shape(lambda: call(function, x, y, data))
    except Exception as error:
        error.add_note(
            f"This happened inside {name}{arguments}, called with x = {_shapes(x)}, "
            f"y = {_shapes(y)}" + ("." if data is None else f", batch = {_shapes(data)}.")
        )
        raise


def _check_signature(name: str, function: Function, arguments: str) -> None:
    if not callable(function):
        raise TypeError(f"{name} must be a function of {arguments}, got {function!r}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments.strip("()").split(", "))
    except TypeError:
        data = "outer_data" if name == "outer" else "inner_data"
        reason = f"there is no {data}" if arguments == "(x, y)" else f"{data} was given"
        raise TypeError(
            f"{name} will be called as {name}{arguments}, because {reason}, but its "
            f"signature is {name}{signature}."
        ) from None


def _is_float_array(out) -> bool:
    return hasattr(out, "dtype") and jnp.issubdtype(out.dtype, jnp.floating)


def _describe(out: PyTree) -> str:
    if hasattr(out, "dtype"):
        return f"an array of dtype {out.dtype} and shape {out.shape}"
    return f"a {type(out).__name__}"


def _shapes(tree: PyTree) -> str:
    describe = lambda leaf: f"{leaf.dtype}{list(leaf.shape)}"
    shapes = jax.tree.map(describe, tree, is_leaf=is_sparse)
    return str(shapes).replace("'", "")
