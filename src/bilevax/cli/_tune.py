"""One run of `bilevax tune`, from options to a folder of results."""

import json
import pathlib
import shlex
import sys
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from .._core.kept import programs_kept
from ._call import Call
from ._errors import UnusableError
from ._folder import (
    SETTINGS,
    check_data,
    check_same,
    clear_parts,
    locked,
    prepare,
    saved_settings,
    write_json,
)
from ._job import Job
from ._outcome import Outcome
from ._session import Session, emit
from ._settings import Settings, check_dataset, resolved
from ._tables import load as load_table
from ._write import REPORT, write_results

SUCCESS, FAILED, INTERRUPTED = 0, 1, 130


def tune_dataset(given: dict[str, Any], call: Call) -> int:
    """Run it, and return the exit code."""
    with programs_kept():
        return _tune(given, call)


def _tune(given: dict[str, Any], call: Call) -> int:
    settings, folder = _begin(given, call)
    saved = saved_settings(folder)
    check_same(folder, saved, settings)
    session = Session(settings, call)
    if call.resume and saved is None:
        session.say(f"There is no run in {folder} yet: starting it.")
    table = load_table(settings, None if call.data is None else str(call.data))
    check_data(folder, saved, table.fingerprint)
    job = _kind(settings)(settings, table, folder)
    prepare(folder)
    with locked(folder):
        # Since it was looked at, another run may have come and gone.
        saved = saved_settings(folder)
        check_same(folder, saved, settings)
        check_data(folder, saved, table.fingerprint)
        clear_parts(folder)
        if saved is not None:
            job.take_up(call)
        write_json(folder / SETTINGS, job.record)
        return _run(job, session)


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


def _kind(settings: Settings) -> type[Job]:
    """How it is learned; only what that takes is imported."""
    if settings.algorithm is None:
        from ._adaptive.job import Adaptive

        return Adaptive
    from ._one_split.job import OneSplit

    return OneSplit


def _run(job: Job, session: Session) -> int:
    """Train from where it stands, compare, write and print."""
    with session.interruption:
        session.say(job.opening())
        with session.following():
            there_is_one = job.train(session)
        if there_is_one:
            outcome = job.outcome(session)
            write_results(job.folder, outcome)
    if there_is_one:
        _close(outcome, job.folder / REPORT, session.call)
        if outcome.result["failed"]:
            because = outcome.result["ended_because"]
            print(f"Error: the run has not finished. {because}", file=sys.stderr)
            return FAILED
    if session.interruption.wanted:
        command = f"bilevax tune --resume --output {shlex.quote(str(job.folder))}"
        session.say(f"Interrupted. Go on with: {command}")
        return INTERRUPTED
    return SUCCESS


def _close(outcome: Outcome, report: pathlib.Path, call: Call) -> None:
    """Print the result."""
    result = outcome.result
    if call.as_json:
        emit(json.dumps({"event": "result", **result}))
        return
    if call.quiet:
        return
    # Names and paths are no markup.
    console = Console(highlight=False, markup=False, emoji=False)
    head, *rows = outcome.scores
    table = RichTable(title=Text(f"{result['dataset']}, {result['model']} regression"))
    for name in head:
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(outcome.verdict)
    console.print(f"Report: {report}", soft_wrap=True)


_NOTHING_TO_RESUME = (
    "There is no run in {} to go on with: name the folder of an earlier one with --output, or "
    "say which DATASET to begin with."
)
