"""Finished runs in one SQLite file, which many processes may write."""

import contextlib
import json
import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

# Written into the file's header, by which it is told from others.
_OURS, _VERSION = 0x62785357, 1
# How long a process waits for the others to have written.
_PATIENCE = 60.0
_COLUMNS = ("settings", "status", "reason", "result", "seed", "seconds", "cost", "metrics")
_TABLE = """
CREATE TABLE runs (
    name TEXT NOT NULL, settings TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    result TEXT NOT NULL, seed INTEGER, seconds REAL NOT NULL, cost TEXT NOT NULL,
    metrics TEXT NOT NULL, versions TEXT NOT NULL, PRIMARY KEY (name, settings)
) WITHOUT ROWID
"""


class SweepRun(NamedTuple):
    """A run of a sweep.

    - `settings`: the keyword arguments;
    - `status`: "done" or "failed"; `reason`: the exception of a failed one;
    - `result`: what `bx.Result` says of a solution, "" where all was well;
    - `seed`: the setting of that name, where there is one;
    - `seconds`: how long it took;
    - `cost`: the oracle calls of a solution; `metrics`: the numbers that were returned.
    """

    settings: dict[str, Any]
    status: str
    reason: str
    result: str
    seed: int | None
    seconds: float
    cost: dict[str, int]
    metrics: dict[str, Any]


class Store(NamedTuple):
    """The file. It is opened for each reading and writing, so that any process can."""

    path: str

    def prepare(self) -> None:
        """Make the table in a new file; raise where the file is not one of these."""
        pathlib.Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            (ours,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not ours and not tables:
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA application_id = {_OURS}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif ours != _OURS:
                raise ValueError(_NOT_OURS.format(self.path))
            elif version != _VERSION:
                raise ValueError(_OTHER_VERSION.format(self.path, version, _VERSION))

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """Within, others open and close the file without waiting for the disk.

        What is written goes to a log beside the file (`-wal`), which a killed process leaves as
        it is and which is read with the file. Who closes last puts it into the file.
        """
        with contextlib.closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as connection:
            # Another process may be at it; without the log all goes on, but slower.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
                # A connection holds the log once it has read.
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield

    def runs(self, name: str) -> dict[str, SweepRun]:
        """All runs of a function, by their settings as text."""
        select = f"SELECT {', '.join(_COLUMNS)} FROM runs WHERE name = ?"
        with self._connection() as connection:
            rows = connection.execute(select, (name,)).fetchall()
        return {row[0]: _read(row) for row in rows}

    def has(self, name: str, settings: str) -> bool:
        """Whether a run is there."""
        select = "SELECT count(*) FROM runs WHERE name = ? AND settings = ?"
        with self._connection() as connection:
            return bool(connection.execute(select, (name, settings)).fetchone()[0])

    def forget(self, name: str, failed: list[str]) -> None:
        """Remove failed runs, so that they can be run again."""
        delete = "DELETE FROM runs WHERE name = ? AND settings = ? AND status = 'failed'"
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(delete, [(name, settings) for settings in failed])

    def write(self, name: str, settings: str, run: SweepRun, versions: dict[str, str]) -> None:
        """Keep a run, unless it is there."""
        texts = {"settings": settings, "cost": _text(run.cost), "metrics": _text(run.metrics)}
        row = run._asdict() | texts | {"name": name, "versions": _text(versions)}
        names, places = ", ".join(row), ", ".join(f":{column}" for column in row)
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"INSERT OR IGNORE INTO runs ({names}) VALUES ({places})", row)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Within a transaction, which is whole or not there."""
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        try:
            # Waiting for the disk takes longer than all else; a killed process harms nothing.
            connection.execute("PRAGMA synchronous = NORMAL")
            yield connection
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            error.add_note(f"This happened with the store {self.path}. {_REASONS}")
            raise
        except sqlite3.DatabaseError as error:
            raise ValueError(_NOT_OURS.format(self.path)) from error
        finally:
            connection.close()


def _read(row: tuple[Any, ...]) -> SweepRun:
    run = SweepRun(*row)
    parts = {name: json.loads(getattr(run, name)) for name in ("settings", "cost", "metrics")}
    return run._replace(**parts)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


_REASONS = (
    "Its disk may be full, or another program may have locked it for too long. What was "
    "written before is kept: called again, the sweep runs what is missing."
)
_NOT_OURS = "{} is no store of bx.sweep: pass the name of one, or of a new file."
_OTHER_VERSION = (
    "{} is a store of version {}, and this is version {}: read it with the bilevax that made "
    "it, or begin a new file."
)
