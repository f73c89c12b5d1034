"""Runs of Fig. 5, and the rules D1 to D3."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.tree_util import Partial

from ... import algorithms
from ..._core.result import Result, is_code
from ..._run.minimize import minimize
from ...datasets import fetch_mnist, load_digits
from ...datasets._mnist import mnist_place
from ...problems import distillation
from .._outcome import Check, at_least, at_most, reported, within
from ._clock import Clock
from ._records import measured

Rows = tuple[np.ndarray, np.ndarray]
_BATCH, _RECORDS = 1024, 50
_NO_STEP = ("amigo_cg", "aid_cg", "aid_fp")
_MISSING = (
    "MNIST is not in {0}: put its four files there, or let bilevax.datasets.fetch_mnist() "
    "fetch them where there is a network. Shown are scikit-learn's digits of 8 x 8 pixels."
)


class Images(NamedTuple):
    """Rows to distil and rows to test, the shape of an image, and what is to be said."""

    train: Rows
    test: Rows
    shape: tuple[int, int]
    note: str | None = None

    @property
    def small(self) -> bool:
        """Whether these are the digits."""
        return self.shape == (8, 8)


class Learned(NamedTuple):
    """A run: what was recorded, the images it ended with, and of a run that failed, why."""

    history: dict[str, np.ndarray]
    rows: np.ndarray
    failure: str = ""


def images(data: pathlib.Path | None, quick: bool) -> Images:
    """MNIST, or where quick or missing a split of the digits; pixels from -1 to 1."""
    scaled = lambda pixels, labels: (2 * np.asarray(pixels, np.float32) - 1, labels)
    folder, there = mnist_place(data)
    if there and not quick:
        train, test = (
            scaled(*fetch_mnist(subset=s, data_home=data, return_X_y=True))
            for s in ("train", "test")
        )
        return Images(train, test, (28, 28))
    pixels, labels = scaled(*load_digits(return_X_y=True))
    train, test = ((pixels[part], labels[part]) for part in (slice(1200), slice(1200, None)))
    return Images(train, test, (8, 8), None if quick else _MISSING.format(folder))


def run(found: Images, method: str, setting: str, steps: int, seed: int) -> Learned:
    """So many steps by "plain" gradient descent, with "long steps", or by "adam"."""
    task = distillation(found.train, seed=seed)
    outer = {"plain": 0.01, "long steps": 1.0, "adam": optax.adam(0.01)}[setting]
    options: dict[str, Any] = {} if method in _NO_STEP else {"adjoint_step_size": 0.1}
    if method in ("bsa", "ttsa"):
        options["batch_size"] = None
    if method != "ttsa":
        options["inner_steps"] = 10
    algorithm = getattr(algorithms, method)(
        outer_step_size=outer,
        inner_step_size=0.1,
        adjoint_steps=10,
        outer_batch_size=_BATCH,
        **options,
    )
    rows = [jax.device_put(part) for part in (found.train, found.test)]
    more = {"metrics": Partial(measured, *rows), "callback": (clock := Clock())}
    go = functools.partial(minimize, task.problem, algorithm, **more)
    # The loss after one step is what D2 compares with.
    first = go(task.x0, task.y0, num_steps=1, key=jax.random.key(seed))
    every = max(1, steps // _RECORDS)
    last = go(num_steps=steps - 1, record_every=every, state=first.state)
    joined = {n: np.concatenate([first.history[n], last.history[n]]) for n in last.history}
    seconds = clock.seconds(joined["step"])
    failure = "" if is_code(last.result, Result.successful) else Result[last.result]
    return Learned(joined | {"seconds": seconds}, np.asarray(last.x.rows), failure)


def condition(found: Images, seed: int, judged: bool) -> Check:
    """D1: kappa_g at the start, where all classes are equally likely and all penalties one."""
    name, kappa = "D1 condition number of g at the start", first_condition(found, seed)
    return within(name, kappa, 5e4, 1e5) if judged else reported(name, kappa)


def first_condition(found: Images, seed: int) -> float:
    r"""Of $\frac1C \sum_c x_c x_c^\top \otimes (I / C - 1 1^\top / C^2)$ plus the penalties'
    curvature $1 / (C d)$, which alone acts on all that no image reaches."""
    rows = np.asarray(distillation(found.train, seed=seed).x0.rows, float)
    classes = len(rows)
    largest = np.linalg.norm(rows, 2) ** 2 / classes / classes
    return float(1 + largest * rows.size)


def rules(runs: dict[tuple[str, str], Learned]) -> list[Check]:
    """D2 and D3, and what Adam makes of it."""
    end = lambda method: float(runs["plain", method].history["loss"][-1])
    first = lambda method: float(runs["plain", method].history["loss"][0])
    cg, gd = end("amigo_cg"), end("amigo_gd")
    checks = [
        at_most("D2 loss of AmIGO-CG, above AmIGO-GD's", cg - gd, 0),
        at_most("D2 loss of AmIGO-GD, above AID-GD's", gd - end("aid_gd"), 0),
        at_most("D2 loss, AmIGO-CG and AID-CG apart", abs(cg - end("aid_cg")), 0.02),
    ]
    for method in ("aid_gd", "aid_fp", "aid_n", "stocbio", "bsa", "ttsa"):
        gained = first(method) - end(method)
        checks.append(at_most(f"D2 what {method} has gained", gained, 0))
    best = lambda method: float(runs["long steps", method].history["accuracy"].max())
    checks += [
        at_least("D3 best accuracy of AmIGO-CG", best("amigo_cg"), 0.7),
        at_least("D3 best accuracy of AmIGO-GD", best("amigo_gd"), 0.4),
        at_most("D3 best accuracy of AID-GD", best("aid_gd"), 0.2),
    ]
    return checks + [
        reported(f"{setting}: {name} of {method} at the end", float(one.history[name][-1]))
        for (setting, method), one in runs.items()
        for name in ("loss", "test accuracy")
    ]


def learned(runs: dict[tuple[str, str], Learned], setting: str, least: float) -> list[Check]:
    """That AmIGO has learned something, and more than what starts from nothing."""
    best = lambda method: float(runs[setting, method].history["test accuracy"].max())
    return [
        at_least("best test accuracy of AmIGO-CG", best("amigo_cg"), least),
        at_least("AmIGO-CG's, above AID-GD's", best("amigo_cg") - best("aid_gd"), 0.3),
        at_least("AmIGO-GD's, above AID-GD's", best("amigo_gd") - best("aid_gd"), 0.05),
    ]
