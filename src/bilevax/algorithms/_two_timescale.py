r"""BSA and TTSA: x moves along one random term of a Neumann series, and y follows it.

With $p$ uniform on $\{0, \dots, b - 1\}$ and fresh rows for every product,
$z = -\eta b \prod_{i=1}^{p} (I - \eta H_i) \, \partial_y f$, whose mean is the series of b
terms. x moves first, and y then at the new x:

| preset | steps of y for one of x | powers of k of $\alpha$ and $\gamma$, as published |
|---|---|---|
| `bsa` | $T_k$, growing | -1/2 and -1/2 |
| `ttsa` | 1 | -2/5 and -3/5; for a strongly convex value function -2/3 and -1 |

A number as a step is constant, and so are TTSA's published steps for a non-convex problem, in
the horizon K: $K^{-2/5}$ and $K^{-3/5}$. `bx.schedules.polynomial` has the powers of k, which
need no horizon; that of the inner step is read at the outer step by `.outer()`.
"""

from typing import Any

import jax.numpy as jnp

from .._core.types import ArrayLike, NumSteps, StepSize
from .._rows.samplers import BatchSize
from ..schedules import as_step_size
from ..solvers import Neumann
from ..solvers._base import checked_num_steps
from ..solvers._directions import OuterStep
from ._base import Algorithm
from ._batches import ALL, per_oracle
from ._implicit import implicit
from ._steps import descent


def root_steps(k):
    r"""$T_k = \lceil \sqrt{k + 1} \rceil$, the inner steps of BSA.

    >>> [int(root_steps(k)) for k in (0, 1, 3, 4, 99, 100)]
    [1, 2, 2, 3, 10, 11]
    """
    # Rounding must not decide: the root's integer part is corrected by integers.
    n = jnp.asarray(k, jnp.int32) + 1
    root = jnp.floor(jnp.sqrt(jnp.asarray(n, float))).astype(jnp.int32)
    root = root + ((root + 1) ** 2 <= n) - (root**2 > n)
    return root + (root**2 < n)


def bsa(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    inner_steps: NumSteps = root_steps,
    adjoint_steps: NumSteps = 10,
    lengths: ArrayLike | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""BSA: a growing number of stochastic steps on y, and one random term for z.

    x moves first, along the term at the last y; then y takes $T_k$ steps at the new x, from
    where it was.

    **Arguments:** see `bilevax.algorithms`, and

    - `adjoint_step_size`: $\eta$, and `adjoint_steps`: b, of the order of
      $\kappa_g \log(1/\epsilon)$ in theory, 10 in a public benchmark;
    - `inner_steps`: $\lceil \sqrt{k + 1} \rceil$ by default;
    - `lengths`: the numbers p in place of drawn ones, as in `bx.Neumann`;
    - batch sizes: one row a call by default, as published; a public benchmark has 64. `None`
      is all rows.

    >>> import bilevax as bx
    >>> steps = bx.schedules.polynomial(0.1, 0.5)
    >>> algorithm = bx.algorithms.bsa(
    ...     outer_step_size=steps, inner_step_size=steps.outer(), adjoint_step_size=0.1)

    **Reference:** S. Ghadimi and M. Wang, Approximation methods for bilevel programming,
    arXiv 1802.02246, 2018.
    """
    steps = inner_step_size, adjoint_step_size, outer_step_size
    term = {"num_steps": adjoint_steps, "lengths": lengths}
    return _x_first(*steps, inner_steps, term, batch_sizes)


def ttsa(
    *,
    outer_step_size: OuterStep,
    inner_step_size: StepSize = None,
    adjoint_step_size: StepSize = None,
    adjoint_steps: NumSteps = 10,
    lengths: ArrayLike | None = None,
    **batch_sizes: BatchSize,
) -> Algorithm:
    r"""TTSA: one stochastic step on y for each of x, on two timescales.

    x moves first, along one random term of a Neumann series at the last y; then y takes a step
    at the new x, the longer one.

    **Arguments:** see `bilevax.algorithms` and `bsa`; batches have one row by default.

    >>> import bilevax as bx
    >>> algorithm = bx.algorithms.ttsa(
    ...     outer_step_size=bx.schedules.polynomial(0.1, 3 / 5),
    ...     inner_step_size=bx.schedules.polynomial(0.1, 2 / 5).outer(), adjoint_step_size=0.1)

    **Reference:** M. Hong, H.-T. Wai, Z. Wang and Z. Yang, A two-timescale stochastic algorithm
    framework for bilevel optimization: complexity analysis and application to actor-critic,
    SIAM Journal on Optimization 33, 2023.
    """
    steps = inner_step_size, adjoint_step_size, outer_step_size
    term = {"num_steps": adjoint_steps, "lengths": lengths}
    return _x_first(*steps, 1, term, batch_sizes)


def _x_first(
    inner_step_size: StepSize,
    adjoint_step_size: StepSize,
    outer_step_size: OuterStep,
    inner_steps: NumSteps,
    term: dict[str, Any],
    batch_sizes: dict[str, BatchSize],
) -> Algorithm:
    """One random term for z, and y after x."""
    one: dict[str, BatchSize] = {"batch_size": 1}
    rows = per_oracle(ALL, one | batch_sizes)
    checked_num_steps(term["num_steps"], "adjoint_steps")
    adjoint = Neumann(
        step_size=as_step_size(adjoint_step_size, "adjoint_step_size"),
        batch_size=rows["hvp"],
        randomized=True,
        **term,
    )
    inner = descent("inner", inner_step_size, inner_steps, rows["inner"])
    return implicit(
        inner, adjoint, outer_step_size, rows, order="x first", warm_start_adjoint=False
    )
