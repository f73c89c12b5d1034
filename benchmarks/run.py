"""All benchmarks: a table of ratios, also written as JSON.

    python benchmarks/run.py [--only NAME ...] [--processes N] [--out results/benchmarks.json]

With N processes, one after the other, each ratio is the median over them: where arrays happen
to lie makes one of the same program a few percent faster than the next.

`make benchmark` runs it in an environment of its own, with the peers. 20 Newsgroups and
MNIST are found through BILEVAX_DATA.
"""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import jax
from _timing import Row
from rich.console import Console
from rich.table import Table

# Each module's needs beside bilevax.
BENCHMARKS = {
    "small_problems": None,
    "quadratic_step": None,
    "many_runs": None,
    "weak_scaling": None,
    "dense_products": None,
    "rows_on_disk": None,
    "sparse_products": None,
    "transport": None,
    "sgd_jacobian": None,
    "single_loop": None,
    "presets": None,
    "sid": None,
    "jaxopt_peer": "jaxopt",
}


def measured(names: list[str]) -> list[Row]:
    """In this process."""
    rows = []
    for name in names:
        needed = BENCHMARKS[name]
        if needed and not importlib.util.find_spec(needed):
            print(f"{name} is left out: it needs {needed}.")
            continue
        print(f"{name} ...", flush=True)
        rows += importlib.import_module(name).measure()
    return rows


def medians(names: list[str], processes: int) -> list[Row]:
    """Over so many processes."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "rows.json"
        for _ in range(processes):
            command = [sys.executable, __file__, "--only", *names, "--out", out]
            subprocess.run(command, check=True)
            entries = json.loads(out.read_text())["rows"]
            found.append([Row(**{n: entry[n] for n in Row._fields}) for entry in entries])
    middle = lambda rows, name: statistics.median(getattr(row, name) for row in rows)
    return [
        rows[0]._replace(seconds=middle(rows, "seconds"), ratio=middle(rows, "ratio"))
        for rows in zip(*found, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("results/benchmarks.json")
    )
    arguments = parser.parse_args()
    alone = arguments.processes == 1
    rows = measured(arguments.only) if alone else medians(arguments.only, arguments.processes)

    title = f"JAX {jax.__version__}, {jax.default_backend()}, {os.cpu_count()} cores"
    table = Table("benchmark", "job", "ms", "ratio", "against", "target", "", title=title)
    for row in rows:
        ratio, spent = f"{row.ratio:.2f}", f"{1e3 * row.seconds:.2f}"
        table.add_row(
            row.benchmark, row.job, spent, ratio, row.against, row.target, row.verdict
        )
    Console(width=150).print(table)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    entries = [row._asdict() | {"verdict": row.verdict} for row in rows]
    arguments.out.write_text(json.dumps({"machine": title, "rows": entries}, indent=2) + "\n")
    print(f"Written: {arguments.out}")


if __name__ == "__main__":
    main()
