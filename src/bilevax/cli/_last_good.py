"""What is kept of a run that fails."""

from typing import Any

import numpy as np

from .._minimize import Solution
from ._checkpoint import Checkpoint

# A run's losses have often grown for a while before its failure is noticed.
_MOST = 2.0


class LastGood:
    """The last record with a validation loss of at most twice the best one so far.

    The best counts from the loss of zero weights, where runs start. A run that was taken up
    falls back on where it was taken up.
    """

    def __init__(self, before: Checkpoint, loss_of_zero: float):
        losses = before.history.get("validation_loss", np.empty(0))
        self._best = float(np.min(losses[np.isfinite(losses)], initial=loss_of_zero))
        self._kept, self._good = before, len(losses) > 0 and self._is_good(losses[-1])

    def see(self, row: dict[str, Any], solution: Solution) -> None:
        """Look at a new record."""
        loss = float(row["validation_loss"])
        if np.isfinite(loss):
            self._best = min(self._best, loss)
        if row["step"] > 0 and self._is_good(loss):
            self._kept, self._good = Checkpoint(solution.state, solution.history), True

    def of(self, whole: Checkpoint) -> tuple[Checkpoint, str]:
        """A failed run cut off after its last good record, and a sentence that says so."""
        step = self._kept.step
        if not step:
            return Checkpoint(self._kept.state, {}), f"No model is kept: no record had {_RULE}."
        until = whole.history["step"] <= step
        history = {name: column[until] for name, column in whole.history.items()}
        words = f"the last record with {_RULE}"
        if not self._good:
            words = f"where the run was taken up, and no good one: no record since had {_RULE}"
        kept = Checkpoint(self._kept.state, history, whole.seconds)
        return kept, f"The model kept is that of step {step}, {words}."

    def _is_good(self, loss: float) -> bool:
        # NaN is not.
        return bool(loss <= _MOST * self._best)


_RULE = "a validation loss of at most twice the best one until then (zero weights count)"
