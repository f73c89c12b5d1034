"""Files that are there whole or not at all."""

import contextlib
import os
import pathlib
import secrets
import stat

# How names of files begin and end that are not whole yet.
PART_START, PART_END = ".bilevax-", ".part"


def write(path: pathlib.Path, content: bytes) -> None:
    """Write a file so that a process killed meanwhile leaves the previous one.

    The content goes to a neighbouring file of a random name, which is made exclusively so
    that nobody's file is touched and no link followed; then to the disk; then it takes the
    name. The mode of a file that was there is kept.
    """
    part = path.with_name(PART_START + secrets.token_hex(8) + PART_END)
    part.touch(exist_ok=False)
    try:
        with open(part, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                part.chmod(stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def is_part(path: pathlib.Path) -> bool:
    """Whether a file is one that a killed process left unfinished."""
    return path.name.startswith(PART_START) and path.name.endswith(PART_END)


def _sync(folder: pathlib.Path) -> None:
    """Put the new name on the disk too, where folders can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
