"""The methods of section 5 at given budgets, and two variants of decreasing steps."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from ..._core.numbers import always
from ..._rows.samplers import Batches
from ..._run.hypergradient import hypergradient
from ...algorithms import sid
from ...theory import sid as theory
from ._setting import BATCHES, Exact, Split

METHODS = ("batch", "const", "dec")
# Of decreasing steps: after a first phase, and on shuffled epochs.
VARIANTS = ("two_phase", "shuffled")
# How many steps of 1 come before those of beta / (beta + i).
_FIRST = {"batch": np.inf, "const": np.inf, "dec": 0.0, "two_phase": 500.0, "shuffled": 0.0}
# Of 2 t passes in Batch and 2 t batches otherwise; all end at 60.
EPOCHS = (2, 4, 6, 10, 14, 20, 30, 40, 50, 60)


def budget(method: str, epochs: int) -> int:
    """t, which is k, where t + k steps read the rows so many times."""
    return epochs // 2 if method == "batch" else epochs * BATCHES // 2


def drawn(rows: int, steps: int, seed: tuple[int, ...], shuffled: bool = False) -> np.ndarray:
    """Rows of each step: independent, or the batches of shuffled epochs."""
    random, size = np.random.default_rng(seed), rows // BATCHES
    if not shuffled:
        return random.integers(0, rows, (steps, size), dtype=np.int32)
    epochs = [random.permutation(rows).reshape(-1, size) for _ in range(-(-steps // BATCHES))]
    return np.concatenate(epochs)[:steps].astype(np.int32)


def errors(
    split: Split,
    solved: list[Exact],
    xs: np.ndarray,
    method: str,
    seed: tuple[int, ...] = (),
    epochs: tuple[int, ...] = EPOCHS,
) -> dict[str, np.ndarray]:
    """Squared errors of y, of the adjoint and of the hypergradient: (budgets, xs) each.

    All of `xs` see the same batches. v starts from zero at each y_t, on batches of its own.
    """
    problem, found, rows = split.problem(), [], None
    if method != "batch":
        num, most = len(split.train[1]), budget(method, max(epochs))
        draw = lambda level: drawn(num, most, (*seed, level), method == "shuffled")
        rows = Batches(draw(0)), Batches(draw(1))
    steps = jnp.asarray(_FIRST[method]), jnp.array([_beta(split, x) for x in xs])
    for budgeted in epochs:
        t = jnp.int32(budget(method, budgeted))
        estimated = _estimates(problem, rows, t, *steps, jnp.asarray(xs), split.zeros)
        found.append(jax.device_get(estimated))
    return _compared(found, solved)


def _beta(split: Split, x: Any) -> float:
    """beta = gamma = 2 / (1 - q^2), so that the first step is 1."""
    return theory.steps(contraction=split.contraction(x)).decreasing["beta"]


def _compared(found: list[Any], solved: list[Exact]) -> dict[str, np.ndarray]:
    gradients, ys, vs = (np.array(part) for part in zip(*found, strict=True))
    square = lambda a, b: np.sum((a - b).reshape(*a.shape[:2], -1) ** 2, axis=-1)
    exact = lambda name: np.array([getattr(one, name) for one in solved])
    return {
        "y": square(ys, exact("y")[None]),
        "v": square(vs, exact("v")[None]),
        "gradient": square(gradients, exact("gradient")[None]),
    }


def _step(first: Array, beta: Array, i: Array) -> Array:
    """1 for so many steps, then beta / (beta + i) with i counted anew: the two-phase rule, and
    for none or all of the steps the other two, by the same program."""
    return beta / (beta + jnp.maximum(i - first, 0))


@eqx.filter_jit
def _estimates(problem, rows, t, first, betas, xs, y0):
    """The gradient, y and v of each x, after t steps of each level."""

    def one(x, beta):
        inner, adjoint = (None, None) if rows is None else rows
        algorithm = sid(
            outer_step_size=1.0,
            inner_step_size=Partial(_step, first, beta),
            inner_steps=always(t),
            adjoint_steps=always(t),
            inner_batch_size=inner,
            hvp_batch_size=adjoint,
        )
        h = hypergradient(problem, algorithm.hypergradient, x, y0)
        return h.gradient, h.y, -h.adjoint

    return jax.vmap(one)(xs, betas)
