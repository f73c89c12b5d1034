"""Sweeps that are killed at random moments, and one that is not; prints what each had kept.

    python killed_sweeps.py STORE KILLS

Each sweep is a process of its own, forked before JAX has begun any thread. Every other one
is let keep a run before its moment is drawn, so that all get further on any machine.
"""

import json
import os
import random
import signal
import sqlite3
import sys
import time

import joblib  # noqa: F401 - not while the first moment passes

import bilevax as bx

GRID = {"a": list(range(25)), "seed": list(range(4))}


def work(a, seed):
    time.sleep(0.004)
    if a % 10 == 9:
        raise ArithmeticError(f"{a} and {seed}")
    return {"sum": a + seed, "product": a * seed}


def swept(store) -> int:
    """The process of a sweep."""
    process = os.fork()
    if process == 0:
        bx.sweep(work, GRID, store=store, name="work")
        os._exit(0)
    return process


def num_kept(store) -> int:
    if not os.path.exists(store):
        return 0
    with sqlite3.connect(store) as connection:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        found = connection.execute("SELECT count(*) FROM runs") if tables else [(0,)]
        return next(iter(found))[0]


def main():
    store, kills = sys.argv[1], int(sys.argv[2])
    moments, kept = random.Random(0), []
    for kill in range(kills):
        before, process = num_kept(store), swept(store)
        while kill % 2 and num_kept(store) == before:
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.05))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        kept.append(num_kept(store))
    assert os.waitpid(swept(store), 0)[1] == 0
    print(json.dumps(kept))


if __name__ == "__main__":
    main()
