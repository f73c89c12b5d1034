"""How one call of `bilevax tune` goes."""

import dataclasses
import pathlib
from typing import Annotated

from ._options import Told


@dataclasses.dataclass(frozen=True)
class Call:
    """Where a call reads and writes, and what it says: nothing that decides a trajectory."""

    output: Annotated[
        pathlib.Path | None, Told("Folder for the results", default="results/DATASET")
    ] = None
    resume: Annotated[bool, Told("Go on with the run there", flag="--resume")] = False
    data: Annotated[
        pathlib.Path | None,
        Told("Folder where data sets are kept", default="$BILEVAX_DATA or ~/bilevax_data"),
    ] = None
    quiet: Annotated[bool, Told("Print errors only", flag="--quiet")] = False
    as_json: Annotated[bool, Told("Print progress and result as JSON lines", flag="--json")] = (
        False
    )
