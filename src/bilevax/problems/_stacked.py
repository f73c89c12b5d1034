"""Many penalised linear models on the same rows, as one problem."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from optax.losses import softmax_cross_entropy_with_integer_labels

from .._core.types import Numbers
from .._rows.sparse import is_sparse
from ._base import BilevelProblem
from ._losses import log_losses
from ._penalised import as_features

LOSSES = ("squared", "binary", "multinomial")


class Weights(NamedTuple):
    """The weights of K models with C outputs: a vector a feature, and intercepts."""

    weights: Float[Array, "models features outputs"]
    intercept: Float[Array, "models outputs"]


class Scaling(eqx.Module):
    r"""Each model's own units: its feature i is $(a_i - \mu_{ki}) \sigma_{ki}$.

    A feature whose $\sigma$ is zero, such as a constant one, has no effect.
    """

    means: Float[Array, "models features"]
    factors: Float[Array, "models features"]

    def scores(self, features: Any, y: Weights) -> Float[Array, "models outputs rows"]:
        """Every model's scores, by one product of the features as they are.

        Rows come last, that what is computed of each score runs along them: for ten outputs
        a product with the Hessian takes half as long as with outputs last.
        """
        weights = self.factors[..., None] * y.weights
        num, size, outputs = weights.shape
        shift = y.intercept - jnp.einsum("ki,kic->kc", self.means, weights)
        vectors = jnp.swapaxes(weights, 1, 2).reshape(num * outputs, size)
        # Of dense features too, `(features @ vectors.T).T` would have outputs last in memory.
        if is_sparse(features):
            found = (features @ vectors.T).T
        else:
            found = jax.lax.dot_general(vectors, features, (((1,), (1,)), ((), ())))
        return found.reshape(num, outputs, -1) + shift[..., None]


class RowLosses(eqx.Module):
    """Every model's loss on every row."""

    kind: str = eqx.field(static=True)

    def __call__(
        self, scores: Float[Array, "models outputs rows"], targets: Numbers
    ) -> Float[Array, "models rows"]:
        if self.kind == "multinomial":
            labels = jnp.broadcast_to(targets, (len(scores), *targets.shape))
            return softmax_cross_entropy_with_integer_labels(scores, labels, axis=1)
        scores = scores[:, 0]
        if self.kind == "binary":
            return log_losses(scores, targets)
        return (scores - targets) ** 2 / 2

    def curvature(
        self, scores: Float[Array, "models outputs rows"]
    ) -> Float[Array, "models outputs rows"]:
        """The second derivative in each score."""
        if self.kind == "squared":
            return jnp.ones_like(scores)
        p = jax.nn.sigmoid(scores) if self.kind == "binary" else jax.nn.softmax(scores, axis=1)
        return p * (1 - p)


class WeightedLoss(eqx.Module):
    """The mean over rows of all models' losses, each row weighted for each model."""

    losses: RowLosses
    scaling: Scaling

    def __call__(self, x, y, batch):
        del x
        return jnp.sum(self.by_model(y, batch))

    # A solve, its adjoint and its hypergradient evaluate it at ten places and more: it is
    # traced, and differentiated, once for all of them.
    @jax.jit
    def by_model(self, y, batch):
        """Each model's own part."""
        features, targets, weights = batch
        losses = self.losses(self.scaling.scores(features, y), targets)
        return jnp.mean(weights.T * losses, axis=1)


class PenalisedLoss(eqx.Module):
    """The same, and the penalties."""

    loss: WeightedLoss
    penalties: Callable
    num_rows: Float[Array, ""]

    def __call__(self, x, y, batch):
        return jnp.sum(self.by_model(x, y, batch))

    def by_model(self, x, y, batch):
        """Each model's own part."""
        squares = jnp.sum(y.weights**2, axis=2)
        penalty = jnp.sum(self.penalties(x) * squares, axis=1)
        # Scores do not change when all of a model's intercepts do: this holds their sum at 0.
        if y.intercept.shape[1] > 1:
            penalty = penalty + jnp.sum(y.intercept, axis=1) ** 2
        return self.loss.by_model(y, batch) + penalty / (2 * self.num_rows)


class SharedPenalties(eqx.Module):
    """$e^x$, the same for all models; x is one number or one a feature."""

    shape: tuple[int, int] = eqx.field(static=True)

    def __call__(self, x):
        return jnp.broadcast_to(jnp.exp(x), self.shape)


class Stacked(eqx.Module):
    """K penalised models on shared rows, and where to start them.

    - `problem`: the `bx.BilevelProblem`, whose y is a named tuple of `weights`
      (K, d, C) and `intercept` (K, C);
    - `y0`: zero weights.
    """

    problem: BilevelProblem
    y0: Weights


class Rows(NamedTuple):
    """The rows of a level, and how often each counts for each model."""

    features: Any
    targets: Numbers
    weights: Float[Numbers, "rows models"]


def stacked(
    training: Rows,
    validation: Rows,
    *,
    loss: str,
    scaling: Scaling,
    penalties: Callable | None = None,
    num_outputs: int = 1,
) -> Stacked:
    r"""K linear models, such as those of the folds of cross-validation, as one problem.

    $g(x, y) = \frac1n \sum_k \big( \sum_j W_{jk} \ell(s_{jk}, b_j)
    + \frac12 \sum_i P_{ki}(x) \|w_{ki}\|^2 \big)$ over the n training rows, with the scores
    $s_{jk} = c_k + \sum_i \sigma_{ki} (a_{ji} - \mu_{ki}) w_{ki}$, and
    $f(y) = \sum_k \sum_j V_{jk} \ell(s_{jk}, b_j) / \sum_j V_{jk}$ over those to validate
    on, which may be the same. The models share x and the rows of a level, and one product of
    the features with all weights serves them all; the hypergradient is the sum of theirs.

    **Arguments:**

    - `training`, `validation`: the rows of each level: features, rows x d, dense or sparse;
      targets, numbers, labels 0 and 1, or labels 0..C-1, one a row; and W or V, how often a
      row counts for a model.
    - `loss`: "squared" (half the square), "binary" or "multinomial" (log losses).
    - `scaling`: $\mu$ and $\sigma$, each (K, d).
    - `penalties`: P, a callable of x that returns (K, d) positive numbers, a module whose
      arrays are arguments of compiled programs; $e^x$ by default.
    - `num_outputs`: C of a multinomial loss.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}; got {loss!r}.")
    dtype = jnp.result_type(float)
    # In NumPy: each operation of JAX outside of a program is a program of its own.
    train, valid = (np.asarray(rows.weights, dtype) for rows in (training, validation))
    num_rows, num_models = train.shape
    total = np.sum(valid, axis=0)
    share = valid * np.where(total > 0, len(valid) / np.where(total > 0, total, 1), 0)
    inner = as_features(training.features)
    shared = validation.features is training.features
    beside = inner if shared else as_features(validation.features)
    size = inner.shape[1]
    if penalties is None:
        penalties = SharedPenalties((num_models, size))
    outer = WeightedLoss(RowLosses(loss), scaling)
    count = jax.device_put(np.asarray(num_rows, dtype))
    outputs = num_outputs if loss == "multinomial" else 1
    zeros = lambda *shape: jax.device_put(np.zeros((num_models, *shape, outputs), dtype))
    return Stacked(
        problem=BilevelProblem(
            outer=outer,
            inner=PenalisedLoss(outer, penalties, count),
            outer_data=(beside, validation.targets, jax.device_put(share)),
            inner_data=(inner, training.targets, jax.device_put(train)),
        ),
        y0=Weights(zeros(size), zeros()),
    )
