"""Names for what arguments accept, where it needs nothing of ours.

At run time the second group is `Any`: these arguments are checked by hand, so that the
error names the remedy. What a solver or a sampler argument accepts stands with its class.
A function's own argument is left open, since users name it as they like: an index is an int
to them, though it may be an array.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Never

import numpy as np
from jaxtyping import Array, Int
from jaxtyping import Key as KeyOf

Numbers = Array | np.ndarray
Scalar = Numbers
Index = int | np.integer | Int[Array, ""]
Calls = int | Int[Array, ""]
Keys = KeyOf[Array, "keys"]

if TYPE_CHECKING:
    import numpy.typing as npt
    from jax.typing import ArrayLike as Returned
    from jaxtyping import PRNGKeyArray

    Key = PRNGKeyArray
    Function = Callable[..., Any]
    ArrayLike = npt.ArrayLike
    Number = float | np.floating | np.integer | Scalar
    Count = int | np.integer
    StepSize = Number | Callable[[Any], Returned] | None
    Weight = Number | Callable[[Any], Returned]
    NumSteps = Count | Callable[[Any], Count | Array]
    BlockSize = Count | Literal["auto"] | None
    Refused = Never
else:
    Key = Function = ArrayLike = Number = Count = StepSize = Weight = NumSteps = Any
    BlockSize = Refused = Any
