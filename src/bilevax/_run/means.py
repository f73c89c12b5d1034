"""Whether objectives with data are means over rows, which draws and blocks rely on."""

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import keystr
from jaxtyping import PyTree

from .._core.once import once
from .._core.tree import is_traced
from .._core.types import BlockSize
from .._rows.blocks import may_split, on_disk
from .._rows.data import num_rows, slice_rows
from .._rows.sampler import AbstractSampler
from .._rows.samplers import FullBatch
from ..problems._base import FixedPointProblem, MinProblem, ObjectiveProblem
from .check import check_level, check_rows


def check_means(
    problem: Any, readers: PyTree, x: PyTree, y: PyTree, levels=("inner", "outer")
) -> None:
    """Check that samplers find their rows, and on a few of them that what reads data in
    parts reads means over rows.

    `readers` holds the samplers: an estimator, or solvers. Where a full batch may be split
    in blocks, which the user may not know of, it raises; where random rows are drawn, it
    warns. Numbers of x and y that are not known yet are replaced; traced data are not
    looked at.
    """
    samplers = _samplers(readers)
    for level, sampler in samplers:
        # Here what the caller gave is known; in a compiled program it is not. Through the
        # class, since a module's bound method is a module, which takes longer to make.
        type(sampler).check(sampler, getattr(problem, f"{level}_data"))
    if not isinstance(problem, ObjectiveProblem | FixedPointProblem):
        return
    same_level = isinstance(problem, MinProblem)
    for name in levels:
        data = getattr(problem, f"{name}_data")
        if data is None:
            continue
        check_rows(f"{name}_data", data)
        reading = [s for level, s in samplers if same_level or level == name]
        if any(is_traced(leaf) for leaf in jax.tree.leaves(data)):
            continue
        blocks: list[BlockSize] = [s.block_size for s in reading if isinstance(s, FullBatch)]
        drawn = any(not isinstance(s, FullBatch) for s in reading)
        split = any(may_split(data, size) for size in blocks)
        if num_rows(data) < 2 or not (drawn or split):
            continue
        called = "fixed_point" if _is_map(problem, name) else name
        if _is_mean(problem, called, name, _known(x), _known(y)):
            continue
        if split:
            remedy = _ON_DISK if on_disk(data) else _WHOLE.format(name)
            raise ValueError(_NO_MEAN.format(called) + remedy)
        warnings.warn(_NO_MEAN.format(called), stacklevel=4)


def _is_map(problem: Any, name: str) -> bool:
    return name == "inner" and isinstance(problem, FixedPointProblem)


@once
def _samplers(readers: PyTree) -> list[tuple[str, AbstractSampler]]:
    """Each sampler, with the level whose data it reads."""
    is_sampler = lambda node: isinstance(node, AbstractSampler)
    nodes = jax.tree_util.tree_leaves_with_path(readers, is_leaf=is_sampler)
    level = lambda path: "outer" if keystr(path).endswith("outer_sampler") else "inner"
    return [(level(path), node) for path, node in nodes if is_sampler(node)]


def _known(tree: PyTree) -> PyTree:
    """The same tree with numbers where they are traced."""
    some = lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype) if is_traced(leaf) else leaf
    with jax.ensure_compile_time_eval():
        return jax.tree.map(some, tree)


def _is_mean(problem: Any, called: str, level: str, x: PyTree, y: PyTree) -> bool:
    """Whether a function's value on a few rows is the mean of those on their halves.

    To rounding: terms that do not involve the rows drop out of the difference, and so
    could hide a large relative error of the rest.
    """
    half = min(num_rows(getattr(problem, f"{level}_data")) // 2, 8)
    with jax.ensure_compile_time_eval(), jax.default_matmul_precision("highest"):
        values = _on_halves(problem, called, level, half, x, y)
    if any(is_traced(value) for value in values):
        return True  # it closes over something that is not known yet
    whole, first, second = (np.asarray(value, float) for value in values)
    scale = max(np.linalg.norm(v) for v in (whole, first, second))
    error = np.linalg.norm(whole - (first + second) / 2)
    rounding = 100 * float(jnp.finfo(values[0].dtype).eps)
    return not np.isfinite(scale) or bool(error <= rounding * scale)


@eqx.filter_jit
def _on_halves(problem, called: str, level: str, half: int, x, y):
    """The function on the first rows, on the first half of them, and on the second."""
    check_level(problem, level, x, y)
    function, data = getattr(problem, called), getattr(problem, f"{level}_data")

    def on(start: int, size: int):
        return ravel_pytree(function(x, y, slice_rows(data, start, size)))[0]

    try:
        return on(0, 2 * half), on(0, half), on(half, half)
    except Exception as error:
        error.add_note(_ANY_NUMBER.format(called, 2 * half, f"{level}_data"))
        raise


_NO_MEAN = (
    "{0} is not a mean over the rows of its batch: on the first rows it differs from the "
    "mean of its values on their two halves. If it sums over rows, divide by their number; "
    "otherwise its gradients on parts of the data are not estimates of that on all rows."
)
_WHOLE = (
    " To evaluate all rows at once, pass bx.FullBatch(block_size=None) as the batch size of "
    "all that reads {0}_data."
)
_ON_DISK = " Rows on disk are read in blocks: to evaluate all at once, pass them as arrays."
_ANY_NUMBER = (
    "This happened inside {0}, on the first {1} rows of {2}: an objective must take batches "
    "of any size. If x or y has an entry for each row, put the rows' indices into the data, "
    "and use them to pick it."
)
