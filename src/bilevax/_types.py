"""Names for what arguments accept.

At run time the first group is `Any`: these arguments are checked by hand, so that the
error names the remedy.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Int

Scalar = Array | np.ndarray
Index = int | np.integer | Int[Array, ""]

if TYPE_CHECKING:
    import optax

    from ._sampling import AbstractSampler
    from ._transformation import Optax, SteepestDescent

    Function = Callable[..., Any]
    StepSize = float | Scalar | Callable[[Index], Scalar]
    Step = StepSize | optax.GradientTransformation | SteepestDescent | Optax
    NumSteps = int | Callable[[Index], Index]
    BatchSize = int | AbstractSampler | None
else:
    Function = StepSize = Step = NumSteps = BatchSize = Any
