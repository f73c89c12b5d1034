"""Runs of the nine methods on the quadratic problem, all condition numbers side by side."""

import functools
import logging
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from ... import algorithms
from ..._run.arguments import initial_estimate
from ...algorithms._base import Algorithm
from ...solvers._directions import Clock
from ...theory.amigo import paper_cost
from ._eigenbasis import Eigenbasis

_log = logging.getLogger(__name__)

METHODS = (
    "amigo_cg", "amigo_gd", "aid_cg", "aid_cg_ws", "aid_gd", "aid_fp", "aid_n", "itd", "reverse"
)  # fmt: skip
UNROLLED = ("itd", "reverse")
WARM = ("amigo_cg", "amigo_gd", "aid_cg_ws")
# Whose adjoint starts from nothing, and which may take growing counts of steps.
COLD = ("aid_cg", "aid_gd", "aid_fp", "aid_n")
GROWING = 0  # stands for N_k = floor(1000 ln k)


class Size(NamedTuple):
    """Dimensions of x and y, condition numbers, and outer steps for each count N.

    What starts its adjoint from nothing has come to its end after `cold` steps, when a
    factor of 0.9 a step has left nothing of the start.
    """

    dims: tuple[int, int]
    conditions: tuple[float, ...]
    steps: dict[int, int]
    cold: int
    methods: tuple[str, ...] = METHODS

    def of(self, method: str) -> dict[int, int]:
        """Counts of a method, with their outer steps."""
        if method in WARM:
            return {n: steps for n, steps in self.steps.items() if n != GROWING}
        grows = method != "reverse"
        return {n: min(k, self.cold) for n, k in self.steps.items() if n != GROWING or grows}


FULL = Size(
    (2000, 1000),
    tuple(10.0**i for i in range(8)),
    {1: 1000, 10: 1000, 100: 600, 1000: 250, GROWING: 150},
    250,
)
QUICK = Size(
    (200, 100),
    (1.0, 10.0, 1e3),
    {1: 300, 10: 300, 50: 300},
    250,
    ("amigo_cg", "amigo_gd", "aid_cg", "aid_gd", "itd"),
)


class Run(NamedTuple):
    """One method at one count N: relative errors after each outer step, a row a condition
    number; the cost so far by the paper's count; and the last adjoint, a row a condition
    number, of those that have one."""

    errors: np.ndarray
    cost: np.ndarray
    adjoint: np.ndarray | None = None


Runs = dict[tuple[str, int], Run]


@functools.cache
def sweep(quick: bool, seed: int) -> tuple[Eigenbasis, Size, Runs]:
    """All methods at all counts. The figures share it."""
    size = QUICK if quick else FULL
    basis, runs = Eigenbasis.of(seed, size.dims), {}
    for method in size.methods:
        for count, steps in size.of(method).items():
            _log.info("%s, N = %s", method, count or "growing")
            inner = count if method in UNROLLED else 1
            runs[method, count] = run(basis, size.conditions, method, inner, count, steps)
    return basis, size, runs


def run(
    basis: Eigenbasis,
    conditions: Any,
    method: str,
    inner: int,
    count: int,
    steps: int,
    step_size: float = 1.0,
) -> Run:
    """So many outer steps with T and N."""
    algorithm = preset(method, inner, count, steps, step_size)
    room = np.zeros(max(1000, steps))
    arguments = jnp.asarray(conditions), room, jnp.int32(steps)
    errors, adjoint = jax.device_get(_errors(basis, algorithm, *arguments))
    return Run(errors[:, :steps], cost(method, counts(inner, steps), count), adjoint)


def preset(method: str, inner: int, count: int, steps: int, step_size: float) -> Algorithm:
    """With alpha = beta = 1 / L_g = 1, as in F.1."""
    options: dict[str, Any] = {"outer_step_size": step_size, "inner_step_size": 1.0}
    if method in UNROLLED:
        # Every iterate is stored: there must be room for the most.
        table = counts(inner, steps)
        options["inner_steps"] = int(table[0]) if inner else Partial(_at, jnp.asarray(table))
        if not inner:
            options["max_inner_steps"] = int(table.max())
        return getattr(algorithms, method)(**options)
    # Counts are arguments of the program: one serves all.
    lookup = lambda number: Partial(_at, jnp.asarray(counts(number, max(1000, steps))))
    options |= {"inner_steps": lookup(inner), "adjoint_steps": lookup(count)}
    if method in ("amigo_gd", "aid_gd", "aid_n"):
        options["adjoint_step_size"] = 1.0
    return getattr(algorithms, method)(**options)


def counts(number: int, steps: int) -> np.ndarray:
    """The steps at each outer step: a constant, or max(1, floor(1000 ln k)) from k = 1 on.

    >>> counts(7, 3).tolist(), counts(GROWING, 3).tolist()
    ([7, 7, 7], [1, 693, 1098])
    """
    growing = np.maximum(1, np.floor(1000 * np.log(np.arange(1, steps + 1))))
    return (np.full(steps, number) if number else growing).astype(np.int32)


def cost(method: str, inner: np.ndarray, count: int) -> np.ndarray:
    """The paper's count after each outer step: T + N + 2, and 3T + 1 of unrolled ones."""
    if method in UNROLLED:
        return np.cumsum(3 * inner + 1)
    adjoint = counts(count, len(inner))
    each = paper_cost(outer_steps=1, inner_steps=inner, adjoint_steps=adjoint)
    return np.cumsum(each)


def _at(table, k):
    return table[k]


@eqx.filter_jit
def _errors(basis, algorithm, conditions, room, steps):
    """`bx.minimize` makes one run; here all condition numbers share each product with U."""
    algorithm, key = basis.algorithm(algorithm), jax.random.key(0)

    def one(condition):
        problem, (x, y) = basis.problem(condition), basis.start
        state = initial_estimate(problem, algorithm.hypergradient, x, y, None)

        def step(k, carry):
            x, state, errors = carry
            gradient, state, _, _ = algorithm.hypergradient(problem, x, state, key)
            update, _ = algorithm.outer.update(gradient, outer, x, Clock(k, k))
            x = algorithm.apply(x, update)
            return x, state, errors.at[k].set(basis.error(x))

        outer = algorithm.outer.init(x)
        _, state, errors = jax.lax.fori_loop(0, steps, step, (x, state, room))
        return errors, state.adjoint

    return jax.vmap(one)(conditions)
