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
    from jaxtyping import PRNGKeyArray

    from ._algorithm import Algorithm
    from ._problem import AbstractProblem
    from ._sampling import AbstractSampler
    from ._transformation import AbstractDirection
    from .hypergradients import AbstractHypergradient
    from .solvers import AbstractIterativeSolver, AbstractSolver

    AnyAlgorithm = Algorithm
    Estimator = AbstractHypergradient
    IterativeSolver = AbstractIterativeSolver
    Key = PRNGKeyArray
    Problem = AbstractProblem
    Solver = AbstractSolver
    Function = Callable[..., Any]
    StepSize = float | Scalar | Callable[[Index], Scalar] | None
    Step = StepSize | optax.GradientTransformation | AbstractDirection
    Number = float | Scalar
    Count = int | np.integer
    NumSteps = int | Callable[[Index], Index]
    BatchSize = int | AbstractSampler | None
    BlockSize = int | str | None
else:
    AnyAlgorithm = Estimator = IterativeSolver = Key = Problem = Solver = Any
    Function = StepSize = Step = Number = Count = NumSteps = BatchSize = BlockSize = Any
