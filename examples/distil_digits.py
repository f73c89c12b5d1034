"""Ten images that teach to read digits: one a class, learned.

    python examples/distil_digits.py [--seed 0] [--output FOLDER]

scikit-learn's digits, 1,200 to learn from and 597 to test. A linear classifier is fitted to ten
synthetic images, one a class, which are learned, with a penalty a pixel, so that the classifier
does well on the 1,200: dataset distillation. They start from the class means. Beside it stands
scikit-learn's logistic regression on ten real images, drawn by the seed, on the class means and
on all 1,200, each with the best of ten penalties (chosen by test accuracy, in its favour).
"""

import argparse
import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from _palette import BLUE, ORANGE
from sklearn.linear_model import LogisticRegression

import bilevax as bx

STEPS, CLASSES, SIDE = 300, 10, 8
GRID = np.logspace(-4, 5, 10)  # scikit-learn's C, the inverse of the penalty


def splits():
    """Rows to learn from and to test: pixels from -1 to 1, and labels."""
    pixels, labels = bx.datasets.load_digits(return_X_y=True)
    rows = 2 * np.asarray(pixels, np.float32) - 1
    return (rows[:1200], labels[:1200]), (rows[1200:], labels[1200:])


def class_means(train) -> np.ndarray:
    """The mean image of each class."""
    rows, labels = train
    return np.array([rows[labels == c].mean(axis=0) for c in range(CLASSES)])


def distilled(train, test, steps: int = STEPS) -> bx.Solution:
    """The learned images, their penalties, and the classifier fitted to them."""
    task = bx.problems.distillation(train)
    # The inner step is left out: it follows the curvature, which the images change.
    algorithm = bx.algorithms.amigo_cg(outer_step_size=optax.adam(0.01))
    measured = jax.tree_util.Partial(
        lambda features, labels, x, y: {"accuracy": task.accuracy(y, features, labels)},
        *map(jnp.asarray, test),
    )
    return bx.minimize(
        task.problem,
        algorithm,
        task.x0._replace(rows=jnp.asarray(class_means(train))),
        task.y0,
        num_steps=steps,
        metrics=measured,
        record_every=5,
    )


def best_of_grid(train, test) -> float:
    """The best test accuracy of a logistic regression with one shared penalty."""
    models = (LogisticRegression(C=C, max_iter=2000).fit(*train) for C in GRID)
    return max(model.score(*test) for model in models)


def alternatives(train, test, seed: int) -> dict[str, float]:
    """Test accuracies of ten images that nobody learned, and of all."""
    rows, labels = train
    of_class = [np.flatnonzero(labels == c) for c in range(CLASSES)]
    drawn = np.random.default_rng(seed)
    some = np.array([drawn.choice(places) for places in of_class])
    return {
        "ten real images": best_of_grid((rows[some], labels[some]), test),
        "ten class means": best_of_grid((class_means(train), np.arange(CLASSES)), test),
        "all 1,200 images": best_of_grid(train, test),
    }


def picture(solution, others: dict[str, float], path: pathlib.Path) -> None:
    figure = plt.figure(figsize=(9, 4.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2.4))
    rows = np.asarray(solution.x.rows)
    limit = np.abs(rows).max()
    for digit, (axes, row) in enumerate(zip(above.subplots(1, CLASSES), rows, strict=True)):
        axes.imshow(row.reshape(SIDE, SIDE), cmap="gray", vmin=-limit, vmax=limit)
        axes.set(xticks=[], yticks=[], title=str(digit))
    curve, history = below.subplots(), solution.history
    curve.plot(history["step"], history["accuracy"], color=BLUE, label="ten learned images")
    for (name, accuracy), style in zip(others.items(), (":", "--", "-."), strict=True):
        curve.axhline(accuracy, color=ORANGE, ls=style, label=name)
    curve.set(xlabel="outer step", ylabel="test accuracy (share of rows)", ylim=(0.6, 1))
    curve.grid(alpha=0.3)
    curve.legend(loc="center right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("results/distil"))
    arguments = parser.parse_args()
    train, test = splits()
    started = time.perf_counter()
    solution = distilled(train, test)
    if not bool(solution.result == bx.Result.successful):
        print(f"Stopped early: {bx.Result[solution.result]}")
    print(f"{STEPS} outer steps, {time.perf_counter() - started:.1f} s")
    learned = {"ten learned images": float(solution.history["accuracy"][-1])}
    others = alternatives(train, test, arguments.seed)
    for name, accuracy in (learned | others).items():
        print(f"    {name:20} test accuracy {accuracy:.3f}")
    picture(solution, others, arguments.output / "digits.png")
    print(f"Picture: {arguments.output / 'digits.png'}")


if __name__ == "__main__":
    main()
