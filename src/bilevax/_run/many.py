"""Many runs of one problem, in one program."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._core.numbers import as_count, as_nonnegative
from .._core.result import is_code
from .._core.types import Count, Keys, Number
from ..algorithms._base import Algorithm
from ..problems._base import Problem
from .chunks import Run
from .diagnosis import ASTRAY, explain
from .members import Member, take_all
from .minimize import Solution, initial_state
from .stacked import Stack, together

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Algorithms = Algorithm | Sequence[Algorithm]
    RunKeys = Keys | None
else:
    Algorithms = RunKeys = Any


def minimize_many(
    problem: Problem,
    algorithm: Algorithms,
    x0s: PyTree,
    y0s: PyTree,
    *,
    keys: RunKeys = None,
    num_steps: Count = 100,
    tol: Number | None = None,
    record_every: Count = 1,
    metrics: Callable[..., dict[str, Any]] | None = None,
) -> list[Solution]:
    r"""Many runs of `bx.minimize` on one problem, side by side in one program.

    Each run is what it would be by itself, up to rounding: it has its own start, key and
    steps, stops by its own `tol`, and fails for itself. In common they have the data, which are
    read once for all of them, so that products of a matrix with a vector become products of
    matrices: for problems whose matrices fit a processor's cache that takes a third of the
    time or less.

    **Arguments:**

    - `algorithm`: one for all, or a list with one for each run. These may differ in numbers,
      such as step sizes, but in nothing that a program is compiled for.
    - `x0s`, `y0s`: as `x0` and `y0` of `bx.minimize`, with a leading axis of runs.
    - `keys`: one for each run, as of `jax.random.split`; needed if the algorithm draws rows.
    - `problem`, `num_steps`, `tol`, `record_every`, `metrics`: as in `bx.minimize`.

    **Returns:** a list of `bx.Solution`, one for each run. `seconds` in a history counts from
    the call for all runs together. Any run can be gone on with by itself:
    `bx.minimize(problem, algorithm, state=solution.state)`.

    A run that fails is taken again by itself from where all was well, as `bx.minimize` does,
    to end at its last good iterate. Where a step factorises matrices (`bx.Direct`,
    `bx.Nystrom`) the runs of a chunk are taken one after another, still in one program.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2 + y**2)
    >>> steps = [bx.algorithms.amigo_gd(outer_step_size=step) for step in (0.1, 0.5)]
    >>> runs = bx.minimize_many(problem, steps, jnp.ones(2), jnp.zeros(2), num_steps=20)
    >>> [round(float(run.x), 3) for run in runs]
    [0.122, 0.0]
    """
    num_steps = as_count("num_steps", num_steps)
    record_every = as_count("record_every", record_every)
    stop_at = -np.inf if tol is None else as_nonnegative("tol", tol)
    num = _num_runs(x0s=x0s, y0s=y0s)
    algorithms = _as_algorithms(algorithm, num)
    shared_and_own = _split(algorithms)
    starts = zip(algorithms, _each(x0s, num), _each(y0s, num), _as_keys(keys, num), strict=True)
    states = [initial_state(problem, a, x, y, key=key) for a, x, y, key in starts]
    runs = [Run(problem, a, metrics, stop_at, record_every, None) for a in algorithms]
    members = [Member(run, state) for run, state in zip(runs, states, strict=True)]
    fixed = problem, *shared_and_own, metrics, np.asarray(stop_at, float)
    take_all(members, fixed, Stack(together([s.loop for s in states])), num_steps, record_every)
    solutions = [member.solution() for member in members]
    _explain(problem, algorithms, solutions)
    return solutions


def _num_runs(**trees: PyTree) -> int:
    """The length of the leading axis, which all must have."""
    lengths = {}
    for name, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            shape = np.shape(leaf)
            lengths[name + jax.tree_util.keystr(path)] = shape[0] if shape else 0
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        listed = ", ".join(f"{where} has {num or 'none'}" for where, num in lengths.items())
        raise ValueError(_NO_AXIS.format(listed or "both are empty"))
    return next(iter(lengths.values()))


def _as_algorithms(algorithm: Any, num: int) -> list[Algorithm]:
    many = isinstance(algorithm, list | tuple)
    algorithms = list(algorithm) if many else [algorithm] * num
    for one in algorithms:
        if not isinstance(one, Algorithm):
            raise TypeError(_NO_ALGORITHM.format(type(one).__name__))
    if len(algorithms) != num:
        raise ValueError(
            f"There are {len(algorithms)} algorithms for {num} starts: pass one each."
        )
    return algorithms


def _each(tree: PyTree, num: int) -> list[PyTree]:
    """The tree of each run; NumPy arrays stay such, which is as `bx.minimize` takes them."""
    is_array = lambda leaf: hasattr(leaf, "dtype")
    arrays = jax.tree.map(lambda leaf: leaf if is_array(leaf) else np.asarray(leaf), tree)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], arrays) for i in range(num)]


def _as_keys(keys: Any, num: int) -> list[Any]:
    if keys is None:
        return [None] * num
    is_key = isinstance(keys, jax.Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    if not is_key or keys.shape != (num,):
        shape = f"shape {keys.shape}" if is_key else f"a {type(keys).__name__}"
        raise TypeError(
            f"keys must be {num} JAX keys, one for each run, as of jax.random.split("
            f"jax.random.key(0), {num}), got {shape}."
        )
    return list(keys)


def _explain(problem: Problem, algorithms: list[Algorithm], solutions: list[Solution]) -> None:
    """Warn of what made runs diverge, of the first that did."""
    for algorithm, solution in zip(algorithms, solutions, strict=True):
        if any(is_code(solution.result, code) for code in ASTRAY):
            loop = solution.state.loop
            explain(problem, algorithm, loop.smoothness, loop.x, loop.hypergradient.y)
            return


def _split(algorithms: list[Algorithm]) -> tuple[PyTree, PyTree]:
    """What algorithms share, and the numbers in which they differ, with a leading axis.

    Raises where they differ in more than numbers.
    """
    leaves, structures = zip(*map(jax.tree.flatten, algorithms), strict=True)
    columns = list(zip(*leaves, strict=False))
    same = [_all_equal(column) for column in columns]
    numbers = [equal or _are_numbers(c) for c, equal in zip(columns, same, strict=True)]
    if len(set(structures)) > 1 or not all(numbers):
        raise ValueError(_OTHERS)
    pick = lambda column, equal: (column[0], None) if equal else (None, np.stack(column))
    picked = [pick(c, equal) for c, equal in zip(columns, same, strict=True)]
    shared, own = (structures[0].unflatten(part) for part in zip(*picked, strict=True))
    return shared, own


def _all_equal(column: tuple[Any, ...]) -> bool:
    first = column[0]
    if all(leaf is first for leaf in column):
        return True
    if not _are_numbers(column):
        return all(leaf == first for leaf in column)
    return all(np.array_equal(leaf, first) for leaf in column)


def _are_numbers(column: tuple[Any, ...]) -> bool:
    kinds = jax.Array | np.ndarray | np.generic
    arrays = all(isinstance(leaf, kinds) for leaf in column)
    return arrays and len({(np.shape(leaf), leaf.dtype) for leaf in column}) == 1


_NO_AXIS = "x0s and y0s need one leading axis of runs: {}."
_NO_ALGORITHM = (
    "algorithm must be a bx.Algorithm, such as a preset of bx.algorithms, or a list with one "
    "for each run, got {}."
)
_OTHERS = (
    "The algorithms of one program may differ in numbers only, such as step sizes: these "
    "differ in their parts, in counts that a program is compiled for, or in functions. Call "
    "bx.minimize_many once for each kind."
)
