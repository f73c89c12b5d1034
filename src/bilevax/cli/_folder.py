"""A results folder: whose it is, and files that are there whole or not at all."""

import contextlib
import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from ._errors import UnusableError
from ._settings import Settings, differences, option

SETTINGS = "settings.json"
CHECKPOINT = "checkpoint.npz"
RESULT = "result.json"
_PART = ".part"


def write(path: pathlib.Path, content: bytes) -> None:
    """Write a file so that a process killed meanwhile leaves the previous one.

    The content goes to a neighbouring file, to the disk, and then takes the name.
    """
    part = path.with_name(path.name + _PART)
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: pathlib.Path) -> None:
    """Put the new name on the disk too, where folders can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes out of the folder; a killed one lets go by itself."""
    try:
        import fcntl
    except ImportError:  # not there on every system
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UnusableError(
            f"Another run is writing in {folder}: wait for it, or choose another --output."
        ) from error
    else:
        yield
    finally:
        os.close(handle)


def write_json(path: pathlib.Path, content: Any) -> None:
    """A JSON file that people can read."""
    write(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """A JSON file of ours."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UnusableError(f"{path} could not be read ({error}).") from error


def saved_settings(folder: pathlib.Path) -> dict[str, Any] | None:
    """The settings of the run in a folder; None where no run has begun."""
    if folder.exists() and not folder.is_dir():
        raise UnusableError(f"{folder} is a file: choose another folder with --output.")
    if not (folder / SETTINGS).exists():
        return None
    saved = read_json(folder / SETTINGS)
    known = {field.name for field in dataclasses.fields(Settings)}
    settings = saved.get("settings") if isinstance(saved, dict) else None
    if not isinstance(settings, dict) or settings.keys() != known or "data" not in saved:
        raise UnusableError(
            f"{folder / SETTINGS} was not written by this version of bilevax: choose another "
            "folder with --output, or delete that one."
        )
    return saved


def check_same(folder: pathlib.Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises where a folder holds another run than the one wanted."""
    different = differences(saved["settings"], wanted)
    if different:
        listed = ", ".join(
            f"{option(n)} ({saved['settings'].get(n)} there, {wanted.get(n)} now)"
            for n in different
        )
        raise UnusableError(
            f"{folder} holds a run with other settings: {listed}. Choose another folder "
            "with --output, or delete that one. Nothing was changed."
        )


def prepare(folder: pathlib.Path) -> None:
    """Make the folder, and see that files can be written there and none are in the way."""
    with writing_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = [p.name for p in folder.iterdir() if not p.name.endswith(_PART)]
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
        tempfile.NamedTemporaryFile(dir=folder, suffix=_PART).close()


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
