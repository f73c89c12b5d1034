"""What is kept of a run that fails."""

from typing import Any

import numpy as np

from ..._run.minimize import State
from .checkpoint import Checkpoint

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
        self._before, self._farthest = before, before.step
        self._began_well = len(losses) > 0 and self._is_good(losses[-1])
        self._kept: tuple[dict[str, Any], State] | None = None

    def see(self, row: dict[str, Any], state: State) -> None:
        """Look at a record."""
        loss = float(row["validation_loss"])
        if np.isfinite(loss):
            self._best = min(self._best, loss)
        if row["step"] > 0 and self._is_good(loss):
            self._kept = row, state
        self._farthest = max(self._farthest, int(row["step"]))

    def of(self, whole: Checkpoint, why: str) -> Checkpoint:
        """A failed run, cut off after its last good record; its `ended` says so."""
        kept, words = self._before, f"No model is kept: no record had {_RULE}."
        if self._kept is not None:
            row, state = self._kept
            until = whole.history["step"] < row["step"]
            history = {n: np.append(c[until], row[n]) for n, c in whole.history.items()}
            kept = Checkpoint(state, history)
        if kept.step:
            words = f"the last record with {_RULE}"
            if self._kept is None and not self._began_well:
                words = f"where it was taken up, and no good one: no record had {_RULE}"
            words = f"The model kept is that of step {kept.step}, {words}."
        ended = f"It failed after step {self._farthest}: {why.removesuffix('.')}. {words}"
        return Checkpoint(kept.state, kept.history, whole.seconds, ended)

    def _is_good(self, loss: float) -> bool:
        # NaN is not.
        return bool(loss <= _MOST * self._best)


_RULE = "a validation loss of at most twice the best one until then (zero weights count)"
