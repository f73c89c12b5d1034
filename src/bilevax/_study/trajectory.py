"""The iterates of an inner solver with their derivatives, for those who study them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from .._core.result import Result
from .._core.types import Key
from .._rows.batch import full
from .._run.arguments import checked
from .._run.check import as_variable
from ..hypergradients import Unrolled
from ..problems._base import Problem
from ..solvers import AbstractSolver
from ..solvers._base import IterativeSolver, Solver
from ..solvers._equation import AdjointEquation, InnerEquation


class Trajectory(eqx.Module):
    r"""What happened along a solve, at the steps `at`: one row a step.

    x, y and gradients are flat vectors of sizes n and m.

    - `at`: the steps t;
    - `y`: $y_t$;
    - `jacobian`: $J_t = (\partial y_t / \partial x)^\top$, n x m, the transpose of what
      `jax.jacobian` returns;
    - `analytic`, `automatic`, `implicit`: the gradients $g^1, g^2, g^3$ of
      $f(x, y_t)$; the last is `None` without `linear`;
    - `result`: a `bx.Result`, which tells whether the run diverged.
    """

    at: Int[Array, "records"]
    y: Float[Array, "records m"]
    jacobian: Float[Array, "records n m"]
    analytic: Float[Array, "records n"]
    automatic: Float[Array, "records n"]
    implicit: Float[Array, "records n"] | None
    result: Result

    def residual(self, problem: Problem, x: PyTree, solution: PyTree) -> Array:
        r"""$R(J_t) = J_t \partial_{yy} g + \partial_{xy} g$ at the solution, n x m a record.

        It is zero at the exact Jacobian only, and $|R(J_t)| |y_t - y^*|$ is what bounds the
        error of $g^2$ (Ablin et al. 2020, Prop. 2.2). For a fixed point $\phi$ it is that of
        $F = y - \phi$.

        **Arguments:** `problem`, `x`: those of the run; `solution`: $y^*(x)$.

        >>> import bilevax as bx, jax.numpy as jnp
        >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2 / 2)
        >>> path = bx.trajectory(problem, bx.GradientDescent(0.5), 1.0, 0.0, at=[0, 1, 2])
        >>> path.residual(problem, 1.0, 1.0)[:, 0, 0].tolist()
        [-1.0, -0.5, -0.25]
        """
        flat_x, unravel_x = ravel_pytree(as_variable("x", x))
        flat_y, unravel_y = ravel_pytree(as_variable("solution", solution))
        batch = full(problem.inner_data, None)

        def flat(x, y):
            return ravel_pytree(problem.residual(unravel_x(x), unravel_y(y), batch))[0]

        at_x, at_y = jax.jacobian(flat, argnums=(0, 1))(flat_x, flat_y)
        return self.jacobian @ at_y.T + at_x.T


def trajectory(
    problem: Problem,
    inner: IterativeSolver,
    x: PyTree,
    y0: PyTree,
    *,
    at: Any,
    linear: Solver | None = None,
    key: Key | None = None,
) -> Trajectory:
    r"""Runs an inner solver once, and its derivative along every number of x beside it.

    $J_t$ is carried forward, $J_{t+1} = J_t (I - \rho H) - \rho K$ for gradient descent, on
    the rows that the solver draws. All three gradients at every step of `at` then come
    from a single run. This takes as long as n runs: to study convergence on small
    problems. To use a gradient, take `bx.hypergradient`.

    **Arguments:**

    - `problem`: a `bx.MinProblem` or `bx.BilevelProblem`.
    - `inner`: an iterative solver with a given step. As many are taken as `at` says; where
      it diverges, what follows is infinite or NaN.
    - `x`, `y0`: where; the derivative of y0 is zero.
    - `at`: increasing steps t, from 0 on, at which to look.
    - `linear`: a solver for $g^3$, such as `bx.Direct()`; without, it is left out.
    - `key`: for solvers that draw rows. The gradients always see all rows.

    **Returns:** a `bx.Trajectory`. Works under `jit` and `vmap`.

    >>> import bilevax as bx
    >>> problem = bx.MinProblem(lambda x, y: (y - x) ** 2 / 2)
    >>> path = bx.trajectory(problem, bx.GradientDescent(0.5), 1.0, 0.0, at=[0, 1, 2])
    >>> path.jacobian[:, 0, 0].tolist(), path.analytic[:, 0].tolist()
    ([0.0, 0.5, 0.75], [1.0, 0.5, 0.25])

    **Reference:** P. Ablin, G. Peyré and T. Moreau, ICML 2020, Eqs. 2-4.
    """
    estimator = Unrolled(inner, mode="forward")
    x, y, _, key = checked(problem, estimator, {"x": x, "y0": y0}, None, key)
    steps = np.asarray(at)
    if steps.ndim != 1 or len(steps) == 0 or steps.dtype.kind not in "iu":
        raise ValueError(f"at must be a list of integers, got {at!r}.")
    if steps[0] < 0 or np.any(np.diff(steps) <= 0):
        raise ValueError(f"at must be increasing, from 0 on; got {at!r}.")
    if callable(inner.num_steps):
        raise ValueError("A trajectory takes the steps of `at`: give the solver an int.")
    inner = eqx.tree_at(lambda s: s.num_steps, inner, max(int(steps[-1]), 1))
    return _trajectory(problem, inner, linear, x, y, jnp.asarray(steps), key)


@eqx.filter_jit
def _trajectory(problem, inner, linear, x, y, steps, key) -> Trajectory:
    flat_x, unravel_x = ravel_pytree(x)
    equation = InnerEquation(problem, x)
    run = inner.prepare(equation, y, inner.init(equation, y), key, jnp.int32(0))
    numbers, rest = eqx.partition(run.carry, eqx.is_inexact_array)

    def advance(x, numbers, rest, num):
        carry = eqx.combine(numbers, rest)
        carry = run.of(InnerEquation(problem, unravel_x(x))).advance(inner, carry, num)
        return eqx.partition(carry, eqx.is_inexact_array)

    def segment(state, num):
        numbers, tangents, rest = state
        push = lambda v, t: jax.jvp(
            lambda x, n: advance(x, n, rest, num), (flat_x, numbers), (v, t), has_aux=True
        )
        directions = jnp.eye(flat_x.size, dtype=flat_x.dtype)
        numbers, tangents, rest = jax.vmap(push, out_axes=(None, 0, None))(directions, tangents)
        return (numbers, tangents, rest), _record(problem, linear, x, (numbers, tangents, rest))

    # Neither y0 nor what the solver starts with depends on x.
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros((flat_x.size, *leaf.shape), leaf.dtype), numbers
    )
    lengths = jnp.diff(steps, prepend=0)
    (numbers, _, rest), rows = jax.lax.scan(segment, (numbers, zeros, rest), lengths)
    y, state = eqx.combine(numbers, rest)
    result = inner.result(equation, y, inner.finish(run, y, state)[0])
    return Trajectory(steps, *rows, result)


def _record(problem, linear: AbstractSolver | None, x, state):
    """y, J and the three gradients where the run stands."""
    numbers, tangents, rest = state
    y = eqx.combine(numbers, rest)[0]
    flatten = lambda tree: ravel_pytree(tree)[0]
    jacobian = jax.vmap(flatten)(tangents[0])
    _, (f_x, f_y) = problem.value_and_gradients(x, y, full(problem.outer_data, "auto"))
    f_x, flat_f_y = flatten(f_x), flatten(f_y)
    automatic = f_x + jacobian @ flat_f_y
    if linear is None:
        return flatten(y), jacobian, f_x, automatic, None
    linearization = problem.linearize(x, y, full(problem.inner_data, "auto"))
    adjoint = AdjointEquation(problem, x, y, f_y, linearization)
    state = linear.init(adjoint, adjoint.zeros())
    z, _, _, _ = linear.solve(adjoint, None, state, jax.random.key(0), jnp.int32(0))
    return flatten(y), jacobian, f_x, automatic, f_x + flatten(linearization.cross(z))
