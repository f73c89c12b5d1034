"""An outer step that needs no tuning where the scale of x is known."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.tree
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

from .._core.numbers import as_nonnegative, as_positive
from .._core.tree import float_dtype
from .._core.types import Number


class AdaptiveState(NamedTuple):
    """The root of the sum of the squared norms so far."""

    root: Float[Array, ""]


def adaptive_step(distance: Number = 1.0) -> optax.GradientTransformation:
    r"""A step size that decreases with the gradients seen so far, one for all of x.

    $x_{k+1} = x_k - \gamma_k \psi_k$ with
    $\gamma_k = D \, / \sqrt{\sum_{j \le k} \|\psi_j\|_\infty^2}$: no coordinate moves by more
    than D in a step, and the k-th step is of the order of $D / \sqrt{k}$. This is AdaGrad with
    one step for all coordinates (Ward, Wu and Bottou 2019, Algorithm 1 with $b_0 = 0$), with
    the largest coordinate in place of the Euclidean norm, so that D is a distance per
    coordinate whatever their number. Unlike AdaGrad or Adam it keeps the direction of the
    hypergradient: a coordinate that does not matter does not move.

    **Arguments:**

    - `distance`: D, in the units of x. Where x holds logarithms, 1 is natural.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: 1e3 * jnp.sum((y - 1.0) ** 2),
    ...     inner=lambda x, y: jnp.sum((y - x) ** 2))
    >>> algorithm = bx.algorithms.amigo_cg(outer_step_size=bx.adaptive_step())
    >>> bx.minimize(problem, algorithm, jnp.zeros(2), jnp.zeros(2)).x.round(3).tolist()
    [1.0, 1.0]

    **Reference:** R. Ward, X. Wu and L. Bottou, AdaGrad stepsizes: sharp convergence over
    nonconvex landscapes, ICML 2019.
    """
    # One function with an array leaf, so that no call compiles anything anew.
    return optax.GradientTransformation(
        _init, Partial(_update, as_positive("distance", distance))
    )


def _init(params):
    return AdaptiveState(jnp.zeros((), float_dtype(params)))


def _update(distance, updates, state, params=None):
    del params
    # No square is formed, so that nothing over- or underflows.
    root = jnp.hypot(state.root, optax.tree.norm(updates, ord=jnp.inf))
    unit = jnp.where(root > 0, root, 1)
    step = lambda u: -jnp.asarray(distance, u.dtype) * (u / jnp.asarray(unit, u.dtype))
    return jax.tree.map(step, updates), AdaptiveState(root)


def adaptive_steps(distances: PyTree) -> optax.GradientTransformation:
    r"""The rule of `adaptive_step` for each row of each leaf of x on its own.

    The leaves of x have a leading axis, such as that of runs side by side; entry r of a leaf
    takes the steps it would take alone, with that leaf's distance. A distance of 0 leaves it
    where it is.

    **Arguments:**

    - `distances`: a pytree like x of one number a leaf.

    >>> import jax.numpy as jnp
    >>> steps = adaptive_steps({"shared": 1.0, "free": 0.5})
    >>> x = {"shared": jnp.zeros(2), "free": jnp.zeros((2, 3))}
    >>> gradient = {"shared": jnp.array([3.0, -5.0]), "free": jnp.eye(2, 3)}
    >>> update, _ = steps.update(gradient, steps.init(x))
    >>> update["shared"].tolist(), update["free"][0].tolist()
    ([-1.0, 1.0], [-0.5, -0.0, -0.0])
    """
    distances = jax.tree.map(lambda d: as_nonnegative("distances", d), distances)
    return optax.GradientTransformation(_init_rows, Partial(_update_rows, distances))


def _init_rows(params):
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[0], leaf.dtype), params)


def _update_rows(distances, updates, state, params=None):
    del params

    def of_leaf(distance, update, root):
        of_row = lambda u, r: _update(distance, u, AdaptiveState(r))
        step, new = jax.vmap(of_row)(update, root)
        return step, new.root

    leaves, structure = jax.tree.flatten(updates)
    parts = zip(jax.tree.leaves(distances), leaves, jax.tree.leaves(state), strict=True)
    steps, roots = zip(*(of_leaf(*part) for part in parts), strict=True)
    return structure.unflatten(steps), structure.unflatten(roots)
