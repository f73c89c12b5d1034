"""The same runs on the dense matrices, by `bx.minimize`."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from ..._run.minimize import minimize
from ...problems import Quadratic, quadratic, quadratic_form
from ._eigenbasis import Eigenbasis
from ._sweep import preset, run

_CONDITION, _STEPS, _COUNT = 100.0, 20, 10


def difference(dims: tuple[int, int], seed: int, method: str) -> float:
    """The largest relative difference of errors along a run in either basis."""
    dense, basis, solution = _both(dims, seed)
    rotated = run(basis, [_CONDITION], method, _COUNT, _COUNT, _STEPS).errors[0]
    algorithm = preset(method, _COUNT, _COUNT, _STEPS, 1.0)
    error = Partial(_error, dense.A_f, solution)
    start = jnp.zeros(dims[0]), jnp.zeros(dims[1])
    found = minimize(dense.problem, algorithm, *start, num_steps=_STEPS, metrics=error)
    errors = found.history["gap"] / error(jnp.zeros(dims[0]), None)["gap"]
    return float(np.max(np.abs(errors / rotated - 1)))


def _error(matrix, solution, x, y):
    del y
    return {"gap": quadratic_form(matrix, x - solution)}


@functools.lru_cache(1)
def _both(dims: tuple[int, int], seed: int) -> tuple[Quadratic, Eigenbasis, Any]:
    """The problem, its rotation and its minimiser, solved for without either."""
    dense = quadratic(*dims, inner_condition=_CONDITION, seed=seed)
    return dense, Eigenbasis.rotated(dense, _CONDITION), dense.minimiser()
