"""One penalty per word for 20 Newsgroups, on sparse data.

    python examples/newsgroups.py [--data FOLDER] [--steps 400] [--output results/newsgroups]

The experiment of Arbel and Mairal (2022, F.2) on all rows: AmIGO-CG with T = N = 10, inner
and outer steps 100, c = 1/2; half of the training set trains the weights, half validates
the penalties.
"""

import argparse
import pathlib
import resource
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from _palette import BLUE, ORANGE
from sklearn.model_selection import train_test_split

import bilevax as bx


def splits(data_home, seed: int = 0, remove=()):
    load = lambda subset: bx.datasets.fetch_20newsgroups(
        subset=subset, remove=remove, data_home=data_home
    )
    found, test = load("train"), load("test")
    train, valid, train_labels, valid_labels = train_test_split(
        found.data, found.target, test_size=0.5, stratify=found.target, random_state=seed
    )
    parts = (train, train_labels), (valid, valid_labels), (test.data, test.target)
    return parts, found


def learn(parts, steps: int, record_every: int = 10):
    train, valid, test = parts
    task = bx.problems.penalised_logistic(train, valid)
    algorithm = bx.algorithms.amigo_cg(
        outer_step_size=100.0, inner_step_size=100.0, inner_steps=10, adjoint_steps=10
    )
    rows = [(bx.SparseMatrix(X.astype("float32")), jnp.asarray(b)) for X, b in (valid, test)]
    accuracies = jax.tree_util.Partial(
        lambda rows, x, y: {
            "validation accuracy": task.accuracy(y, *rows[0]),
            "test accuracy": task.accuracy(y, *rows[1]),
        },
        rows,
    )
    started = time.perf_counter()
    solution = bx.minimize(
        task.problem,
        algorithm,
        jnp.zeros_like(task.x0),  # as in the paper
        task.y0,
        num_steps=steps,
        record_every=record_every,
        metrics=accuracies,
        progress=True,
    )
    return solution, time.perf_counter() - started


def picture(solution, path: pathlib.Path) -> None:
    figure, (loss, accuracy) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    history = solution.history
    loss.plot(history["step"], history["value"], color=BLUE, label="validation")
    loss.set(xlabel="outer step", ylabel="cross-entropy (nats)", title="Loss")
    for name, color, style in (("validation", BLUE, "-"), ("test", ORANGE, "--")):
        values = history[f"{name} accuracy"]
        accuracy.plot(history["step"], values, style, color=color, label=name)
    accuracy.set(xlabel="outer step", ylabel="share of rows", title="Accuracy")
    for axes in (loss, accuracy):
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, help="folder with scikit_learn_data/")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--remove", nargs="*", default=[], help="headers footers quotes")
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("results/newsgroups")
    )
    arguments = parser.parse_args()
    parts, found = splits(arguments.data, arguments.seed, tuple(arguments.remove))
    solution, seconds = learn(parts, arguments.steps)
    history = solution.history
    print(f"{'step':>6} {'seconds':>8} {'valid loss':>10} {'valid acc':>10} {'test acc':>10}")
    for row in np.flatnonzero(np.isin(history["step"], [10, 60, 100, 200, 400, 700, 1000])):
        print(
            f"{history['step'][row]:6d} {history['seconds'][row]:8.1f} "
            f"{history['value'][row]:10.4f} {history['validation accuracy'][row]:10.4f} "
            f"{history['test accuracy'][row]:10.4f}"
        )
    kept = [found.feature_names[i] for i in np.argsort(np.asarray(solution.x))[:15]]
    print(f"least penalised words: {', '.join(kept)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{solution.cost.total} calls in {seconds:.1f} s; peak memory {peak:.2f} GiB")
    picture(solution, arguments.output / "newsgroups.png")
    print(f"Picture: {arguments.output / 'newsgroups.png'}")


if __name__ == "__main__":
    main()
