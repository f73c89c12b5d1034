"""What a run on folds came to: the record, the verdict, the table."""

import dataclasses
from typing import Any

import numpy as np

from ..._core.versions import versions
from ...sklearn import _usual as usual
from .._numbers import finite
from .._outcome import ALL_STEPS, OUT_OF_TIME, Outcome, asked
from .._scores import better, or_dash, paired, score, score_name, score_word
from .._settings import Settings
from .._tables import Table
from .baseline import Baseline
from .fitted import FAMILIES, TUNED, Fitted
from .pictures import pictures, words


def outcome(
    settings: Settings, table: Table, fitted: Fitted, baseline: Baseline | None, why: str
) -> Outcome:
    """In all forms. `why`: the reason where there is no baseline."""
    model = fitted.model(table)
    ours, theirs = _on_test(table, fitted, model, baseline)
    result = _result(settings, table, fitted, baseline, ours, theirs)
    return Outcome(
        result,
        _verdict(result, why),
        _rows_of_scores(result),
        _about(result),
        _facts(result),
        model,
        _hyperparameters(table, fitted),
        fitted.history(),
        pictures(fitted, table, model),
        words(fitted, table),
    )


def _on_test(table: Table, fitted: Fitted, model, baseline):
    """Scores of the test rows, ours and the baseline's."""
    features, _ = table.test
    ours = model.scores(features)
    if baseline is None:
        return ours, None
    rows, found = fitted.pool.scaled(features), baseline.fitted
    if not table.class_names:
        return ours, found.predict(rows)[:, None]
    return ours, usual.one_column_a_class(found.decision_function(rows))


def _losses(scores: np.ndarray, targets: np.ndarray, classes: bool) -> np.ndarray:
    """Of every row: the log loss in nats, or half the squared error."""
    return usual.log_losses(scores, targets) if classes else (scores[:, 0] - targets) ** 2 / 2


def _result(settings, table, fitted, baseline, ours, theirs) -> dict[str, Any]:
    """The content of `result.json`; docs/tune.md documents its keys."""
    estimator, classes = fitted.estimator, bool(table.class_names)
    targets, kind = table.test[1], "accuracy" if classes else "r2"
    losses = _losses(ours, targets, classes)
    found = {
        "validation_loss": finite(fitted.validation_loss),
        "test_loss": finite(losses.mean()),
        f"test_{kind}": finite(score(ours, targets, classes)),
    }
    theirs_found, test_gain = None, None
    if baseline is not None:
        others = _losses(theirs, targets, classes)
        theirs_found = {
            "validation_loss": finite(baseline.validation_loss),
            "test_loss": finite(others.mean()),
            f"test_{kind}": finite(score(theirs, targets, classes)),
            "penalty": baseline.penalty,
            "grid": len(fitted.grid[0]),
            "seconds": round(baseline.seconds, 3),
        }
        difference, interval = paired(losses, others)
        test_gain = {"difference": finite(difference), "interval": [*map(finite, interval)]}
    gain = estimator.gain_
    return {
        **asked(settings, table),
        "folds": 1 if fitted.pool.is_split else len(fitted.pool.folds),
        "family": estimator.family_,
        "hyperparameters": 1 if estimator.family_ == "shared" else len(table.feature_names),
        "shared_penalty": float(estimator.shared_penalty_),
        "gain": {
            "difference": finite(fitted.unit * gain.difference),
            "interval": [finite(fitted.unit * end) for end in gain.interval],
            "sentence": gain.sentence,
        },
        "steps": fitted.step,
        "finished": not fitted.keeper.ended_early,
        "failed": False,
        "ended_because": OUT_OF_TIME if fitted.keeper.ended_early else ALL_STEPS,
        **found,
        "judged_loss": None if fitted.judged_loss is None else finite(fitted.judged_loss),
        "test_gain": test_gain,
        "seconds": round(sum(fitted.keeper.seconds.values()), 3),
        "baseline": theirs_found,
        "winner": _winner(found, theirs_found),
        "settings": dataclasses.asdict(settings),
        "versions": versions(),
    }


def _winner(ours: dict[str, Any], theirs: dict[str, Any] | None) -> dict[str, str] | None:
    """Who is better by each score of test rows: "bilevax", "baseline" or "neither"."""
    if theirs is None:
        return None
    names = [name for name in ours if name.startswith("test")]
    return {name: better(name, ours[name], theirs[name]) for name in names}


