"""The command `bilevax`: for people who have data and no wish to read papers.

| command | what it does |
|---|---|
| `bilevax tune DATASET` | learns penalties and the model that goes with them |
| `bilevax predict FOLDER FILE` | applies a fitted model |
| `bilevax info` | versions, devices and known data sets |
| `bilevax reproduce PAPER` | remakes the figures of a paper |

Compiled programs are kept in the user's cache folder: `BILEVAX_CACHE` names another, or is
"off". Needs `pip install "bilevax[cli]"`.
"""

import importlib.util
import io
import sys

_NEEDED = (
    "typer",
    "rich",
    "matplotlib",
    "sklearn",
    "pandas",
    "filelock",
    "jinja2",
    "platformdirs",
)


def main() -> None:
    """Run the command line."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        sys.exit('The command bilevax needs `pip install "bilevax[cli]"`.')
    from ._app import app

    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
