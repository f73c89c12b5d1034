"""Learn one penalty per pixel of a digit classifier, and show what that bought.

    python examples/digits_penalties.py [--steps 1000] [--output results/digits]

scikit-learn's bundled digits (8 x 8 pixels, 10 classes): half the rows train the weights,
a quarter validates the penalties, a quarter is only looked at. The baseline is the same
model with one penalty for all pixels, learned in the same way.
"""

import argparse
import pathlib
import time

import jax
import matplotlib.pyplot as plt
import numpy as np
from _palette import BLUE, ORANGE
from matplotlib.colors import TwoSlopeNorm
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import bilevax as bx


def splits(seed: int = 0):
    pixels, labels = load_digits(return_X_y=True)
    rows = np.hstack([pixels / 16, np.ones((len(pixels), 1))]).astype("float32")
    train, rest, train_labels, rest_labels = train_test_split(
        rows, labels, test_size=0.5, stratify=labels, random_state=seed
    )
    valid, test, valid_labels, test_labels = train_test_split(
        rest, rest_labels, test_size=0.5, stratify=rest_labels, random_state=seed
    )
    return (train, train_labels), (valid, valid_labels), (test, test_labels)


def learn(train, valid, test, penalty: str, steps: int):
    task = bx.problems.penalised_logistic(train, valid, penalty=penalty)
    # The inner step is left out: it is 1 / smoothness, measured where the run starts.
    algorithm = bx.algorithms.amigo_cg(outer_step_size=100.0, inner_steps=40)
    accuracy = jax.tree_util.Partial(
        lambda valid, test, x, y: {
            "validation accuracy": task.accuracy(y, *valid),
            "test accuracy": task.accuracy(y, *test),
        },
        valid,
        test,
    )
    started = time.perf_counter()
    solution = bx.minimize(
        task.problem, algorithm, task.x0, task.y0, steps, metrics=accuracy, progress=True
    )
    seconds = time.perf_counter() - started
    if not bool(solution.result == bx.Result.successful):
        print(f"Stopped early: {bx.Result[solution.result]}")
    return solution, seconds


def table(runs) -> str:
    head = f"{'penalty':12} {'valid loss':>10} {'valid acc':>10} {'test acc':>10} "
    lines = [head + f"{'calls':>8} {'seconds':>8}"]
    for name, (solution, seconds) in runs.items():
        h = {key: column[-1] for key, column in solution.history.items()}
        lines.append(
            f"{name:12} {h['value']:10.4f} {h['validation accuracy']:10.4f} "
            f"{h['test accuracy']:10.4f} {solution.cost.total:8d} {seconds:8.1f}"
        )
    return "\n".join(lines)


def picture(runs, path: pathlib.Path) -> None:
    figure, (curves, image) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (name, (solution, _)), color in zip(runs.items(), (BLUE, ORANGE), strict=True):
        history = solution.history
        curves.plot(history["calls"], history["value"], color=color, label=name)
    curves.set(xlabel="oracle calls", ylabel="validation loss (nats)", yscale="log")
    curves.set_title("Validation loss")
    curves.legend(title="penalty")
    x = np.asarray(runs["per-feature"][0].x)[:64].reshape(8, 8)
    norm = TwoSlopeNorm(0.0, min(x.min(), -1e-3), max(x.max(), 1e-3))
    shown = image.imshow(x, cmap="PuOr_r", norm=norm)
    image.set(xticks=range(8), yticks=range(8), xlabel="pixel column", ylabel="pixel row")
    image.set_title("Learned log-penalty (low: kept, high: ignored)")
    figure.colorbar(shown, ax=image, label="log of the penalty's multiplier")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("results/digits"))
    arguments = parser.parse_args()
    data = splits()
    runs = {
        penalty: learn(*data, penalty, arguments.steps) for penalty in ("per-feature", "shared")
    }
    print(table(runs))
    gained = (
        runs["shared"][0].history["value"][-1] - runs["per-feature"][0].history["value"][-1]
    )
    print(f"One penalty per pixel lowers the validation loss by {gained:.4f} nats.")
    picture(runs, arguments.output / "digits.png")
    print(f"Picture: {arguments.output / 'digits.png'}")


if __name__ == "__main__":
    main()
