"""A run in one sentence and one table, for the terminal and the report alike."""

import math
from typing import Any

from .._scores import or_dash, score_name, score_word


def verdict(result: dict[str, Any]) -> str:
    """What learning the penalties bought, and where the baseline is better."""
    theirs = result["baseline"]
    sentences = ["There is no baseline to compare with: none was fitted."]
    if theirs is not None:
        sentences = [_on_validation(result), _on_test(result), _advice(result)]
        if theirs["fits"] < theirs["grid"]:
            sentences.append(
                f"But time allowed only {theirs['fits']} of the {theirs['grid']} fits of the "
                "baseline: a larger --baseline-seconds may find a better one."
            )
    if not result["finished"]:
        reason = result["ended_because"].removesuffix(".")
        # A failure is the first thing to know.
        place = 0 if result["failed"] else len(sentences)
        sentences.insert(place, f"The run has not finished: {reason}.")
    return " ".join(sentence for sentence in sentences if sentence)


def about(result: dict[str, Any]) -> str:
    """How the rows of the table came about."""
    rows, num = result["rows"], result["hyperparameters"]
    learned = "One penalty was" if num == 1 else f"{num:,} penalties were"
    return (
        f"Weights were fitted on {rows['train']:,} rows. {learned} learned so that the loss on "
        f"{rows['validation']:,} other rows is small. The {rows['test']:,} test rows had no "
        "part in either. The baseline is scikit-learn's model with one penalty for all, the "
        "best of a grid by the same validation loss."
    )


def _on_validation(result: dict[str, Any]) -> str:
    subject = {
        "per-feature": "One penalty per feature",
        "per-class": "One penalty per class",
        "shared": "The learned penalty",
    }[result["penalty"]]
    ours = or_dash(result["validation_loss"])
    theirs = or_dash(result["baseline"]["validation_loss"])
    winner = result["winner"]["validation_loss"]
    if winner == "neither" or ours == theirs:
        return f"{subject} has the baseline's validation loss, {ours}."
    if winner == "bilevax":
        return f"{subject} lowers the validation loss from {theirs} to {ours}."
    return (
        f"{subject} has a validation loss of {ours}, and the baseline's {theirs} is lower: "
        "more --steps may help."
    )


def _on_test(result: dict[str, Any]) -> str:
    score = score_name(result)
    key = f"test_{score}"
    ours, theirs = or_dash(result[key]), or_dash(result["baseline"][key])
    start = f"On test rows the {score_word(result)} is"
    if result[key] is None or result["baseline"][key] is None:
        return f"{start} not defined: their values do not vary."
    if result["winner"][key] == "neither" or ours == theirs:
        return f"{start} the same: {ours}."
    if within_chance(result):
        return f"{start} the same within chance: {ours} against {theirs}."
    word = "higher" if result["winner"][key] == "bilevax" else "lower"
    return f"{start} {word}: {ours} against the baseline's {theirs}."


def within_chance(result: dict[str, Any]) -> bool:
    """Whether the test accuracies differ by less than the standard error of one of them."""
    if score_name(result) != "accuracy":
        return False
    ours, theirs = result["test_accuracy"], result["baseline"]["test_accuracy"]
    error = math.sqrt(theirs * (1 - theirs) / result["rows"]["test"])
    return abs(ours - theirs) < error


def rows_of_scores(result: dict[str, Any]) -> list[list[str]]:
    """The table of scores, ours beside the baseline's; the first row is its head."""
    score, theirs = score_name(result), result["baseline"]
    rows = [["", "bilevax", "baseline"]]
    for part in ("validation", "test"):
        for key, name in (("loss", "loss"), (score, score_word(result))):
            rows.append(
                [
                    f"{part} {name}",
                    or_dash(result[f"{part}_{key}"]),
                    or_dash(theirs and theirs[f"{part}_{key}"]),
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
    fitted_to_chance = (
        winner["validation_loss"] == "bilevax"
        and winner[f"test_{score}"] == "baseline"
        and not within_chance(result)
        and result["hyperparameters"] > 1
    )
    if not fitted_to_chance:
        return ""
    return (
        f"{result['hyperparameters']:,} penalties can fit the chance of "
        f"{result['rows']['validation']:,} validation rows. More rows, fewer --steps or "
        "--penalty shared may serve test rows better."
    )
