"""AccBiO: acceleration on all levels (Ji and Liang 2023)."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import PyTree

from .._core.numbers import as_positive
from .._core.tree import axpy, scale
from .._core.types import Number, NumSteps, Scalar, StepSize
from ..hypergradients import Implicit
from ..schedules import as_step_size
from ..solvers import AcceleratedGradientDescent, HeavyBall
from ..solvers._base import checked_num_steps
from ..solvers._directions import AbstractDirection
from ._base import Algorithm


class Sequences(NamedTuple):
    """Those beside the point where hypergradients are taken."""

    x: PyTree
    z: PyTree


class ThreeSequences(AbstractDirection):
    r"""Nesterov's outer step, with gradients at $\tilde x_k = \epsilon x_k + (1-\epsilon) z_k$.

    $z_{k+1} = \tilde x_k - a \psi_k$ and
    $x_{k+1} = \tau \tilde x_k + (1 - \tau) x_k - b \psi_k$, with
    $\tau = \sqrt{a \mu} / 2$, $\epsilon = \sqrt{a\mu} / (\sqrt{a\mu} + 2)$ and
    $b = \sqrt{a / \mu}$.
    """

    step_size: Scalar
    strong_convexity: Scalar

    def init(self, params):
        return Sequences(params, params)

    def update(self, direction, state, params, clock):
        del clock
        a, mu = jnp.asarray(self.step_size), jnp.asarray(self.strong_convexity)
        root = jnp.sqrt(a * mu)
        tau, epsilon, b = root / 2, root / (root + 2), jnp.sqrt(a / mu)
        z = axpy(-a, direction, params)
        between = optax.tree.add(scale(tau, params), scale(1 - tau, state.x))
        x = axpy(-b, direction, between)
        there = optax.tree.add(scale(epsilon, x), scale(1 - epsilon, z))
        return optax.tree.sub(there, params), Sequences(x, z)


class Last(eqx.Module):
    """Shows $z_k$."""

    def __call__(self, shown: PyTree, x: PyTree, outer_state: Any, k: Any) -> PyTree:
        """The z of the outer step's state."""
        del shown, x, k
        return outer_state.z


def accbio(
    *,
    outer_step_size: Number,
    outer_strong_convexity: Number,
    inner_strong_convexity: Number,
    inner_step_size: StepSize = None,
    inner_steps: NumSteps = 10,
    adjoint_steps: NumSteps = 10,
    warm_start_inner: bool = False,
) -> Algorithm:
    r"""AccBiO: Nesterov's method on y and on x, the heavy ball on z, on all rows.

    $\tilde x_k = \epsilon x_k + (1 - \epsilon) z_k$ is where T steps of Nesterov's method on y
    and N of the heavy ball on the adjoint system, from zero, give the hypergradient $\psi_k$;
    then $x_{k+1} = \tau \tilde x_k + (1 - \tau) x_k - b \psi_k$ and
    $z_{k+1} = \tilde x_k - a \psi_k$, which is what is shown. For a strongly convex value
    function.

    **Arguments:** see `bilevax.algorithms`, and

    - `outer_step_size`: a, at most 1 / (2 L) of the value function, a number;
    - `outer_strong_convexity`: $\mu$ of the value function;
    - `inner_strong_convexity`: $\mu_g$, and `inner_step_size` is $1/L_g$: of both levels;
    - `warm_start_inner`: y starts from the initial one at every outer step, as in AccBiO; from
      the last one it is AccBiO-BG.

    Smaller constants of strong convexity than the true ones are slower, larger ones may
    diverge.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.accbio(
    ...     outer_step_size=0.5, outer_strong_convexity=0.1, inner_step_size=1.0,
    ...     inner_strong_convexity=0.1)

    **Reference:** K. Ji and Y. Liang, Lower bounds and accelerated algorithms for bilevel
    optimization, Journal of Machine Learning Research 24, 2023.
    """
    convexity = as_positive("inner_strong_convexity", inner_strong_convexity)
    step_size = as_step_size(inner_step_size, "inner_step_size")
    inner = AcceleratedGradientDescent(
        step_size,
        checked_num_steps(inner_steps, "inner_steps"),
        strong_convexity=convexity,
    )
    adjoint = HeavyBall(
        step_size,
        checked_num_steps(adjoint_steps, "adjoint_steps"),
        strong_convexity=convexity,
    )
    outer = ThreeSequences(
        as_positive("outer_step_size", outer_step_size),
        as_positive("outer_strong_convexity", outer_strong_convexity),
    )
    estimator = Implicit(
        inner, adjoint, warm_start_inner=warm_start_inner, warm_start_adjoint=False
    )
    return Algorithm(estimator, outer, output=Last())
