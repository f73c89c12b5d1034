"""Versions, devices and known data sets."""

import pathlib
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from .._core.versions import versions
from ..datasets import available


def show_info(data_home: pathlib.Path | None) -> None:
    """Print them."""
    console = Console(highlight=False)
    found = Table(title="versions", show_header=False)
    for name, version in versions().items():
        found.add_row(name, version)
    console.print(found)
    devices = Table(
        "device", "platform", "kind", "process", title=f"devices: {jax.device_count()}"
    )
    for device in jax.devices():
        devices.add_row(str(device), device.platform, device.device_kind, _process(device))
    console.print(devices)
    sets = Table("data set", "rows", "features", "classes", "where", title="data sets")
    for name, (rows, features, classes, where) in available(data_home).items():
        sets.add_row(name, rows, features, classes, where)
    console.print(sets)


def _process(device: Any) -> str:
    return f"{device.process_index + 1} of {jax.process_count()}"
