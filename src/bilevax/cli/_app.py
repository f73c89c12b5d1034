"""The commands and their options."""

import contextlib
import pathlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from .. import __version__
from ..reproduce import PANELS, PAPERS
from ._errors import FailedError, UnusableError
from ._info import show_info
from ._predict import predict_file
from ._reproduce import list_figures, reproduce_paper
from ._settings import ALGORITHMS, DATASETS, MODELS, PENALTIES
from ._tune import tune_dataset

app = typer.Typer(
    name="bilevax",
    help="Learn penalties, and the model that goes with them, from data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_FIGURES = ", ".join(dict.fromkeys(n for p in PAPERS for n in (*PAPERS[p], *PANELS[p])))


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """Faulty requests end in plain words and exit code 2, never in a traceback."""
    try:
        yield
    except UnusableError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except FailedError as error:
        print(f"Error: the run has left no model. {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except OSError as error:
        # What is wrong with a request is found out before; this is a full disk or the like.
        print(f"Error: {error}. What was saved before is still there.", file=sys.stderr)
        raise typer.Exit(1) from None
    except MemoryError:
        print("Error: there is not enough memory for this.", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        raise typer.Exit(130) from None


def _option(help: str, default: str = "", **kwargs: Any) -> Any:
    # Options are None where they were not given, so that --resume can tell.
    shown = f" [default: {default}]" if default else ""
    return typer.Option(help=escape(help + shown), show_default=False, **kwargs)


def _show_version(wanted: bool) -> bool:
    if wanted:
        print(f"bilevax {__version__}")
        raise typer.Exit(0)
    return wanted


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options without a command."""


@app.command()
def tune(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(DATASETS)}, or a LIBSVM, CSV, NPZ or Parquet file.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[str | None, _option("Label column of a table.", "found by name")] = None,
    zero_based: Annotated[
        bool | None, _option("The indices of a LIBSVM file begin with 0.", "with 1")
    ] = None,
    model: Annotated[
        str | None, _option(f"Regression: {', '.join(MODELS)}.", "logistic")
    ] = None,
    penalty: Annotated[
        str | None, _option(f"Penalties: {', '.join(PENALTIES)}.", "per-feature")
    ] = None,
    algorithm: Annotated[
        str | None, _option(f"Algorithm: {', '.join(ALGORITHMS)}.", "amigo-cg")
    ] = None,
    steps: Annotated[int | None, _option("Outer steps in all.", "200")] = None,
    seconds: Annotated[
        float | None, _option("Stop training after so long, this time.", "no limit")
    ] = None,
    batch_size: Annotated[
        int | None, _option("Random rows for each oracle call.", "all rows")
    ] = None,
    inner_steps: Annotated[int | None, _option("Inner steps an outer step.", "20")] = None,
    adjoint_steps: Annotated[int | None, _option("Adjoint steps an outer step.", "10")] = None,
    step_size: Annotated[
        float | None,
        _option("A constant outer step.", "adapted: 1 / root of the squared gradients so far"),
    ] = None,
    valid: Annotated[
        str | None, _option("Share of the rows without test rows, or a file.", "0.5")
    ] = None,
    test: Annotated[
        str | None, _option("Share of all rows, or a file.", "0.2, or the set's own test rows")
    ] = None,
    seed: Annotated[int | None, _option("Seed of the split and of random rows.", "0")] = None,
    output: Annotated[
        pathlib.Path | None, _option("Folder for the results.", "results/DATASET")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run there.")] = False,
    save_every: Annotated[int | None, _option("Outer steps between checkpoints.", "25")] = None,
    baseline_seconds: Annotated[
        float | None, _option("Most seconds for the baseline; 0 leaves it out.", "120")
    ] = None,
    data: Annotated[
        pathlib.Path | None,
        _option("Folder where data sets are kept.", "$BILEVAX_DATA or ~/bilevax_data"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print progress and result as JSON lines.")
    ] = False,
) -> None:
    """Learn penalties, one per feature by default, and the model that goes with them.

    Half of the rows train the weights, the other half validates the penalties, and test rows
    show what that bought beside one shared penalty from a grid. The folder of results has a
    report, pictures, the model, and a checkpoint from which --resume goes on exactly.
    """
    given = {
        "dataset": dataset,
        "label": label,
        "zero_based": zero_based,
        "model": model,
        "penalty": penalty,
        "algorithm": algorithm,
        "steps": steps,
        "seconds": seconds,
        "batch_size": batch_size,
        "inner_steps": inner_steps,
        "adjoint_steps": adjoint_steps,
        "step_size": step_size,
        "valid": valid,
        "test": test,
        "seed": seed,
        "save_every": save_every,
        "baseline_seconds": baseline_seconds,
    }
    with _plainly():
        code = tune_dataset(given, output, resume, data, quiet=quiet, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def predict(
    folder: Annotated[pathlib.Path, typer.Argument(help="A folder of results.")],
    file: Annotated[pathlib.Path, typer.Argument(help="Rows, with or without labels.")],
    output: Annotated[
        pathlib.Path | None, _option("CSV file for the answer.", "standard output")
    ] = None,
) -> None:
    """Apply the fitted model to the rows of a file; the answer is a CSV table."""
    with _plainly():
        predict_file(folder, file, output)


@app.command()
def info(
    data: Annotated[
        pathlib.Path | None,
        _option("Folder where data sets are kept.", "$BILEVAX_DATA or ~/bilevax_data"),
    ] = None,
) -> None:
    """Print versions, devices and known data sets."""
    show_info(data)


@app.command()
def reproduce(
    paper: Annotated[
        str | None, typer.Argument(help=f"{', '.join(PAPERS)}.", show_default=False)
    ] = None,
    figure: Annotated[str | None, _option(f"One figure: {_FIGURES}.", "all")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small forms, for tests.")] = False,
    seed: Annotated[int | None, _option("Seed of the random numbers.", "the paper's")] = None,
    output: Annotated[pathlib.Path, _option("Folder for the results.", "results")] = (
        pathlib.Path("results")
    ),
    list_all: Annotated[bool, typer.Option("--list", help="List what there is.")] = False,
) -> None:
    """Remake the figures of a paper, and check what they claim; exit code 1 on a failure."""
    with _plainly():
        if list_all:
            list_figures()
            raise typer.Exit(0)
        if paper is None:
            raise UnusableError("Say which PAPER, or --list.")
        code = reproduce_paper(paper, figure, output, quick, seed)
    raise typer.Exit(code)
