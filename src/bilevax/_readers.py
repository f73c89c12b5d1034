"""Which level's data each sampler of an estimator reads, and whether its rows are there."""

from collections.abc import Iterator

import jax
from jaxtyping import PyTree

from ._problem import AbstractProblem
from ._sampling import AbstractSampler


def samplers(readers: PyTree) -> Iterator[tuple[str, AbstractSampler]]:
    """Each sampler of an estimator or of solvers, with the level whose data it reads."""
    is_sampler = lambda node: isinstance(node, AbstractSampler)
    for path, node in jax.tree_util.tree_leaves_with_path(readers, is_leaf=is_sampler):
        if is_sampler(node):
            outer = jax.tree_util.keystr(path).endswith("outer_sampler")
            yield ("outer" if outer else "inner"), node


def check_readers(problem: AbstractProblem, readers: PyTree) -> None:
    """Raise where a sampler names rows that its level's data do not have.

    To be called with what the user gave: in a compiled program rows are not known.
    """
    for level, sampler in samplers(readers):
        sampler.check(getattr(problem, f"{level}_data"))
