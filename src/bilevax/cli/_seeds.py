"""The same run with several seeds: how much of a result is chance."""

import dataclasses
import json
import math
import os
import pathlib
import statistics
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from .._sweep.store import SweepRun
from .._sweep.sweep import sweep
from ._cache import keep_programs
from ._call import Call
from ._errors import FailedError, UnusableError
from ._folder import RESULT, make_writable, read_json
from ._numbers import number
from ._session import emit
from ._settings import Settings, check_dataset, resolved
from ._tune import FAILED, INTERRUPTED, SUCCESS, tune_dataset

STORE = "runs.db"


def tune_seeds(given: dict[str, Any], call: Call) -> int:
    """Run them, `call.jobs` at a time, and return the exit code."""
    if call.resume:
        raise UnusableError(
            "--seeds goes on by itself: leave --resume out, and give the same command."
        )
    settings = resolved(given, None)
    check_dataset(settings.dataset)
    folder = call.output or pathlib.Path("results") / settings.name
    make_writable(folder)
    shared = {name: value for name, value in given.items() if name != "seed"}
    common = {
        "given": json.dumps(shared | {"dataset": settings.dataset}, sort_keys=True),
        "written": _written(settings),
        "output": os.path.realpath(folder),
        "data": None if call.data is None else os.fspath(call.data),
    }
    seeds = range(settings.seed, settings.seed + (call.seeds or 1))
    runs = sweep(
        run_of_seed,
        [common | {"seed": seed} for seed in seeds],
        store=folder / STORE,
        jobs=call.jobs or 1,
        name="bilevax tune",
        retry=True,
    )
    _show(settings, runs, call)
    return FAILED if any(run.status == "failed" for run in runs) else SUCCESS


def run_of_seed(
    *, given: str, written: str, output: str, data: str | None, seed: int
) -> dict[str, Any]:
    """One of them, in a folder of its own; the numbers of its `result.json`."""
    del written  # by which runs on files that have changed are told apart
    keep_programs()
    folder = pathlib.Path(output) / f"seed_{seed}"
    place = None if data is None else pathlib.Path(data)
    # What was begun and not finished goes on.
    call = Call(output=folder, resume=True, data=place, quiet=True)
    code = tune_dataset(json.loads(given) | {"seed": seed}, call)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    result = read_json(folder / RESULT)
    if code != SUCCESS:
        raise FailedError(result["ended_because"])
    own = {name: value for name, value in result.items() if _is_number(value)}
    beside = (result.get("baseline") or {}).items()
    return own | {f"baseline_{name}": value for name, value in beside if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _written(settings: Settings) -> str:
    """When the files were written last that the run reads."""
    paths = [settings.dataset, settings.valid, settings.test]
    there = [path for path in paths if path is not None and os.path.isfile(path)]
    return " ".join(str(os.stat(path).st_mtime_ns) for path in there)


def _show(settings: Settings, runs: list[SweepRun], call: Call) -> None:
    """Each run, and over all of them the mean and the standard deviation."""
    if call.as_json:
        for run in runs:
            told = {"seed": run.seed, "status": run.status, "reason": run.reason}
            emit(json.dumps({"event": "run", **told, **run.metrics}))
        emit(json.dumps({"event": "result", **dataclasses.asdict(settings), **_spread(runs)}))
        return
    if call.quiet:
        return
    names = [name for name in _SHOWN if any(name in run.metrics for run in runs)]
    table = RichTable(title=Text(f"{settings.name}, {settings.model} regression"))
    for name in ("seed", *(_SHOWN[name] for name in names)):
        table.add_column(name, justify="right")
    for run in runs:
        cells = [_cell(run.metrics.get(name)) for name in names]
        table.add_row(str(run.seed), *cells)
    spread = _spread(runs)
    for word in ("mean", "sd"):
        table.add_row(word, *(_cell(spread[word].get(name)) for name in names))
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    for run in runs:
        if run.status == "failed":
            console.print(f"seed {run.seed} has failed: {run.reason}")


def _spread(runs: list[SweepRun]) -> dict[str, dict[str, float]]:
    done = [run.metrics for run in runs if run.status == "done"]
    names = [name for name in _SHOWN if done and all(name in metrics for metrics in done)]
    columns = {name: [metrics[name] for metrics in done] for name in names}
    sd = lambda column: statistics.stdev(column) if len(column) > 1 else math.nan
    return {
        "mean": {name: statistics.fmean(column) for name, column in columns.items()},
        "sd": {name: sd(column) for name, column in columns.items()},
    }


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else number(value)


_SHOWN = {
    "validation_loss": "validation loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "test_r2": "test R²",
    "baseline_test_loss": "scikit-learn's test loss",
}
