"""Dataset distillation: a synthetic row a class, learned so that a model fitted to them fits
many real rows."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from optax.losses import softmax_cross_entropy_with_integer_labels

from .._core.numbers import as_positive
from .._core.types import Number
from ._base import BilevelProblem
from ._losses import accuracy, cross_entropy, scores
from ._penalised import Penalty, Rows, ValidationLoss, as_features, as_labelled, check_features


class Distilled(NamedTuple):
    """The outer variables: `rows`, one a class (C x d), and `penalties`, the logarithm of one
    a feature (d)."""

    rows: Array
    penalties: Array


class SyntheticLoss(eqx.Module):
    r"""$\frac1C \sum_c \mathrm{CE}(y^\top x_c, c)$, and the penalty."""

    penalty: Penalty

    def __call__(self, x, y):
        found = scores(x.rows, y)
        losses = softmax_cross_entropy_with_integer_labels(found, jnp.arange(len(found)))
        return jnp.mean(losses) + self.penalty(x.penalties, y)


class Distillation(eqx.Module):
    """A distillation problem, and where to start it.

    - `problem`: the `bx.BilevelProblem`, whose inner level has no data;
    - `x0`: `rows` from N(0, 1) and `penalties` of 0; `y0`: zero weights, one row a feature.
    """

    problem: BilevelProblem
    x0: Distilled
    y0: Array

    @staticmethod
    def accuracy(y: Array, features: Any, labels: Any) -> Float[Array, ""]:
        """The share of rows classified rightly."""
        return accuracy(as_features(features) @ y, jnp.asarray(labels))


def distillation(rows: Rows, *, strength: Number = 0.5, seed: int = 0) -> Distillation:
    r"""Learn one synthetic row a class, and a penalty a feature, from real rows.

    $g(x, y) = \frac1C \sum_{c=1}^C \mathrm{CE}(y^\top x_c, c)
    + \frac{c_r}{Cd} \sum_{i=1}^d e^{\lambda_i} \|y_i\|^2$ on the synthetic rows $x_c$, and f
    the mean cross-entropy of the model y on the real ones (Arbel and Mairal 2022, F.3). The
    outer variable has two parts, `x.rows` and `x.penalties`, $\lambda$.

    **Arguments:**

    - `rows`: the pair of real features (rows x d, dense or sparse) and integer labels 0..C-1.
      y has the shape (d, C).
    - `strength`: $c_r$, positive. The paper prints 1; at the code's 1/2 the condition number
      is the paper's, $7 \cdot 10^4$ on MNIST.
    - `seed`: of NumPy's generator, for the $x_c$ to begin with.

    >>> import bilevax as bx, numpy as np
    >>> rows = np.eye(6, dtype="float32"), np.arange(6) % 3
    >>> task = bx.problems.distillation(rows)
    >>> task.x0.rows.shape, task.x0.penalties.shape, task.y0.shape
    ((3, 6), (6,), (6, 3))
    >>> algorithm = bx.algorithms.amigo_cg(outer_step_size=1.0, inner_step_size=0.1)
    >>> solution = bx.minimize(task.problem, algorithm, task.x0, task.y0, num_steps=50)
    >>> float(task.accuracy(solution.y, *rows))
    1.0

    **References:** M. Arbel and J. Mairal, Amortized implicit differentiation for stochastic
    bilevel optimization, ICLR 2022; T. Wang, J.-Y. Zhu, A. Torralba and A. A. Efros, Dataset
    distillation, arXiv 1811.10959, 2018.
    """
    ((features, labels),) = as_labelled(rows=rows)
    num_features = check_features((features, labels), (features, labels))
    classes, dtype = int(labels.max()) + 1, jnp.result_type(float)
    as_positive("strength", strength)
    # JAX's normal numbers of one key are others in float32 and in float64.
    start = np.random.default_rng(seed).standard_normal((classes, num_features))
    return Distillation(
        problem=BilevelProblem(
            outer=ValidationLoss(cross_entropy),
            inner=SyntheticLoss(Penalty("per-feature", strength, None)),
            outer_data=(as_features(features), jnp.asarray(labels)),
        ),
        x0=Distilled(jnp.asarray(start, dtype), jnp.zeros(num_features, dtype)),
        y0=jnp.zeros((num_features, classes), dtype),
    )
