"""A function over a grid of settings, on joblib."""

import itertools
import json
import os
import pickle
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._core.numbers import as_count
from .._core.result import Result
from .._core.types import Count
from .._core.versions import versions
from .store import Store, SweepRun

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Grid = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Any]]
else:
    Grid = Any


def sweep(
    function: Callable[..., Any],
    grid: Grid,
    *,
    store: str | os.PathLike[str] = "runs.db",
    jobs: Count = 1,
    name: str | None = None,
    retry: bool = False,
) -> list[SweepRun]:
    """Calls a function with each setting of a grid, and keeps what it returns in a file.

    A run that is in the store is not run again, so that a sweep that was killed goes on when it
    is called again, and may be called with a larger grid. Each run is written when it
    ends. Several processes may share a store.

    **Arguments:**

    - `function`: called with keyword arguments; it returns a `bx.Solution`, whose cost and
      result code are kept and whose last history row is its metrics, or a number or a dict of
      numbers. Where it raises, the reason is kept, and the sweep goes on.
    - `grid`: values by name, of which all combinations are run, or a list of settings. Values
      are numbers, texts, booleans, `None` and lists of them.
    - `store`: an SQLite file, made where there is none.
    - `jobs`: as `n_jobs` of joblib: processes, -1 for all cores. Inside
      `joblib.parallel_config` it is the backend there, such as Dask's or Ray's.
    - `name`: of the function in the store, its module and name by default. The store cannot
      see that a function has changed: give the new one another name.
    - `retry`: whether what has failed is run again.

    **Returns:** a list of runs, one for each setting, with `settings`, `status`, `reason`,
    `result`, `seed`, `seconds`, `cost` and `metrics`.

    >>> import bilevax as bx, pathlib, tempfile
    >>> store = pathlib.Path(tempfile.mkdtemp()) / "runs.db"
    >>> def square(a, seed): return {"square": a**2 + seed}
    >>> runs = bx.sweep(square, {"a": [2, 3], "seed": [0]}, store=store, name="square")
    >>> [(run.settings["a"], run.metrics) for run in runs]
    [(2, {'square': 4}), (3, {'square': 9})]
    """
    settings = [_as_text(one) for one in _settings(grid)]
    parallel, delayed = _joblib(jobs)
    name = _name_of(function) if name is None else name
    if jobs != 1:
        _check_picklable(function)
    kept = Store(os.fspath(store))
    kept.prepare()
    there = kept.runs(name)
    open_ = [s for s in dict.fromkeys(settings) if s not in there or _again(there[s], retry)]
    kept.forget(name, [s for s in open_ if s in there])
    with kept.kept_open():
        parallel(delayed(_run)(function, s, kept, name) for s in open_)
    there = kept.runs(name)
    return [there[s] for s in settings]


def _again(run: SweepRun, retry: bool) -> bool:
    return retry and run.status == "failed"


def _run(function: Callable[..., Any], text: str, store: Store, name: str) -> None:
    """One run, from its call to its row, unless another process has finished it meanwhile."""
    if store.has(name, text):
        return
    settings, began = json.loads(text), time.perf_counter()
    seed = settings.get("seed")
    run = SweepRun(
        settings, "done", "", "", seed if isinstance(seed, int) else None, 0.0, {}, {}
    )
    try:
        run = run._replace(**_told(function(**settings)))
    except Exception as error:
        run = run._replace(status="failed", reason=f"{type(error).__name__}: {error}")
    store.write(name, text, run._replace(seconds=time.perf_counter() - began), versions())


def _told(returned: Any) -> dict[str, Any]:
    """What is kept of what a function returned."""
    if all(hasattr(returned, part) for part in ("history", "result", "cost")):
        last = {name: column[-1] for name, column in returned.history.items() if len(column)}
        kinds = "inner_gradient", "hvp", "cross", "outer_gradient", "total"
        cost = {kind: int(getattr(returned.cost, kind)) for kind in kinds}
        return {"metrics": _numbers(last), "cost": cost, "result": Result[returned.result]}
    named = returned if isinstance(returned, Mapping) else {"value": returned}
    return {"metrics": _numbers(named)}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them."""
    plain = {}
    for name, value in metrics.items():
        is_array = isinstance(value, jax.Array | np.ndarray | np.generic)
        plain[str(name)] = np.asarray(value).tolist() if is_array else value
    json.dumps(plain)
    return plain


def _settings(grid: Grid) -> list[Any]:
    if not isinstance(grid, Mapping):
        return list(grid)
    combinations = itertools.product(*grid.values())
    return [dict(zip(grid, values, strict=True)) for values in combinations]


def _as_text(settings: Any) -> str:
    """Settings as the store knows them: the same text for the same settings."""
    named = isinstance(settings, Mapping) and all(isinstance(name, str) for name in settings)
    if not named:
        raise TypeError(f"A setting is a dict of keyword arguments, got {settings!r}.")
    plain = {n: v.item() if isinstance(v, np.generic) else v for n, v in settings.items()}
    try:
        return json.dumps(plain, sort_keys=True)
    except TypeError as error:
        error.add_note(
            "Settings are numbers, texts, booleans, None and lists of them; this one is "
            f"{plain}. Pass a name, and let the function make what it stands for."
        )
        raise


def _name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None)
    if name is None or "<lambda>" in name:
        raise ValueError("A function without a name of its own needs name=, for the store.")
    return f"{function.__module__}.{name}"


def _check_picklable(function: Any) -> None:
    import joblib

    try:
        pickle.dumps(joblib.wrap_non_picklable_objects(function))
    except Exception as error:
        raise TypeError(
            f"The function cannot be sent to other processes ({error}): let it make within "
            "what cannot be pickled, such as open files and locks, or pass jobs=1."
        ) from error


def _joblib(jobs: Count):
    if jobs != -1:
        as_count("jobs", jobs, remedy=", or -1 for all cores")
    try:
        import joblib
    except ImportError as error:
        raise ImportError("bx.sweep needs joblib: pip install 'bilevax[sweep]'.") from error
    return joblib.Parallel(n_jobs=jobs), joblib.delayed
