"""What a run came to: the record that is written, printed and reported."""

import dataclasses
from typing import Any

import numpy as np

from ..._core.cost import Cost
from ..._core.versions import versions
from .._numbers import finite
from .._outcome import asked
from .._scores import better
from .baseline import GRID, Baseline
from .tuned import Tuned

SCORES = ("validation_loss", "validation_score", "test_loss", "test_score")
_ORACLES = ("inner_gradient", "hvp", "cross", "outer_gradient", "total")
INTERRUPTED = "it was interrupted"


def summary(tuned: Tuned) -> dict[str, Any]:
    """The content of `result.json`; docs/tune.md documents its keys.

    All that depends on the clock is under keys named `seconds`.
    """
    settings, table = tuned.tuning.settings, tuned.tuning.table
    checkpoint, found = tuned.checkpoint, tuned.baseline
    last = {name: column[-1] for name, column in checkpoint.history.items()}
    score = "accuracy" if table.class_names else "r2"
    return {
        **asked(settings, table),
        "hyperparameters": tuned.log_penalties.size,
        "steps": checkpoint.step,
        "finished": checkpoint.finished,
        "failed": checkpoint.failed,
        "ended_because": checkpoint.ended or INTERRUPTED,
        **named(last, score),
        "hypergradient_norm": finite(last["gradient_norm"]),
        "seconds": round(checkpoint.seconds, 3),
        "cost": _counts(checkpoint.state.cost),
        "inner_step_size": float(np.asarray(checkpoint.state.step_size)),
        "baseline": None if found is None else _of_baseline(found, score),
        "winner": winner(last, found, score),
        "settings": dataclasses.asdict(settings),
        "versions": versions(),
    }


def _counts(cost: Cost) -> dict[str, Any]:
    """Oracle calls, and the rows they read."""
    calls, rows = ({n: getattr(c, n) for n in _ORACLES} for c in (cost, cost.rows))
    return calls | {"rows": rows}


def named(scores: dict[str, Any], score: str) -> dict[str, float | None]:
    """The four scores under the names of what they measure.

    >>> named(dict.fromkeys(SCORES, 1.0), "r2")["test_r2"]
    1.0
    """
    return {name.replace("score", score): finite(scores[name]) for name in SCORES}


def winner(last: dict[str, Any], found: Baseline | None, score: str) -> dict[str, str] | None:
    """Who is better by each score: "bilevax", "baseline" or "neither"."""
    if found is None:
        return None
    return {
        name.replace("score", score): better(name, float(last[name]), found.scores[name])
        for name in SCORES
    }


def _of_baseline(found: Baseline, score: str) -> dict[str, Any]:
    return {
        **named(found.scores, score),
        "penalty": found.penalty,
        "fits": found.fits,
        "grid": len(GRID),
        "seconds": round(found.seconds, 3),
    }


def facts(result: dict[str, Any]) -> dict[str, str]:
    """What is told of the run itself."""
    cost, rows = result["cost"], result["rows"]
    found = {
        "rows to train, validate, test": " / ".join(f"{n:,}" for n in rows.values()),
        "features": f"{result['features']:,}",
        "outer steps": f"{result['steps']:,}",
        "ended because": result["ended_because"],
        "seconds of training": f"{result['seconds']:.1f}",
        "oracle calls": f"{cost['total']:,}",
        "inner gradients": f"{cost['inner_gradient']:,}",
        "Hessian-vector products": f"{cost['hvp']:,}",
        "cross products": f"{cost['cross']:,}",
        "outer gradients": f"{cost['outer_gradient']:,}",
        "rows read": f"{cost['rows']['total']:,}",
        "last norm of the hypergradient": f"{result['hypergradient_norm']:.3g}",
        "inner step, 1 / measured smoothness": f"{result['inner_step_size']:.4g}",
    }
    if result["classes"]:
        return {"classes": f"{result['classes']}", **found}
    return found
