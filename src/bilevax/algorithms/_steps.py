"""Gradient descent as presets take it, its numbers checked under the presets' names."""

from .._sampling import BatchSize
from .._transformation import as_transformation
from .._types import NumSteps, StepSize
from ..solvers import Descent
from ..solvers._base import checked_num_steps


def descent(
    level: str, step_size: StepSize, num_steps: NumSteps, batch_size: BatchSize
) -> Descent:
    """Gradient descent on the level "inner" or "adjoint"."""
    return Descent(
        as_transformation(step_size, f"{level}_step_size"),
        checked_num_steps(num_steps, f"{level}_steps"),
        batch_size=batch_size,
    )