def _verdict(result: dict[str, Any], why: str) -> str:
    """What was gained, in plain words, and what test rows say of it."""
    sentences = [result["gain"]["sentence"]]
    if result["family"] == "shared":
        sentences.append("The shared model is what is saved.")
    else:
        sentences.append(f"What is saved has {FAMILIES[result['family']]}.")
    sentences.append(why if result["baseline"] is None else _against(result))
    if not result["finished"]:
        sentences.append("The time given was over before all families were tried.")
    return " ".join(sentences)


def _against(result: dict[str, Any]) -> str:
    """Ours beside scikit-learn's, on test rows."""
    theirs, kind, name = result["baseline"], score_name(result), score_word(result)
    pairs = [
        (word, or_dash(result[key]), or_dash(theirs[key]))
        for word, key in (("loss", "test_loss"), (name, f"test_{kind}"))
    ]
    low, high = result["test_gain"]["interval"]
    if all(ours == other for _, ours, other in pairs):
        values = " and ".join(f"the {word}, {ours}" for word, ours, _ in pairs)
        return f"On test rows it has scikit-learn's scores: {values}."
    values = ", ".join(f"the {word} {ours} against {other}" for word, ours, other in pairs)
    if low is None or high is None or low <= 0 <= high:
        chance = "; the losses are the same within chance"
    else:
        chance = "; the loss is {} beyond chance".format("lower" if high < 0 else "higher")
    return f"On test rows, beside scikit-learn, it has {values}{chance}."


def _rows_of_scores(result: dict[str, Any]) -> list[list[str]]:
    """The table of scores, ours beside the baseline's; the first row is its head."""
    theirs, kind = result["baseline"] or {}, score_name(result)
    rows = [["", "bilevax", "scikit-learn"]]
    for key, label in (
        ("validation_loss", TUNED[result["folds"] == 1]),
        ("test_loss", "test loss"),
        (f"test_{kind}", f"test {score_word(result)}"),
    ):
        rows.append([label, or_dash(result[key]), or_dash(theirs.get(key))])
    seconds = f"{theirs['seconds']:.1f}" if theirs else "-"
    rows.append(["seconds", f"{result['seconds']:.1f}", seconds])
    rows.append(["penalties", f"{result['hyperparameters']:,}", "1" if theirs else "-"])
    return rows


def _about(result: dict[str, Any]) -> str:
    rows, folds = result["rows"], result["folds"]
    test = f"The {rows['test']:,} test rows had no part in anything before."
    how = (
        f"{folds} folds"
        if folds > 1
        else "one split into rows to train, to tune and to judge on"
    )
    pool = sum(num for part, num in rows.items() if part != "test")
    return (
        f"Penalties were found by {how} of {pool:,} rows, and the model was fitted to all of "
        f"these. {test} Beside it stands scikit-learn's own estimator with one penalty for "
        "all, chosen by the same folds and fitted to the same rows."
    )


def _facts(result: dict[str, Any]) -> dict[str, str]:
    rows = result["rows"]
    low, high = (or_dash(end) for end in result["gain"]["interval"])
    found = {
        f"rows to {', '.join(_USES[part] for part in rows)}": " / ".join(
            f"{num:,}" for num in rows.values()
        ),
        "features": f"{result['features']:,}",
        "family": f"{result['family']}: {FAMILIES[result['family']]}",
        "steps from the shared penalty": f"{result['steps']}",
        "best shared penalty": f"{result['shared_penalty']:.4g}",
        "gain on rows that took no part": or_dash(-(result["gain"]["difference"] or 0.0)),
        "difference, 95 %, approximately": f"{low} to {high}",
        "ended because": result["ended_because"],
        "seconds": f"{result['seconds']:.1f}",
    }
    if result["classes"]:
        return {"classes": f"{result['classes']}", **found}
    return found


_USES = {"train": "train", "validation": "tune and judge", "test": "test"}


def _hyperparameters(table: Table, fitted: Fitted) -> dict[str, Any]:
    """x = log P, and per unit of the mean loss, as docs/tune.md says."""
    penalties = fitted.estimator.penalties_
    return {
        "x": np.log(penalties),
        "penalty": penalties / len(fitted.pool.targets),
        "names": np.array(table.feature_names),
    }
