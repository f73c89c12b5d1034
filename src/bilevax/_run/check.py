"""What is checked before any work: inputs whose fault a user should hear of by name."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._core.tree import is_traced
from .._core.types import Function
from .._rows.data import all_rows, holds_rows, unread
from ..hypergradients import AbstractHypergradient
from ..problems._base import AbstractProblem, FixedPointProblem, ObjectiveProblem, call


def as_variable(name: str, value: PyTree) -> PyTree:
    """A variable as arrays of one float dtype; otherwise an error that names the leaf."""
    leaves, structure = jax.tree.flatten(value)
    if not leaves:
        raise ValueError(f"{name} has no arrays: pass a pytree with at least one number.")
    dtypes = [_dtype(leaf) for leaf in leaves]
    for index, (leaf, dtype) in enumerate(zip(leaves, dtypes, strict=True)):
        if dtype is None:
            where = _where(name, value, index)
            raise TypeError(f"{where} is {leaf!r}, which is not an array.")
        if dtype not in _FLOATS:
            raise TypeError(
                f"{_where(name, value, index)} has dtype {dtype}: {name} must be float32 or "
                f"float64. Convert it, for example with jnp.asarray({name}, float)."
            )
    if len(set(dtypes)) > 1:
        listed = " and ".join(sorted({str(dtype) for dtype in dtypes}))
        raise TypeError(f"{name} mixes the dtypes {listed}: use one for all its arrays.")
    return structure.unflatten(map(_strong, leaves, dtypes))


def check_kinds(problem: Any, estimator: Any) -> None:
    """Raise unless these are a problem and an estimator of hypergradients."""
    if not isinstance(problem, AbstractProblem):
        raise TypeError(f"problem must be one, such as bx.BilevelProblem, got {problem!r}.")
    if not isinstance(estimator, AbstractHypergradient):
        raise TypeError(
            "An estimator of hypergradients is expected, such as bx.Implicit(inner, linear) "
            f"(bx.minimize takes it in a bx.Algorithm), got {type(estimator).__name__}."
        )


_FLOATS = np.dtype(np.float32), np.dtype(np.float64)


def _dtype(leaf: Any) -> Any:
    """The dtype of an array or a number, `None` for anything else."""
    if isinstance(leaf, jax.Array):
        return leaf.dtype
    try:
        return jnp.result_type(leaf)
    except (TypeError, ValueError):
        return None


def _strong(leaf: Any, dtype: Any) -> Array:
    """An array whose dtype does not depend on how it was written."""
    if isinstance(leaf, jax.Array):
        # What is strong already needs no operation: one outside of jit takes 30 us and more.
        return jax.lax.convert_element_type(leaf, dtype) if leaf.weak_type else leaf
    if isinstance(leaf, float | np.ndarray | np.generic):
        return jnp.asarray(np.asarray(leaf, dtype))
    return jnp.asarray(leaf, dtype)


def _where(name: str, tree: PyTree, index: int) -> str:
    """The name of a tree's leaf. Paths are made where they are read: in an error."""
    return name + jax.tree_util.keystr(jax.tree_util.tree_leaves_with_path(tree)[index][0])


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
        for index, leaf in enumerate(jax.tree.leaves(tree)):
            if not eqx.is_inexact_array(leaf) or is_traced(leaf) or _is_finite(leaf):
                continue
            raise ValueError(
                f"{_where(name, tree, index)} contains NaN or infinite values. Clean or "
                "impute it first."
            )


def check_domain(problem: AbstractProblem, x: PyTree) -> None:
    """The problem's own check of x."""
    check = getattr(problem, "check", None)
    if check is not None:
        check(x)


def _is_finite(leaf: Array | np.ndarray) -> bool:
    # A program takes longer to call than few numbers to read.
    if leaf.size <= _FEW and getattr(leaf, "is_fully_addressable", True):
        return bool(np.isfinite(np.asarray(leaf)).all())
    with jax.ensure_compile_time_eval():
        return bool(_finite(leaf))


_FEW = 1000
_finite = jax.jit(lambda leaf: jnp.all(jnp.isfinite(leaf)))


def check_rows(name: str, data: PyTree) -> None:
    """Raise unless all arrays of a level have the same number of rows, at least one."""
    leaves = jax.tree_util.tree_leaves_with_path(data, is_leaf=holds_rows)
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
        return jax.eval_shape(lambda rows: call(function, x, y, all_rows(rows)), unread(data))
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
    shapes = jax.tree.map(describe, tree, is_leaf=holds_rows)
    return str(shapes).replace("'", "")
