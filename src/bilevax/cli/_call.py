"""How one call of `bilevax tune` goes."""

import dataclasses
import pathlib
from typing import Annotated

from ._errors import UnusableError
from ._options import Told, told


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
    seeds: Annotated[
        int | None,
        Told(
            "So many runs, with this seed and the next ones, each in a folder of its own",
            default="one run",
            least=1,
        ),
    ] = None
    jobs: Annotated[
        int | None, Told("Of --seeds: runs at the same time", default="1", least=1)
    ] = None
    quiet: Annotated[bool, Told("Print errors only", flag="--quiet")] = False
    as_json: Annotated[bool, Told("Print progress and result as JSON lines", flag="--json")] = (
        False
    )

    def __post_init__(self):
        for name, said in told(Call).items():
            said.check(name, getattr(self, name))
        if self.jobs is not None and self.seeds is None:
            raise UnusableError("--jobs is for several runs: say how many with --seeds.")
