"""What the methods are compared on, and what all of them are given of it."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ...._run.hypergradient import hypergradient
from ...._run.minimize import initial_state
from ....algorithms import soba
from ....hypergradients import Analytic, Implicit
from ....problems import corrupt_labels, hyper_cleaning, penalised_logistic
from ....problems._base import BilevelProblem
from ....solvers import CG, Newton
from .. import _distilled
from .._posts import Rows, posts

BATCH = 64
# Rows of either level, and how many posts must have a word.
_IMAGES, _POSTS_WITH_WORD = 5000, 10
# Steps and products of the solver that values are measured by, and its residual.
_NEWTON, _PRODUCTS, _TOLERANCE = 20, 200, 1e-5
_WRONG = 0.5


class Contest(NamedTuple):
    """A problem and its start.

    - `smooth`: the step of y, and of z, 1 over twice the largest smoothness of batches;
    - `scale`: the step of x that moves it by at most 1 along the first exact hypergradient;
    - `value`: l(x) at the start, and `y` the y*(x) there.
    """

    problem: BilevelProblem
    x: Array
    y0: Array
    smooth: float
    scale: float
    value: float
    y: Array

    @classmethod
    def of(cls, task: Any) -> "Contest":
        """With what is measured at its start."""
        problem, x, y0 = task.problem, task.x0, task.y0
        start = hypergradient(problem, Implicit(_solver(), CG(_PRODUCTS)), x, y0)
        of_batches = initial_state(
            problem, soba(outer_step_size=1.0, batch_size=BATCH), x, y0, key=jax.random.key(0)
        )
        measured: Any = of_batches.loop.smoothness
        smooth = float(measured.step_size)
        scale = 1 / float(jnp.max(jnp.abs(start.gradient)))
        return cls(problem, x, y0, smooth, scale, float(start.value), start.y)

    def value_at(self, x: Array, y: Array) -> tuple[float, Array]:
        """l(x) = f(x, y*(x)) and y*(x), by Newton's method from a y."""
        found = hypergradient(self.problem, Analytic(_solver()), x, y)
        # What cannot be told is no better than anything.
        return float(np.nan_to_num(found.value, nan=np.inf, posinf=np.inf)), found.y


def _solver() -> Newton:
    linear = CG(_PRODUCTS, tol=1e-2)
    return Newton(_NEWTON, linear=linear, tol=_TOLERANCE, must_converge=False)


@functools.lru_cache
def contest(name: str, data: pathlib.Path | None, quick: bool) -> Contest:
    """One of `NAMES`."""
    train, valid = (_whole(rows) for rows in _SOURCES[name](data, quick))
    if name == "cleaning":
        noisy, _ = corrupt_labels(train[1], _WRONG)
        return Contest.of(hyper_cleaning((train[0], noisy), valid))
    return Contest.of(penalised_logistic(train, valid))


def _whole(rows: Rows) -> Rows:
    """As many rows as make whole batches, which tables of batches need."""
    kept = len(rows[1]) // BATCH * BATCH
    return rows[0][:kept], rows[1][:kept]


def _words(data: pathlib.Path | None, quick: bool) -> tuple[Rows, Rows]:
    found = posts(data, quick, 0)
    counts = np.asarray((found.train[0] != 0).sum(axis=0)).ravel()
    often = np.flatnonzero(counts >= _POSTS_WITH_WORD)
    kept = lambda rows: (rows[0].tocsc()[:, often].tocsr(), rows[1])
    return kept(found.train), kept(found.valid)


def _images(data: pathlib.Path | None, quick: bool) -> tuple[Rows, Rows]:
    found = _distilled.images(data, quick)
    pixels, labels = (found.train[0] + 1) / 2, found.train[1]
    half = min(_IMAGES, len(labels) // 2)
    order = np.random.default_rng(0).permutation(len(labels))
    chosen = lambda part: (np.asarray(pixels[part], np.float32), labels[part])
    return chosen(order[:half]), chosen(order[half : 2 * half])


_SOURCES = {"words": _words, "pixels": _images, "cleaning": _images}
NAMES = tuple(_SOURCES)
TITLES = {
    "words": "a penalty a word, 20 Newsgroups",
    "pixels": "a penalty a pixel, MNIST",
    "cleaning": "hyper-cleaning, MNIST",
}
