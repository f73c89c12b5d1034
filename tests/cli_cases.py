"""The command line in this process, and what its tests give it to read."""

import json

import numpy as np
from typer.testing import CliRunner

from bilevax.cli._app import app

BY_ALGORITHM = ("--algorithm", "amigo-cg")
# Two features and two classes.
GOOD = [f"{i},{i % 3 + i / 50},{'ab'[i % 2]}" for i in range(20)]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments):
    """What is said where a request is refused."""
    done = run(*arguments)
    assert done.exit_code == 2, (done.exit_code, done.output, done.exception)
    assert done.stdout == "" and "Traceback" not in done.stderr
    return " ".join(done.stderr.replace("│", " ").split())


def tune(*arguments, code=0):
    done = run("tune", *arguments)
    assert done.exit_code == code, done.output
    return done


def by_algorithm(*arguments):
    """The same on one split, where `tune` is told no algorithm and does not know it already."""
    known = {"--algorithm", "--resume"} & set(map(str, arguments))
    return arguments if known or arguments[:1] != ("tune",) else (*arguments, *BY_ALGORITHM)


def run_split(*arguments):
    return run(*by_algorithm(*arguments))


def refused_split(*arguments):
    return refused(*by_algorithm(*arguments))


def tune_split(*arguments, code=0):
    return tune(*by_algorithm("tune", *arguments)[1:], code=code)


def table(path, *rows, head="p,q,label"):
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def arrays(path):
    with np.load(path) as file:
        return dict(file)


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def flowers(path, rows=90):
    """Three classes, features of very different units, and one that says nothing."""
    random = np.random.default_rng(0)
    kinds = np.arange(rows) % 3
    columns = {
        "length": 1e3 + 50 * kinds + random.normal(size=rows),
        "width": 1e-3 * (kinds == 1) + 1e-4 * random.normal(size=rows),
        "noise": random.normal(size=rows),
        "constant": np.ones(rows),
    }
    names = np.array(["iris", "lily", "rose"])[kinds]
    lines = (
        ",".join([*(repr(float(number)) for number in numbers), name])
        for *numbers, name in zip(*columns.values(), names, strict=True)
    )
    table(path, *lines, head=",".join([*columns, "class"]))
    return names
