"""Value functions and solution maps that JAX can differentiate."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Float, PyTree

from ._check import as_variable, check_structures
from ._curvature import with_measured_steps
from ._equation import Adjoint, Inner
from ._guards import not_differentiable, reverse_only
from ._lift import Lifted, split
from ._problem import AbstractProblem, FixedPointProblem, Linearization, MinProblem
from ._result import Result
from ._sampling import full
from ._tree import negative
from ._types import Estimator, Function, Key, Solver
from .hypergradients import AbstractHypergradient, Analytic, Implicit, Unrolled
from .solvers import CG, AbstractSolver, Direct

# Up to this many numbers a dense factorisation is cheaper than anything else.
_SMALL = 200


def minimum(
    objective: Function,
    y0: PyTree,
    inner: Solver | None = None,
    gradient: str | Estimator = "analytic",
    linear: Solver | None = None,
    data: PyTree = None,
    key: Key | None = None,
) -> Callable[[PyTree], Float[Array, ""]]:
    r"""The value function $\ell(x) = \min_y L(x, y)$, with a derivative that you choose.

    Its value at x is $L(x, y_t)$ at the approximate minimiser $y_t$, always found from
    `y0`. `jax.grad` gives (Ablin et al. 2020)

    - `"analytic"`: $g^1 = \partial_x L(x, y_t)$, no more memory than the solver needs;
    - `"automatic"`: $g^2$, through the iterations, with twice as many digits but t steps
      of memory: `bx.Unrolled`;
    - `"implicit"`: $g^3$, with twice as many digits and a linear solve: `bx.Implicit`;
    - that of an estimator of your own, such as `bx.Unrolled(inner, checkpoint="sqrt")`.

    **Arguments:**

    - `objective`: $L$, called as `objective(x, y)` or, with `data`,
      `objective(x, y, batch)`; or a `bx.MinProblem`. x and y may be Equinox modules; their
      arrays of real numbers are what is differentiated and minimised over.
    - `y0`: where the solver starts, a constant under differentiation.
    - `inner`: the solver, such as `bx.GradientDescent(step_size, num_steps)`. An estimator
      brings its own.
    - `gradient`: see above.
    - `linear`: for `"implicit"`: `bx.Direct()` by default for a y of up to 200 numbers,
      conjugate gradient otherwise.
    - `data`: rows; see `bx.BilevelProblem`.
    - `key`: for solvers that draw rows; the same at every call.

    **Returns:** a function of x. It works under `jit`, `vmap` and `grad`, and its
    derivatives with respect to values that `objective` has closed over are right too.
    Forward mode and second derivatives raise `TypeError`, as do derivatives with respect
    to `data`, step sizes or anything else for which the estimator gives none. Where the
    solver fails, the call raises with the text of its `bx.Result`.

    >>> import bilevax as bx, jax
    >>> ell = bx.minimum(
    ...     lambda x, y: (y - x) ** 2 / 2 + y**2 / 2, 0.0, bx.GradientDescent(0.3, 40))
    >>> round(float(ell(2.0)), 4), round(float(jax.grad(ell)(2.0)), 4)
    (1.0, 1.0)
    """
    problem = _min_problem(objective, data)
    y, y_rest = split(y0)
    estimator = _estimator(gradient, inner, linear, optax.tree.size(y))
    arrays, estimator = eqx.partition(estimator, eqx.is_array)

    def set_up(x_rest, lifted_x, constants):
        y, data, arrays, _ = constants
        lifted = Lifted(problem.objective, x_rest, y_rest)
        lifted_problem = _like(problem, lifted, data)
        own = eqx.combine(arrays, estimator)
        check_structures(lifted_problem, lifted_x, y)
        return lifted_problem, with_measured_steps(own, lifted_problem, lifted_x, y)

    def estimate(estimator, problem, x, y, key):
        state = estimator.init(problem, x, y)
        gradient, state, _, result = estimator(problem, x, state, key)
        failed = result != Result.successful
        return result.error_if((state.value, gradient), failed)

    @partial(jax.jit, static_argnums=0)
    def value(x_rest, lifted_x, constants):
        # The analytic estimator is the cheapest way to a value.
        problem, own = set_up(x_rest, lifted_x, constants)
        cheap = Analytic(own.inner, outer_batch_size=own.outer_sampler)
        return estimate(cheap, problem, lifted_x, constants[0], constants[-1])[0]

    @partial(jax.jit, static_argnums=0)
    def value_and_gradient(x_rest, lifted_x, constants):
        problem, own = set_up(x_rest, lifted_x, constants)
        return estimate(own, problem, lifted_x, constants[0], constants[-1])

    def ell(x: PyTree) -> Float[Array, ""]:
        x, x_rest = _variable(x)
        lifted = Lifted(problem.objective, x_rest, y_rest)
        captured = lifted.captured(x, y, *_batch(problem.inner_data))
        constants = _constants(y, problem.inner_data, arrays, key)
        differentiable = jax.custom_jvp(partial(value, x_rest))

        def rule(primals, tangents):
            out = value_and_gradient(x_rest, *primals)
            value, gradient = not_differentiable(out, _NO_SECOND_DERIVATIVE)
            return value, _reverse_product(gradient, tangents[0], value.dtype)

        differentiable.defjvp(rule, symbolic_zeros=True)
        return differentiable((x, captured), constants)

    return ell


def argmin(
    objective: Function,
    y0: PyTree,
    inner: Solver,
    linear: Solver | None = None,
    data: PyTree = None,
    key: Key | None = None,
) -> Callable[[PyTree], PyTree]:
    r"""The solution map $x \mapsto y^*(x)$, with implicit derivatives of every order.

    $\frac{dy^*}{dx} = -(\partial_y F)^{-1} \partial_x F$ at the approximate solution, with
    $F = \nabla_y g$, or $F = y - \phi$ for a `bx.FixedPointProblem` (Grazzi et al. 2021,
    Eq. 4; Arbel and Mairal 2022, Prop. 1).

    **Arguments:**

    - `objective`: $g$, called as `objective(x, y)` or, with `data`,
      `objective(x, y, batch)`; or a problem, whose inner level is solved. x and y may be
      Equinox modules.
    - `y0`: where the solver starts, a constant under differentiation.
    - `inner`: the solver of the inner problem.
    - `linear`: the solver of the linear systems: `bx.Direct()` by default for a y of up to
      200 numbers and for maps that are not symmetric, conjugate gradient otherwise.
    - `data`, `key`: as in `bx.minimum`.

    **Returns:** a function of x that gives a y like `y0`. It works under `jit`, `vmap`,
    forward mode and reverse mode, and its derivatives with respect to values that
    `objective` has closed over are right too. Derivatives with respect to `data` or step
    sizes raise `TypeError`. Where a solver fails, the call raises with the text of its
    `bx.Result`.

    >>> import bilevax as bx, jax
    >>> solution = bx.argmin(
    ...     lambda x, y: (y - x**2) ** 2, 0.0, bx.GradientDescent(0.4, 30))
    >>> float(solution(3.0)), float(jax.grad(solution)(3.0)), float(jax.jacfwd(solution)(3.0))
    (9.0, 6.0, 6.0)
    """
    given = isinstance(objective, AbstractProblem)
    problem = objective if given else _from_objective(objective, data)
    y, y_rest = split(y0)
    if linear is None:
        linear = _default_linear(optax.tree.size(y), problem.symmetric)
    arrays, solvers = eqx.partition((inner, linear), eqx.is_array)
    function = _inner_function(problem)

    def set_up(x_rest, lifted_x, constants):
        y, data, arrays, _ = constants
        lifted = Lifted(function, x_rest, y_rest)
        lifted_problem = _like(problem, lifted, data)
        own = eqx.combine(arrays, solvers)
        check_structures(lifted_problem, lifted_x, y)
        return lifted_problem, *with_measured_steps(own, lifted_problem, lifted_x, y)

    @partial(jax.jit, static_argnums=0)
    def solve(x_rest, lifted_x, constants):
        y, _, _, key = constants
        problem, inner, _ = set_up(x_rest, lifted_x, constants)
        equation = Inner(problem, lifted_x)
        y, _, _, result = inner.solve(equation, y, inner.init(equation, y), key, 0)
        return result.error_if(y, result != Result.successful)

    def push(x_rest, lifted_x, constants, y, tangent):
        """dy for dx: the linear system that F(x, y(x)) = 0 implies."""
        problem, _, linear = set_up(x_rest, lifted_x, constants)
        batch = full(constants[1])
        residual = lambda x, y: problem.residual(x, y, batch)
        _, right = jax.jvp(lambda x: residual(x, y), (lifted_x,), (tangent,))
        _, product = jax.linearize(lambda y: residual(lifted_x, y), y)
        system = partial(_solve_linear, problem, lifted_x, y, linear, constants[-1])
        return jax.lax.custom_linear_solve(
            product,
            negative(right),
            system,
            transpose_solve=system,
            symmetric=problem.symmetric,
        )

    def solution(x: PyTree) -> PyTree:
        x, x_rest = _variable(x)
        lifted = Lifted(function, x_rest, y_rest)
        captured = lifted.captured(x, y, *_batch(problem.inner_data))
        constants = _constants(y, problem.inner_data, arrays, key)
        differentiable = jax.custom_jvp(partial(solve, x_rest))

        def rule(primals, tangents):
            lifted_x, constants = primals
            y = differentiable(lifted_x, constants)
            return y, push(x_rest, lifted_x, constants, y, tangents[0])

        differentiable.defjvp(rule)
        return y_rest.join(differentiable((x, captured), constants))

    return solution


def _solve_linear(problem, x, y, linear: AbstractSolver, key, product, right):
    """The solution u of product(u) = right, by a solver of adjoint systems."""
    linearization = Linearization(None, product, product)
    equation = Adjoint(problem, x, y, negative(right), linearization)
    state = linear.init(equation, right)
    u, _, _, result = linear.solve(equation, None, state, key, 0)
    return result.error_if(u, result != Result.successful)


def _min_problem(objective, data) -> MinProblem:
    if isinstance(objective, MinProblem):
        return objective
    if isinstance(objective, AbstractProblem):
        raise TypeError(
            "bx.minimum takes an objective or a bx.MinProblem. For an outer objective of "
            "its own compose it with bx.argmin, or use bx.hypergradient."
        )
    return _from_objective(objective, data)


def _from_objective(objective, data) -> MinProblem:
    return MinProblem(objective, data)  # pyright: ignore[reportCallIssue]


def _inner_function(problem: Any) -> Callable:
    """What determines y: the fixed-point map, or the inner objective."""
    return problem.fixed_point if isinstance(problem, FixedPointProblem) else problem.inner


def _like(problem: Any, function: Callable, data: PyTree) -> AbstractProblem:
    """The same inner problem with another function and other data, and no outer level."""
    if isinstance(problem, FixedPointProblem):
        return FixedPointProblem(  # pyright: ignore[reportCallIssue]
            outer=_no_outer,
            fixed_point=function,
            inner_data=data,
            symmetric=problem.symmetric,
            gauge=problem.gauge,
        )
    return MinProblem(  # pyright: ignore[reportCallIssue]
        objective=function, data=data, gauge=problem.gauge, update=problem.update
    )


def _estimator(gradient, inner, linear, size: int) -> Any:
    if isinstance(gradient, AbstractHypergradient):
        return gradient
    if inner is None:
        raise TypeError("bx.minimum needs an inner solver, or an estimator that has one.")
    makers = {
        "analytic": lambda: Analytic(inner),
        "automatic": lambda: Unrolled(inner),
        "implicit": lambda: Implicit(inner, linear or _default_linear(size, True)),
    }
    if gradient not in makers:
        raise ValueError(
            "gradient must be 'analytic', 'automatic', 'implicit' or an estimator, "
            f"got {gradient!r}."
        )
    return makers[gradient]()


def _default_linear(size: int, symmetric: bool) -> AbstractSolver:
    return Direct() if size <= _SMALL or not symmetric else CG(size)


def _variable(x: PyTree):
    arrays, rest = split(x)
    # Without any real numbers, say so of what was given.
    return as_variable("x", arrays if jax.tree.leaves(arrays) else x), rest


def _constants(y, data, arrays, key):
    """What no derivative is given for: y0, which is one, and what raises."""
    key = jax.random.key(0) if key is None else key
    real = lambda tree: jax.tree.map(
        lambda leaf: (
            not_differentiable(leaf, _NOT_IN_X) if eqx.is_inexact_array(leaf) else leaf
        ),
        tree,
    )
    return jax.lax.stop_gradient(y), real(data), real(arrays), key


def _batch(data: PyTree) -> tuple:
    return () if data is None else (data,)


def _no_outer(x, y):
    del x, y
    return jnp.zeros(())


def _reverse_product(gradient: PyTree, tangent: PyTree, dtype) -> Array:
    """The inner product of a gradient with a tangent, in reverse mode only."""
    total = jnp.zeros((), dtype)
    is_zero = lambda leaf: isinstance(leaf, jax.custom_derivatives.SymbolicZero)
    tangents = jax.tree.leaves(tangent, is_leaf=is_zero)
    for g, t in zip(jax.tree.leaves(gradient), tangents, strict=True):
        if not is_zero(t):
            total = total + jnp.vdot(g, reverse_only(t, _NO_FORWARD_MODE)).astype(dtype)
    return total


_NO_FORWARD_MODE = (
    "bx.minimum has no forward-mode derivative: take jax.grad and multiply by the "
    "direction, or compose the objective with bx.argmin, which has one."
)
_NO_SECOND_DERIVATIVE = (
    "bx.minimum has no second derivative: compose the objective with bx.argmin, as in "
    "lambda x: L(x, bx.argmin(L, y0, inner)(x)), which has derivatives of every order."
)
_NOT_IN_X = (
    "bx.minimum and bx.argmin give no derivative with respect to their data or to step "
    "sizes: pass what is to be differentiated in x, or close over it in the objective."
)
