"""A results folder: whose it is, who writes in it, and its settings."""

import contextlib
import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from filelock import FileLock, Timeout

from .._core.files import PART_END, PART_START, is_part, write
from ._errors import UnusableError
from ._options import option
from ._settings import Settings, differences, from_saved

SETTINGS = "settings.json"
CHECKPOINT = "checkpoint.npz"
RESULT = "result.json"
# There while a run writes, or after one was killed; it means nothing unless it is locked.
LOCK = ".bilevax.lock"


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes out of the folder; a killed one lets go by itself."""
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UnusableError(
            f"Another run is writing in {folder}: wait for it, or choose another --output."
        ) from error
    try:
        yield
    finally:
        # Before it is let go, so that nobody's lock is removed; some systems forbid it.
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def write_json(path: pathlib.Path, content: Any) -> None:
    """A JSON file that people can read."""
    write(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: pathlib.Path) -> Any:
    """A JSON file of ours."""
    try:
        check_ordinary(path)
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableError(f"{path} could not be read ({error}).") from error


def check_ordinary(path: pathlib.Path) -> None:
    """Raises where there is a folder, or a pipe that would be waited for, in a file's place."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no ordinary file")


def saved_settings(folder: pathlib.Path) -> dict[str, Any] | None:
    """The settings of the run in a folder; None where no run has begun."""
    path = folder / SETTINGS
    try:
        if folder.exists() and not folder.is_dir():
            raise UnusableError(f"{folder} is a file: choose another folder with --output.")
        if not path.exists():
            return None
    except OSError as error:
        raise UnusableError(f"{folder} is no folder to use ({error.strerror}).") from error
    saved = read_json(path)
    known = {field.name for field in dataclasses.fields(Settings)}
    settings = saved.get("settings") if isinstance(saved, dict) else None
    if not isinstance(settings, dict) or settings.keys() != known or "data" not in saved:
        raise UnusableError(_FOREIGN.format(path, "was not written by this version of bilevax"))
    try:
        from_saved(settings)
    except UnusableError as error:
        raise UnusableError(_FOREIGN.format(path, f"is damaged ({error})")) from error
    if not isinstance(saved["data"], str):
        raise UnusableError(_FOREIGN.format(path, "is damaged (data must be text)"))
    return saved


_FOREIGN = "{} {}: choose another folder with --output, or delete that one."


def check_same(folder: pathlib.Path, saved: dict[str, Any] | None, wanted: Settings) -> None:
    """Raises where a folder holds another run than the one wanted."""
    if saved is None:
        return
    there, now = saved["settings"], dataclasses.asdict(wanted)
    different = differences(there, now)
    if different:
        listed = ", ".join(f"{option(n)} ({there[n]} there, {now[n]} now)" for n in different)
        raise UnusableError(
            f"{folder} holds a run with other settings: {listed}. Choose another folder "
            "with --output, or delete that one. Nothing was changed."
        )


def check_data(folder: pathlib.Path, saved: dict[str, Any] | None, fingerprint: str) -> None:
    """Raises where a folder holds a run on other data."""
    if saved is not None and saved["data"] != fingerprint:
        raise UnusableError(
            f"The data have changed since the run in {folder} began: choose another folder "
            "with --output. Nothing was changed."
        )


def prepare(folder: pathlib.Path) -> None:
    """Make the folder, and see that files can be written there and none are in the way."""
    with writing_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = [
            path.name for path in folder.iterdir() if not is_part(path) and path.name != LOCK
        ]
        if others and SETTINGS not in others:
            raise UnusableError(
                f"{folder} has files in it that are not of a run of bilevax ({others[0]}): "
                "choose another folder with --output. Nothing was changed."
            )
        make_writable(folder)


def make_writable(folder: pathlib.Path) -> None:
    """Make the folder, and try it with a file that is gone again."""
    with writing_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.NamedTemporaryFile(dir=folder, prefix=PART_START, suffix=PART_END).close()


def clear_parts(folder: pathlib.Path) -> None:
    """Remove what killed processes were writing in a folder that is locked."""
    for path in filter(is_part, folder.iterdir()):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_in(folder: pathlib.Path):
    """Says what to do where the folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise UnusableError(
            f"Cannot write in {folder} ({error.strerror or error}): choose another folder with "
            "--output."
        ) from error
