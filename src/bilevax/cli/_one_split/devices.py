"""The devices that the rows of a run are spread over."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from ..._rows.shards import shard_rows
from .._errors import UnusableError


def spread_over(devices: int | None) -> Callable[[Any], Any]:
    """What puts rows on the first so many devices; on one they stay as they are."""
    there = jax.devices()
    if devices is None or devices == 1:
        return lambda rows: rows
    if devices > len(there):
        raise UnusableError(_TOO_FEW.format(devices, len(there), there[0].device_kind))
    mesh = Mesh(np.asarray(there[:devices]), "rows", axis_types=(AxisType.Auto,))
    return lambda rows: shard_rows(rows, mesh)


_TOO_FEW = (
    "--devices {0} asks for more devices than there are, {1} of kind {2}, which bilevax info "
    "lists. XLA_FLAGS=--xla_force_host_platform_device_count={0} makes as many of a processor."
)
