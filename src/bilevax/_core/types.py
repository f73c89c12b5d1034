"""Names for what arguments accept, where it needs nothing of ours.

At run time the second group is `Any`: these arguments are checked by hand, so that the
error names the remedy. What a solver or a sampler argument accepts stands with its class.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Int

Scalar = Array | np.ndarray
Index = int | np.integer | Int[Array, ""]

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    Key = PRNGKeyArray
    Function = Callable[..., Any]
    StepSize = float | Scalar | Callable[[Index], Scalar] | None
    Number = float | Scalar
    Count = int | np.integer
    NumSteps = int | Callable[[Index], Index]
    BlockSize = int | str | None
else:
    Key = Function = StepSize = Number = Count = NumSteps = BlockSize = Any
