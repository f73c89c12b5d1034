"""A run in one sentence and one table, for the terminal and the report alike."""

import math
from typing import Any


def verdict(result: dict[str, Any]) -> str:
    """What learning the penalties bought, and where the baseline is better."""
    theirs, winner = result["baseline"], result["winner"]
    ending = "" if result["finished"] else f" The run has not finished: {_because(result)}"
    if theirs and theirs["fits"] < theirs["grid"]:
        ending += (
            f" But time allowed only {theirs['fits']} of the {theirs['grid']} fits of the "
            "baseline: a larger --baseline-seconds may find a better one."
        )
    if theirs is None:
        return f"There is no baseline to compare with: none was fitted.{ending}"
    score = score_name(result)
    ours_loss, their_loss = result["validation_loss"], theirs["validation_loss"]
    comparison = {
        "bilevax": f"lowers the validation loss from {their_loss:.4f} to {ours_loss:.4f}",
        "baseline": (
            f"has a validation loss of {ours_loss:.4f}, and the baseline's {their_loss:.4f} is "
            "lower: more --steps may help"
        ),
        "neither": f"has the baseline's validation loss, {ours_loss:.4f}",
    }[winner["validation_loss"]]
    subject = {
        "per-feature": "One penalty per feature",
        "per-class": "One penalty per class",
        "shared": "The learned penalty",
    }[result["penalty"]]
    ours, theirs_test = result[f"test_{score}"], theirs[f"test_{score}"]
    if within_chance(result):
        on_test = f"is the same within chance: {ours:.4f} against {theirs_test:.4f}."
        return f"{subject} {comparison}. On test rows the {_word(score)} {on_test}{ending}"
    on_test = {
        "bilevax": f"is higher: {ours:.4f} against {theirs_test:.4f}.",
        "neither": f"is the same: {ours:.4f}.",
        "baseline": f"is lower: {ours:.4f} against the baseline's {theirs_test:.4f}.",
    }[winner[f"test_{score}"]]
    test = f"On test rows the {_word(score)} {on_test}{_advice(result)}"
    return f"{subject} {comparison}. {test}{ending}"


def within_chance(result: dict[str, Any]) -> bool:
    """Whether the test accuracies differ by less than the standard error of one of them."""
    if score_name(result) != "accuracy":
        return False
    ours, theirs = result["test_accuracy"], result["baseline"]["test_accuracy"]
    error = math.sqrt(theirs * (1 - theirs) / result["rows"]["test"])
    return 0 < abs(ours - theirs) < error


def score_name(result: dict[str, Any]) -> str:
    """The key of the score: "accuracy" or "r2"."""
    return "accuracy" if "test_accuracy" in result else "r2"


def rows_of_scores(result: dict[str, Any]) -> list[list[str]]:
    """The table of scores, ours beside the baseline's; the first row is its head."""
    score, theirs = score_name(result), result["baseline"]
    rows = [["", "bilevax", "baseline"]]
    for part in ("validation", "test"):
        for key, name in (("loss", "loss"), (score, _word(score))):
            rows.append(
                [
                    f"{part} {name}",
                    _number(result[f"{part}_{key}"]),
                    _number(theirs and theirs[f"{part}_{key}"]),
                ]
            )
    seconds = lambda found: "-" if found is None else f"{found['seconds']:.1f}"
    rows.append(["seconds", seconds(result), seconds(theirs)])
    rows.append(["penalties", f"{result['hyperparameters']:,}", "1"])
    if theirs and theirs["fits"] < theirs["grid"]:
        rows.append(["grid points fitted in time", "", f"{theirs['fits']} of {theirs['grid']}"])
    return rows


def _advice(result: dict[str, Any]) -> str:
    """What to try where validation got better and test did not."""
    winner, score = result["winner"], score_name(result)
    fitted_to_noise = (
        winner["validation_loss"] == "bilevax" and winner[f"test_{score}"] == "baseline"
    )
    if not fitted_to_noise or result["hyperparameters"] == 1:
        return ""
    return (
        f" {result['hyperparameters']:,} penalties can fit the chance of "
        f"{result['rows']['validation']:,} validation rows. More rows, fewer --steps or "
        "--penalty shared may serve test rows better."
    )


def _because(result: dict[str, Any]) -> str:
    reason = result["ended_because"]
    return reason if reason.endswith(".") else f"{reason}."


def _word(score: str) -> str:
    return {"accuracy": "accuracy", "r2": "R²"}[score]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
