"""An algorithm: a hypergradient, an outer step, and how x moves."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import optax
from jaxtyping import PyTree

from ..hypergradients import AbstractHypergradient
from ..hypergradients._base import Estimator
from ..solvers._directions import AbstractDirection, OuterStep, as_outer


class Algorithm(eqx.Module):
    r"""What `bx.minimize` runs: x moves along an estimated hypergradient.

    At the outer step k, with the estimate $\psi_k$ of the gradient at $x_k$,
    $x_{k+1} = \mathrm{apply}(x_k, u_k)$, where $u_k = -\gamma_k \psi_k$ or what an optax
    transformation makes of $\psi_k$.

    **Arguments:**

    - `hypergradient`: the estimator, such as `bx.Implicit`.
    - `outer`: $\gamma$, a float or a schedule of the outer step (changing either never
      recompiles), or an optax transformation (changing it does).
    - `apply`: how x takes an update, `apply(x, update) -> x`; additive by default. A
      projection goes here.
    - `output`: what `Solution.x`, metrics and `tol` see where it is not the last x:
      `output(shown, x, outer_state, k)` makes it of what was shown before, of the k-th x,
      its projection included, and of the outer step's state. $x_0$ is shown first. See
      `bx.averaged`.

    >>> import bilevax as bx, jax, jax.numpy as jnp, optax
    >>> estimator = bx.Implicit(bx.GradientDescent(0.5, 10), bx.CG(5))
    >>> def nonnegative(x, update):
    ...     return jax.tree.map(lambda a, b: jnp.maximum(a + b, 0), x, update)
    >>> algorithm = bx.Algorithm(estimator, optax.adam(1e-2), apply=nonnegative)
    """

    hypergradient: AbstractHypergradient
    outer: AbstractDirection
    apply: Callable
    output: Callable | None

    def __init__(
        self,
        hypergradient: Estimator,
        outer: OuterStep,
        apply: Callable[[PyTree, PyTree], PyTree] | None = None,
        output: Callable[[PyTree, PyTree, Any, Any], PyTree] | None = None,
    ):
        if not isinstance(hypergradient, AbstractHypergradient):
            raise TypeError(
                "hypergradient must be an estimator, such as bx.Implicit(inner, linear), "
                f"got {hypergradient!r}."
            )
        self.hypergradient = hypergradient
        self.outer = as_outer(outer, "outer")
        if output is not None and not callable(output):
            raise TypeError(
                f"output must be a function, such as bx.averaged(), got {output!r}."
            )
        self.apply = optax.apply_updates if apply is None else apply
        self.output = output


# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    AnyAlgorithm = Algorithm
else:
    AnyAlgorithm = Any
