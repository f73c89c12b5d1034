"""What a run has finished, on the disk as JSON, for a later one of the same versions."""

import contextlib
import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

from .files import write
from .versions import versions

Read = TypeVar("Read")


def keep(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Write it, with the versions."""
    record = {"versions": versions()} | content
    write(path, (json.dumps(record, indent=1) + "\n").encode())


def kept(path: pathlib.Path, read: Callable[[Any], Read | None]) -> Read | None:
    """What `read` makes of it; `None` where it is of other versions, or cannot be read."""
    # A file that cannot be read is as good as none.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        record = json.loads(path.read_bytes())
        if record["versions"] == versions():
            return read(record)
    return None
