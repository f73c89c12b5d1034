"""Implicit differentiation as presets compose it."""

from typing import Any

from .._core.types import Weight
from .._rows.samplers import BatchSize
from ..hypergradients import Implicit
from ..schedules import as_weight
from ..solvers import AbstractSolver
from ..solvers._directions import OuterStep, as_outer
from ._averaged import averaged
from ._base import Algorithm


def implicit(
    inner: AbstractSolver,
    adjoint: AbstractSolver,
    outer_step_size: OuterStep | None,
    rows: dict[str, BatchSize],
    averaging: Weight | None = None,
    **options: Any,
) -> Algorithm:
    """Two solvers and an outer step, both levels warm but where said."""
    shown = None if averaging is None else averaged(as_weight("averaging", averaging))
    return Algorithm(
        Implicit(
            inner,
            adjoint,
            outer_batch_size=rows["outer"],
            cross_batch_size=rows["cross"],
            **options,
        ),
        as_outer(outer_step_size, "outer_step_size"),
        output=shown,
    )
