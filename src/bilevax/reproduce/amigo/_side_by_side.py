"""Runs side by side, a process and a thread each, so that their CPU seconds are their own."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import jax
import joblib

from ._learning import Job, Learned, learn

_log = logging.getLogger(__name__)
_Key = TypeVar("_Key")
# Each takes a gigabyte, and time from the others where all read memory at once.
_MOST = 4
_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def side_by_side(jobs: Mapping[_Key, Job], processes: int | None = None) -> dict[_Key, Learned]:
    """The run of each job, in so many processes: as many as there are cores, up to four.

    In a process of many threads a run is a little sooner ready, and has spent more CPU seconds:
    threads wait for each other.
    """
    count = min(joblib.cpu_count(), _MOST) if processes is None else processes
    parallel: Any = joblib.Parallel(count, return_as="generator_unordered")
    found = {}
    with _one_thread(), warnings.catch_warnings():
        # A process that has compiled much is replaced, and nothing is lost.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
        for key, run in parallel(joblib.delayed(_made)(*item) for item in jobs.items()):
            found[key] = run
            _log.info("%s: %d steps, %d of %d", jobs[key], run.last, len(found), len(jobs))
    return {key: found[key] for key in jobs}


def _made(key: _Key, job: Job) -> tuple[_Key, Learned]:
    with jax.enable_x64(False):
        return key, learn(job)


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
