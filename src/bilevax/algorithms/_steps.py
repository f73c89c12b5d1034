"""Gradient descent as presets take it, its numbers checked under the presets' names."""

from .._core.types import NumSteps, StepSize
from .._rows.samplers import BatchSize
from ..solvers import Descent
from ..solvers._base import checked_num_steps
from ..solvers._directions import as_transformation


def descent(
    level: str, step_size: StepSize, num_steps: NumSteps, batch_size: BatchSize
) -> Descent:
    """Gradient descent on the level "inner" or "adjoint"."""
    return Descent(
        as_transformation(step_size, f"{level}_step_size"),
        checked_num_steps(num_steps, f"{level}_steps"),
        batch_size=batch_size,
    )
