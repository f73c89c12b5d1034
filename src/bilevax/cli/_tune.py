"""One run of `bilevax tune`, from options to a folder of results."""

import dataclasses
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
    check_same,
    clear_parts,
    locked,
    prepare,
    saved_settings,
    write_json,
)
from ._interruption import Interruption
from ._live import Progress, emit
from ._result import summary
from ._settings import Settings, check_dataset, resolved
from ._tables import Table
from ._tables import load as load_table
from ._task import Task, build
from ._train import train
from ._verdict import rows_of_scores, verdict
from ._write import REPORT, write_results

SUCCESS, FAILED, INTERRUPTED = 0, 1, 130


def tune_dataset(given: dict[str, Any], call: Call) -> int:
    """Run it, and return the exit code."""
    settings, folder, saved = _begin(given, call)
    show = Progress(settings.steps, settings.seconds, quiet=call.quiet, as_json=call.as_json)
    if call.resume and saved is None:
        show.say(f"There is no run in {folder} yet: starting it.")
    table = load_table(settings, None if call.data is None else str(call.data))
    record = {"settings": dataclasses.asdict(settings), "data": table.fingerprint()}
    _check_data(folder, saved, record["data"])
    task = build(settings, table)
    prepare(folder)
    with locked(folder):
        # Since it was looked at, another run may have come and gone.
        saved = _saved_run(folder, settings)
        _check_data(folder, saved, record["data"])
        clear_parts(folder)
        checkpoint = _checkpoint(folder, saved, task, settings, call.resume)
        write_json(folder / SETTINGS, record)
        return _run(settings, folder, table, task, checkpoint, show, call.quiet, call.as_json)


def _run(settings, folder, table, task, checkpoint, show, quiet, as_json) -> int:
    """Train from a checkpoint on, compare, write and print."""
    with Interruption() as interruption:
        show.say(_opening(settings, table, checkpoint, folder))
        with show:
            path = folder / CHECKPOINT
            checkpoint = train(task, settings, checkpoint, path, show, interruption)
        if not checkpoint.history:
            # Nothing is worth keeping: other options shall find the folder free.
            for name in (CHECKPOINT, SETTINGS):
                (folder / name).unlink()
            raise FailedError(checkpoint.ended)
        found = _baseline(settings, table, task, interruption, show)
        result = summary(settings, table, checkpoint, found)
        write_results(folder, settings, table, task, checkpoint, found, result)
    _close(result, folder, quiet, as_json)
    if result["failed"]:
        print(f"Error: the run has not finished. {checkpoint.ended}", file=sys.stderr)
        return FAILED
    if interruption.wanted:
        command = f"bilevax tune --resume --output {shlex.quote(str(folder))}"
        show.say(f"Interrupted. Go on with: {command}")
        return INTERRUPTED
    return SUCCESS


def _begin(given: dict[str, Any], call: Call):
    """The settings, the folder, and what is saved in it."""
    output = call.output
    if output is None:
        if "dataset" not in given:
            raise UnusableError("Say which DATASET, or with --resume which --output folder.")
        check_dataset(given["dataset"])
        output = pathlib.Path("results") / Settings(given["dataset"]).name
    saved = saved_settings(output)
    if call.resume and saved is None and "dataset" not in given:
        raise UnusableError(_NOTHING_TO_RESUME.format(output))
    settings = resolved(given, saved["settings"] if call.resume and saved else None)
    check_dataset(settings.dataset)
    return settings, output, _saved_run(output, settings)


def _saved_run(folder: pathlib.Path, settings: Settings) -> dict[str, Any] | None:
    """What is saved in the folder, which must be this run."""
    saved = saved_settings(folder)
    if saved:
        check_same(folder, saved, dataclasses.asdict(settings))
    return saved


def _check_data(folder: pathlib.Path, saved: dict[str, Any] | None, fingerprint: str) -> None:
    if saved and saved["data"] != fingerprint:
        raise UnusableError(
            f"The data have changed since the run in {folder} began: choose another folder "
            "with --output. Nothing was changed."
        )


def _checkpoint(
    folder: pathlib.Path, saved: Any, task: Task, settings: Settings, resume: bool
) -> Checkpoint:
    """Where the run stands: at its start, or where the folder's run was left."""
    start, path = Checkpoint(task.start, {}), folder / CHECKPOINT
    if saved is None or not path.exists():
        return start
    there = load(path, task.start)
    if resume and there.step > settings.steps:
        raise UnusableError(
            f"The run in {folder} has taken {there.step} steps already: --steps must be at "
            "least that. Nothing was changed."
        )
    if resume or there.step == 0:
        return there
    finished = there.ended == ALL_STEPS and (folder / RESULT).exists()
    if not finished or there.step > settings.steps or settings.seconds is not None:
        raise UnusableError(
            f"{folder} holds this run at step {there.step}: go on with --resume, or choose "
            "another folder with --output. Nothing was changed."
        )
    return start


def _baseline(settings, table, task, interruption, show) -> Baseline | None:
    if interruption.wanted or settings.baseline_seconds == 0:
        return None
    show.say("Fitting the baseline: one shared penalty from a grid of 10 ...")
    try:
        with interruption.released():
            found = baseline(settings, table, task.scaling, lambda: interruption.wanted)
    except KeyboardInterrupt:
        return None
    return None if interruption.wanted else found


def _opening(settings: Settings, table: Table, checkpoint: Checkpoint, folder) -> str:
    rows = ", ".join(f"{len(t):,} {name}" for name, (_, t) in table.parts.items())
    begun = f" Going on from step {checkpoint.step}." if checkpoint.step else ""
    return (
        f"{settings.name}: {rows} rows, {len(table.feature_names):,} features{_label(table)}. "
        f"Learning {settings.penalty} penalties by {settings.algorithm}; results in "
        f"{folder}.{begun}"
    )


def _label(table: Table) -> str:
    return "" if table.label is None else f", label {table.label!r}"


def _close(result: dict[str, Any], folder: pathlib.Path, quiet: bool, as_json: bool) -> None:
    """Print the result."""
    if as_json:
        emit(json.dumps({"event": "result", **result}))
        return
    if quiet:
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
    console.print(f"Report: {folder / REPORT}", soft_wrap=True)


_NOTHING_TO_RESUME = (
    "There is no run in {} to go on with: name the folder of an earlier one with --output, or "
    "say which DATASET to begin with."
)
