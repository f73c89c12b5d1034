"""The methods with the steps that their papers have, x's in units of one number."""

from collections.abc import Callable
from typing import Any

from .... import algorithms
from ....algorithms._base import Algorithm
from ....schedules import polynomial
from ._problems import BATCH, Contest


def _constant(alpha: float, gamma: float) -> dict[str, Any]:
    return {"inner_step_size": alpha, "adjoint_step_size": alpha, "outer_step_size": gamma}


def _decreasing(outer: float, inner: float, adjoint: float | None = None) -> Callable:
    """As powers of the outer step k; a constant adjoint step where a series is summed."""

    def steps(alpha: float, gamma: float) -> dict[str, Any]:
        own = alpha if adjoint is None else polynomial(alpha, adjoint).outer()
        return {
            "inner_step_size": polynomial(alpha, inner).outer(),
            "adjoint_step_size": own,
            "outer_step_size": polynomial(gamma, outer),
        }

    return steps


def _penalised(alpha: float, gamma: float) -> dict[str, Any]:
    """At the start, where the multiplier is 1, y's objective is the sum of two."""
    return {
        "inner_step_size": polynomial(alpha, 4 / 7).outer(),
        "penalised_step_size": polynomial(alpha / 2, 5 / 7).outer(),
        "outer_step_size": polynomial(gamma, 5 / 7),
    }


# Preset -> its steps from those of y and x.
STEPS: dict[str, Callable[[float, float], dict[str, Any]]] = {
    "soba": _decreasing(1 / 2, 1 / 2, 1 / 2),
    "ma_soba": _constant,
    "saba": _constant,
    "srba": _constant,
    "mrbo": _decreasing(1 / 3, 1 / 3),
    "vrbo": _constant,
    "stocbio": _constant,
    "amigo_gd": _constant,
    "f2sa": _penalised,
    "bsa": _decreasing(1 / 2, 1 / 2),
    "ttsa": _decreasing(3 / 5, 2 / 5),
}


def algorithm(contest: Contest, method: str, step: float) -> Algorithm:
    """With batches of 64, and x's step as a multiple of the problem's scale."""
    steps = STEPS[method](contest.smooth, step * contest.scale)
    return getattr(algorithms, method)(**steps, batch_size=BATCH)
