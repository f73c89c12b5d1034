"""All benchmarks: a table of ratios, also written as JSON.

    python benchmarks/run.py [--only NAME ...] [--out results/benchmarks.json]

`make benchmark` runs it in an environment of its own, with the peers. 20 Newsgroups and
MNIST are found through BILEVAX_DATA.
"""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib

import jax
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("results/benchmarks.json")
    )
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only:
        needed = BENCHMARKS[name]
        if needed and not importlib.util.find_spec(needed):
            print(f"{name} is left out: it needs {needed}.")
            continue
        print(f"{name} ...", flush=True)
        rows += importlib.import_module(name).measure()

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
