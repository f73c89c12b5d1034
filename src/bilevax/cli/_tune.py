"""One run of `bilevax tune`, from options to a folder of results."""

import json
import pathlib
import shlex
import sys
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ._baseline import Baseline, baseline
from ._call import Call
from ._checkpoint import ALL_STEPS, Checkpoint, load
from ._errors import FailedError, UnusableError
from ._folder import (
    CHECKPOINT,
    RESULT,
    SETTINGS,
    check_data,
    check_same,
    clear_parts,
    locked,
    prepare,
    saved_settings,
    write_json,
)
from ._session import Session, emit
from ._settings import Settings, check_dataset, resolved
from ._summary import summary
from ._tables import load as load_table
from ._task import build
from ._train import train
from ._tuned import Tuned
from ._tuning import Tuning
from ._verdict import rows_of_scores, verdict
from ._write import REPORT, write_results

SUCCESS, FAILED, INTERRUPTED = 0, 1, 130


def tune_dataset(given: dict[str, Any], call: Call) -> int:
    """Run it, and return the exit code."""
    settings, folder = _begin(given, call)
    saved = saved_settings(folder)
    check_same(folder, saved, settings)
    session = Session(settings, call)
    if call.resume and saved is None:
        session.say(f"There is no run in {folder} yet: starting it.")
    table = load_table(settings, None if call.data is None else str(call.data))
    check_data(folder, saved, table.fingerprint)
    tuning = Tuning(settings, table, build(settings, table), folder)
    prepare(folder)
    with locked(folder):
        # Since it was looked at, another run may have come and gone.
        saved = saved_settings(folder)
        check_same(folder, saved, settings)
        check_data(folder, saved, table.fingerprint)
        clear_parts(folder)
        checkpoint = Checkpoint(tuning.task.start, {})
        if saved is not None and (folder / CHECKPOINT).exists():
            checkpoint = _taken_up(tuning, call)
        write_json(folder / SETTINGS, tuning.record)
        return _run(tuning, checkpoint, session)


def _begin(given: dict[str, Any], call: Call) -> tuple[Settings, pathlib.Path]:
    """The settings and the folder."""
    folder = call.output
    if folder is None:
        if "dataset" not in given:
            raise UnusableError("Say which DATASET, or with --resume which --output folder.")
        check_dataset(given["dataset"])
        folder = pathlib.Path("results") / Settings(given["dataset"]).name
    saved = saved_settings(folder)
    if call.resume and saved is None and "dataset" not in given:
        raise UnusableError(_NOTHING_TO_RESUME.format(folder))
    settings = resolved(given, saved["settings"] if call.resume and saved else None)
    check_dataset(settings.dataset)
    return settings, folder


def _taken_up(tuning: Tuning, call: Call) -> Checkpoint:
    """Where the folder's run was left, or at its start where it has finished."""
    folder, settings = tuning.folder, tuning.settings
    start = tuning.task.start
    there = load(folder / CHECKPOINT, start)
    if call.resume and there.step > settings.steps:
        raise UnusableError(
            f"The run in {folder} has taken {there.step} steps already: --steps must be at "
            "least that. Nothing was changed."
        )
    if call.resume or there.step == 0:
        return there
    finished = there.ended == ALL_STEPS and (folder / RESULT).exists()
    if not finished or there.step > settings.steps or settings.seconds is not None:
        raise UnusableError(
            f"{folder} holds this run at step {there.step}: go on with --resume, or choose "
            "another folder with --output. Nothing was changed."
        )
    return Checkpoint(start, {})


def _run(tuning: Tuning, checkpoint: Checkpoint, session: Session) -> int:
    """Train from a checkpoint on, compare, write and print."""
    folder = tuning.folder
    with session.interruption:
        session.say(_opening(tuning, checkpoint))
        with session.following():
            checkpoint = train(tuning, checkpoint, session)
        if not checkpoint.history:
            # Nothing is worth keeping: other options shall find the folder free.
            for name in (CHECKPOINT, SETTINGS):
                (folder / name).unlink()
            raise FailedError(checkpoint.ended)
        tuned = Tuned(tuning, checkpoint, _baseline(tuning, session))
        result = summary(tuned)
        write_results(tuned, result)
    _close(result, folder / REPORT, session.call)
    if result["failed"]:
        print(f"Error: the run has not finished. {checkpoint.ended}", file=sys.stderr)
        return FAILED
    if session.interruption.wanted:
        command = f"bilevax tune --resume --output {shlex.quote(str(folder))}"
        session.say(f"Interrupted. Go on with: {command}")
        return INTERRUPTED
    return SUCCESS


def _baseline(tuning: Tuning, session: Session) -> Baseline | None:
    interruption = session.interruption
    if interruption.wanted or tuning.settings.baseline_seconds == 0:
        return None
    session.say("Fitting the baseline: one shared penalty from a grid of 10 ...")
    try:
        with interruption.released():
            found = baseline(tuning, lambda: interruption.wanted)
    except KeyboardInterrupt:
        return None
    return None if interruption.wanted or not found.fits else found


def _opening(tuning: Tuning, checkpoint: Checkpoint) -> str:
    settings, table = tuning.settings, tuning.table
    rows = ", ".join(f"{len(t):,} {name}" for name, (_, t) in table.parts.items())
    label = "" if table.label is None else f", label {table.label!r}"
    begun = f" Going on from step {checkpoint.step}." if checkpoint.step else ""
    return (
        f"{settings.name}: {rows} rows, {len(table.feature_names):,} features{label}. "
        f"Learning {settings.penalty} penalties by {settings.algorithm}; results in "
        f"{tuning.folder}.{begun}"
    )


def _close(result: dict[str, Any], report: pathlib.Path, call: Call) -> None:
    """Print the result."""
    if call.as_json:
        emit(json.dumps({"event": "result", **result}))
        return
    if call.quiet:
        return
    # Names and paths are no markup.
    console = Console(highlight=False, markup=False, emoji=False)
    head, *rows = rows_of_scores(result)
    table = RichTable(title=Text(f"{result['dataset']}, {result['model']} regression"))
    for name in head:
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(verdict(result))
    console.print(f"Report: {report}", soft_wrap=True)


_NOTHING_TO_RESUME = (
    "There is no run in {} to go on with: name the folder of an earlier one with --output, or "
    "say which DATASET to begin with."
)
