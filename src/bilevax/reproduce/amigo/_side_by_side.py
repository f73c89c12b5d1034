"""Runs side by side, a process and a thread each, so that their CPU seconds are their own."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import joblib

_log = logging.getLogger(__name__)
_Key = TypeVar("_Key")
_Result = TypeVar("_Result")
# Each takes a gigabyte, and time from the others where all read memory at once.
_MOST = 4
_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def side_by_side(
    tasks: Mapping[_Key, Callable[[], _Result]], processes: int | None = None
) -> dict[_Key, _Result]:
    """What each task returns, in so many processes: as many as there are cores, up to four.

    In a process of many threads a run is a little sooner ready, and has spent more CPU seconds:
    threads wait for each other. `bx.sweep` keeps numbers; here whole runs come back.
    """
    count = min(joblib.cpu_count(), _MOST) if processes is None else processes
    parallel: Any = joblib.Parallel(count, return_as="generator_unordered")
    found = {}
    with _one_thread(), warnings.catch_warnings():
        # A process that has compiled much is replaced, and nothing is lost.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
        for key, result in parallel(joblib.delayed(_done)(*item) for item in tasks.items()):
            found[key] = result
            _log.info("%s is done, %d of %d", key, len(found), len(tasks))
    return {key: found[key] for key in tasks}


def _done(key: _Key, task: Callable[[], _Result]) -> tuple[_Key, _Result]:
    # The context of the present process does not reach the others.
    with jax.enable_x64(False):
        return key, task()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """For the processes that are started: the present one has its threads already."""
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = " ".join(filter(None, (before, _ONE_THREAD)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["XLA_FLAGS"]
        else:
            os.environ["XLA_FLAGS"] = before
