"""A fitted model applied to a file."""

import os
import pathlib
import sys
from typing import Any

import pandas as pd

from .. import datasets
from .._core.files import write
from ._errors import UnusableError, unreadable
from ._folder import CHECKPOINT, saved_settings
from ._model import WEIGHTS, Model


def predict_file(folder: pathlib.Path, path: pathlib.Path, output: pathlib.Path | None) -> None:
    """Write one line a row of the file: its prediction, and the classes' probabilities."""
    model, settings = _fitted(folder)
    options = {"zero_based": settings["zero_based"]}
    try:
        features = datasets.load_features(path, model.feature_names, **options)
    except (OSError, ValueError) as error:
        raise unreadable(error) from error
    columns = model.predict(features)
    if model.failure:
        print(f"Warning: the run in {folder} failed. {model.failure}", file=sys.stderr)
    text = pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")
    if output is None:
        sys.stdout.write(text)
        return
    _write(output, path, text)


def _write(output: pathlib.Path, source: pathlib.Path, text: str) -> None:
    """Write the answer, whole or not at all where the place is an ordinary file."""
    try:
        if output.is_dir():
            raise UnusableError(f"{output} is a folder: --output names a CSV file.")
        if output.exists() and output.samefile(source):
            raise UnusableError(f"{output} is the file with the rows: choose another --output.")
        if output.exists() and not output.is_file():
            output.write_text(text)  # a pipe or a device
        else:
            write(pathlib.Path(os.path.realpath(output)), text.encode())
    except OSError as error:
        raise UnusableError(f"Cannot write {output} ({error.strerror}).") from error


def _fitted(folder: pathlib.Path) -> tuple[Model, dict[str, Any]]:
    """The model in a folder and its settings, or the reason why there is none."""
    if not os.path.isdir(folder):
        raise UnusableError(f"There is no folder {folder}.")
    saved = saved_settings(folder)
    if saved is None:
        raise UnusableError(f"{folder} has no run of `bilevax tune` in it.")
    if not (folder / WEIGHTS).exists():
        begun = "has not finished" if (folder / CHECKPOINT).exists() else "has only begun"
        raise UnusableError(
            f"The run in {folder} {begun}, so that there is no model yet: go on with "
            f"`bilevax tune --resume --output {folder}`."
        )
    return Model.load(folder / WEIGHTS), saved["settings"]
