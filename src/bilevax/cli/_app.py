"""The commands and their options.

Each command imports what it does where it starts, so that `--help` and a mistaken option need
not wait for scikit-learn, pandas and matplotlib.
"""

import contextlib
import pathlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from .. import __version__
from ..reproduce import PANELS, PAPERS
from ._call import Call
from ._errors import FailedError, UnusableError
from ._options import takes
from ._settings import Settings

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
@takes(Settings, Call)
def tune(given: dict[str, Any], call: dict[str, Any]) -> None:
    """Learn penalties, and the model that goes with them, and keep them only where they help.

    Starts at the best shared penalty by cross-validation; lets penalties differ as long as
    rows that took no part in it are predicted better; and fits the model to all rows but test
    rows, which show what that bought beside scikit-learn's own estimator. The folder of
    results has a report, pictures, the model, and a checkpoint from which --resume goes on
    exactly. With --algorithm one split is learned from, by an algorithm to study.
    """
    with _plainly():
        from ._cache import keep_programs
        from ._tune import tune_dataset

        called = Call(**call)
        keep_programs()
        if called.seeds is None:
            code = tune_dataset(given, called)
        else:
            from ._seeds import tune_seeds

            code = tune_seeds(given, called)
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
        from ._predict import predict_file

        predict_file(folder, file, output)


@app.command()
def info(
    data: Annotated[
        pathlib.Path | None,
        _option("Folder where data sets are kept.", "$BILEVAX_DATA or ~/bilevax_data"),
    ] = None,
    algorithms: Annotated[
        bool, typer.Option("--algorithms", help="Print the table of all algorithms instead.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="That table as a page of the documentation.")
    ] = False,
) -> None:
    """Print versions, devices and known data sets."""
    if algorithms or markdown:
        from ._algorithms import markdown as page
        from ._algorithms import show_algorithms

        print(page(), end="") if markdown else show_algorithms()
        raise typer.Exit(0)
    from ._info import show_info

    show_info(data)


@app.command()
def reproduce(
    paper: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(PAPERS)}; or all, the three papers.", show_default=False
        ),
    ] = None,
    figure: Annotated[str | None, _option(f"One figure: {_FIGURES}.", "all")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small forms, for tests.")] = False,
    seed: Annotated[int | None, _option("Seed of the random numbers.", "the paper's")] = None,
    seeds: Annotated[int | None, _option("sid, tuning: how many seeds.", "1, 5", min=1)] = None,
    data: Annotated[
        pathlib.Path | None,
        _option(
            "sid, amigo, tuning: folder where data sets are kept.",
            "$BILEVAX_DATA or ~/bilevax_data",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what the output has, if of these settings.")
    ] = False,
    complete: Annotated[
        bool, typer.Option("--complete", help="amigo: all settings, without budgets of time.")
    ] = False,
    modern: Annotated[
        bool,
        typer.Option(
            "--modern", help="amigo: compare eleven stochastic methods; the same as a figure."
        ),
    ] = False,
    seconds: Annotated[
        float | None, _option("amigo, modern: CPU seconds a run.", "30", min=0.001)
    ] = None,
    output: Annotated[pathlib.Path, _option("Folder for the results.", "results")] = (
        pathlib.Path("results")
    ),
    html: Annotated[
        pathlib.Path | None,
        _option("Folder for one page of all figures and checks.", "no page"),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List what there is.")] = False,
) -> None:
    """Remake the figures of a paper, and check what they claim; exit code 1 on a failure."""
    with _plainly():
        from ._cache import keep_programs
        from ._reproduce import list_figures, reproduce_papers

        keep_programs()
        if list_all:
            list_figures()
            raise typer.Exit(0)
        if paper is None:
            raise UnusableError("Say which PAPER, or --list.")
        if modern and (paper, figure) != ("amigo", None):
            raise UnusableError("--modern is of amigo, and a figure of its own.")
        figure = "modern" if modern else figure
        flags = {"resume": resume or None, "complete": complete or None}
        given = {"seeds": seeds, "data": data, "seconds": seconds} | flags
        options = {name: value for name, value in given.items() if value is not None}
        code = reproduce_papers(paper, figure, output, quick, seed, options, html)
    raise typer.Exit(code)
