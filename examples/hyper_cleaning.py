"""Find the wrong labels of a training set, with a clean validation set to go by.

    python examples/hyper_cleaning.py [--data FOLDER] [--seeds 0 1 2] [--output FOLDER]

MNIST: 5,000 training rows, half of them with a wrong label, and 5,000 clean validation
rows. Hyper-cleaning learns one weight per training row, so that the model trained on the
weighted rows validates well. Beside it stands scikit-learn's logistic regression with the
best of ten shared penalties, on the corrupted rows (chosen by validation accuracy), and on
corrupted and validation rows together (chosen by test accuracy, in its favour).
"""

import argparse
import pathlib
import time
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from _palette import BLUE, ORANGE
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import bilevax as bx

STEPS, OUTER_STEP, RIDGE = 200, 1e4, 1e-3
GRID = np.logspace(-5, 1, 10)  # scikit-learn's C, the inverse of the penalty


def splits(data_home, seed: int, rows: int = 5000):
    """Corrupted training rows and which are wrong, clean validation rows, test rows."""
    images, labels = bx.datasets.fetch_mnist(data_home=data_home, return_X_y=True)
    test = bx.datasets.fetch_mnist(subset="test", data_home=data_home, return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))[: 2 * rows]
    train, valid = order[:rows], order[rows:]
    noisy, wrong = bx.problems.corrupt_labels(labels[train], 0.5, seed=seed)
    return (images[train], noisy), wrong, (images[valid], labels[valid]), test


def cleaned(train, valid, test, steps: int = STEPS):
    task = bx.problems.hyper_cleaning(train, valid, strength=RIDGE)
    # The inner step is left out: it is 1 / smoothness, measured where the run starts.
    algorithm = bx.algorithms.amigo_cg(
        outer_step_size=OUTER_STEP, inner_steps=10, adjoint_steps=10
    )
    measured = jax.tree_util.Partial(
        lambda features, labels, x, y: {"accuracy": task.accuracy(y, features, labels)},
        *map(jnp.asarray, test),
    )
    started = time.perf_counter()
    solution = bx.minimize(
        task.problem,
        algorithm,
        task.x0,
        task.y0,
        num_steps=steps,
        metrics=measured,
        record_every=5,
    )
    if not bool(solution.result == bx.Result.successful):
        print(f"Stopped early: {bx.Result[solution.result]}")
    return solution, time.perf_counter() - started


def best_of_grid(train, judge):
    """The best logistic regression with one shared penalty, in the eyes of `judge`."""
    models = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for C in GRID:
            models.append(LogisticRegression(C=C, max_iter=200).fit(*train))
    return max(models, key=lambda model: model.score(*judge))


def run(data_home, seed: int):
    """Test accuracies by method, the AUC, the solution and which labels are wrong."""
    train, wrong, valid, test = splits(data_home, seed)
    solution, seconds = cleaned(train, valid, test)
    both = tuple(np.concatenate(parts) for parts in zip(train, valid, strict=True))
    accuracies = {
        "hyper-cleaning": float(solution.history["accuracy"][-1]),
        "corrupted rows": best_of_grid(train, valid).score(*test),
        "corrupted and validation rows": best_of_grid(both, test).score(*test),
        "validation rows": best_of_grid(valid, test).score(*test),
    }
    auc = roc_auc_score(wrong, -np.asarray(solution.x))
    return accuracies, auc, solution, wrong, seconds


def picture(solution, wrong, path: pathlib.Path) -> None:
    figure, (curve, weights) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    history = solution.history
    curve.plot(history["step"], history["value"], color=BLUE, label="validation loss (nats)")
    curve.plot(
        history["step"], 1 - history["accuracy"], color=ORANGE, ls="--", label="test error"
    )
    curve.set(xlabel="outer step", ylabel="loss, share of rows", title="Progress", ylim=0)
    curve.legend()
    learned = np.asarray(bx.problems.HyperCleaning.weights(solution.x))
    bins = np.linspace(0, 1, 41)
    weights.hist(learned[~wrong], bins, color=BLUE, alpha=0.7, label="label right")
    weights.hist(learned[wrong], bins, color=ORANGE, alpha=0.7, label="label wrong", hatch="//")
    weights.set(xlabel="learned weight of a row", ylabel="training rows", title="Weights")
    weights.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, help="folder with mnist/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("results/cleaning"))
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        accuracies, auc, solution, wrong, seconds = run(arguments.data, seed)
        print(f"seed {seed}: wrong labels found with AUC {auc:.3f}, in {seconds:.1f} s")
        for method, accuracy in accuracies.items():
            print(f"    {method:30} test accuracy {accuracy:.4f}")
        picture(solution, wrong, arguments.output / f"cleaning_{seed}.png")
    print(f"Pictures: {arguments.output}")


if __name__ == "__main__":
    main()
