"""Value functions and solution maps that JAX can differentiate."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._core.result import Result, first_failure
from .._core.tree import float_dtype, negative
from .._core.types import Function, Key
from .._rows.samplers import full
from .._run.check import as_variable, check_domain, check_structures
from .._run.curvature import common_block_size
from .._run.means import check_means
from .._run.steps import with_measured_steps
from ..hypergradients import AbstractHypergradient, Analytic, Implicit, Unrolled
from ..hypergradients._base import Estimator
from ..problems._base import AbstractProblem, FixedPointProblem, Linearization, MinProblem
from ..solvers import CG, AbstractSolver, Direct
from ..solvers._base import Solver, check_solver
from ..solvers._equation import Adjoint, Inner
from .guards import not_differentiable, reverse_only
from .lift import Lifted, Parts, split

# Up to this many numbers a dense factorisation is cheaper than anything else.
_SMALL = 200


def minimum(
    objective: Function,
    y0: PyTree,
    inner: Solver | None = None,
    *,
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

    `objective` is compiled once for each function that is returned, as under `jax.jit`: a
    global that it reads is a constant from then on, and changing it changes nothing. Pass what
    changes as `data` or as a part of x, or close over it anew where it changes, in a new
    objective for a new `bx.minimum`.

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
    y = _start(y0)
    estimator = _estimator(gradient, inner, linear, y.real)
    readers = estimator
    arrays, estimator = eqx.partition(estimator, eqx.is_array)

    def estimate(make, lifted, x, constants):
        inner_problem, own = lifted.problem_and(estimator, x, constants)
        own = make(own)
        state = own.init(inner_problem, x, constants.y)
        gradient, state, _, result = own(inner_problem, x, state, constants.key)
        result = first_failure(result, own.shortfall(state))
        return result.error_if((state.value, gradient), result != Result.successful)

    @eqx.filter_jit
    def value(lifted, x, constants):
        # The analytic estimator is the cheapest way to a value.
        cheap = lambda own: Analytic(own.inner, outer_batch_size=own.outer_sampler)
        return estimate(cheap, lifted, x, constants)[0]

    @eqx.filter_jit
    def value_and_gradient(lifted, x, constants):
        return estimate(lambda own: own, lifted, x, constants)

    def ell(x: PyTree) -> Float[Array, ""]:
        check_domain(problem, x)
        check_means(problem, readers, x, y0)
        lifted, lifted_x, constants = _lift(problem, x, y, arrays, key)
        differentiable = jax.custom_jvp(partial(value, lifted))

        def rule(primals, tangents):
            # Outside of jit, here x is an array where in `ell` it is a tracer.
            check_domain(problem, primals[0][0])
            out = value_and_gradient(lifted, *primals)
            value, gradient = not_differentiable(out, _NO_SECOND_DERIVATIVE)
            return value, _reverse_product(gradient, tangents[0], value.dtype)

        differentiable.defjvp(rule, symbolic_zeros=True)
        return differentiable(lifted_x, constants)

    return ell


def argmin(
    objective: Function,
    y0: PyTree,
    inner: Solver,
    *,
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
    - `data`, `key`: as in `bx.minimum`; what it says of globals holds here too.

    **Returns:** a function of x that gives a y like `y0`. It works under `jit`, `vmap`,
    forward mode and reverse mode, and its derivatives with respect to values that
    `objective` has closed over are right too. Derivatives with respect to `data` or step
    sizes raise `TypeError`. Where a solver fails, the call raises with the text of its
    `bx.Result`.

    >>> import bilevax as bx, jax
    >>> solution = bx.argmin(
    ...     lambda x, y: (y - x**2) ** 2, 0.0, bx.GradientDescent(0.4, 30))
    >>> [round(float(f(3.0)), 4) for f in (solution, jax.grad(solution), jax.jacfwd(solution))]
    [9.0, 6.0, 6.0]
    """
    given = isinstance(objective, AbstractProblem)
    if given and data is not None:
        raise TypeError(_DATA_TWICE)
    problem = objective if given else _from_objective(objective, data)
    y = _start(y0)
    inner = check_solver("inner", inner)
    if linear is None:
        linear = _default_linear(y.real, problem.symmetric)
    linear = check_solver("linear", linear)
    arrays, solvers = eqx.partition((inner, linear), eqx.is_array)
    block_size = common_block_size((inner, linear))

    @eqx.filter_jit
    def solve(lifted, x, constants):
        inner_problem, (inner, _) = lifted.problem_and(solvers, x, constants)
        equation = Inner(inner_problem, x)
        state = inner.init(equation, constants.y)
        start = constants.y
        y, state, _, result = inner.solve_or_keep(
            equation, start, start, state, constants.key, 0
        )
        result = first_failure(result, inner.shortfall(state, Result.inner_max_steps))
        return result.error_if(y, result != Result.successful)

    @eqx.filter_jit
    def push(lifted, x, constants, y, tangent):
        """dy for dx: the linear system that F(x, y(x)) = 0 implies."""
        inner_problem, (_, linear) = lifted.problem_and(solvers, x, constants)
        batch = full(constants.data, block_size)
        residual = lambda x, y: inner_problem.residual(x, y, batch)
        _, right = jax.jvp(lambda x: residual(x, y), (x,), (tangent,))
        _, product = jax.linearize(lambda y: residual(x, y), y)
        # As one vector: where x moves some leaves only, the others' zeros are no obstacle.
        right, unravel = ravel_pytree(negative(right))
        flat_product = lambda v: ravel_pytree(product(unravel(v)))[0]
        system = partial(_solve_linear, inner_problem, x, y, linear, constants.key)
        return unravel(
            jax.lax.custom_linear_solve(
                flat_product,
                right,
                system,
                transpose_solve=system,
                symmetric=inner_problem.symmetric,
            )
        )

    def solution(x: PyTree) -> PyTree:
        check_domain(problem, x)
        check_means(problem, (inner, linear), x, y0, levels=("inner",))
        lifted, lifted_x, constants = _lift(problem, x, y, arrays, key)
        differentiable = jax.custom_jvp(partial(solve, lifted))

        def rule(primals, tangents):
            lifted_x, constants = primals
            check_domain(problem, lifted_x[0])
            solved = differentiable(*primals)
            return solved, push(lifted, lifted_x, constants, solved, tangents[0])

        differentiable.defjvp(rule)
        return y.join(differentiable(lifted_x, constants))

    return solution


class _Constants(NamedTuple):
    """What no derivative is given for."""

    y: PyTree
    data: PyTree
    arrays: PyTree  # of the solvers
    key: Array
    x_other: PyTree
    y_other: PyTree
    captured: dict[str, list]


class _LiftedProblem:
    """The inner problem with x and all that its functions close over as one variable.

    Two of the same problem and functions are equal, so that programs are reused.
    """

    def __init__(self, problem: Any, functions: dict[str, Lifted], y_rest: PyTree):
        self._problem, self._functions, self._y_rest = problem, functions, y_rest
        self._identity = id(problem), tuple(functions.values())

    def __eq__(self, other) -> bool:
        return isinstance(other, _LiftedProblem) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def problem_and(self, solvers: PyTree, x: PyTree, constants: _Constants):
        """The problem, and the solvers with their arrays and measured steps."""
        own = eqx.combine(constants.arrays, solvers)
        others = constants.x_other, constants.y_other, constants.captured
        bound = {name: f.bind(*others) for name, f in self._functions.items()}
        problem = _like(self._problem, bound, self._gauge(constants.y_other), constants.data)
        check_structures(problem, x, constants.y)
        return problem, with_measured_steps(own, problem, x, constants.y)

    def _gauge(self, y_other):
        gauge = self._problem.gauge
        if gauge is None:
            return None
        whole = lambda y: eqx.combine(y, y_other, self._y_rest)
        return lambda y: eqx.filter(gauge(whole(y)), eqx.is_inexact_array)


def _lift(problem: Any, x: PyTree, y: Parts, arrays: PyTree, key: Key | None):
    """The lifted problem, its outer variable, and its constants."""
    x_parts = split(x)
    # Without any real numbers, say so of what was given.
    real_x = as_variable("x", x_parts.real if jax.tree.leaves(x_parts.real) else x)
    data = problem.inner_data
    batch = () if data is None else (data,)
    functions = {
        name: Lifted(name, function, x_parts.rest, y.rest)
        for name, function in _functions(problem).items()
    }
    captured = {
        name: f.bind(x_parts.other, y.other, {}).captured(real_x, y.real, *batch)
        for name, f in functions.items()
    }
    real = lambda tree: jax.tree.map(
        lambda leaf: (
            not_differentiable(leaf, _NOT_IN_X) if eqx.is_inexact_array(leaf) else leaf
        ),
        tree,
    )
    constants = _Constants(
        y=jax.lax.stop_gradient(y.real),
        data=real(data),
        arrays=real(arrays),
        key=jax.random.key(0) if key is None else key,
        x_other=x_parts.other,
        y_other=y.other,
        captured={name: c.other for name, c in captured.items()},
    )
    lifted = _LiftedProblem(problem, functions, y.rest)
    return lifted, (real_x, {name: c.real for name, c in captured.items()}), constants


def _start(y0: PyTree) -> Parts:
    parts = split(y0)
    given = parts.real if jax.tree.leaves(parts.real) else y0
    return parts._replace(real=as_variable("y0", given))


def _functions(problem: Any) -> dict[str, Callable]:
    """What determines y: the map, or the inner objective and its sweep."""
    if isinstance(problem, FixedPointProblem):
        return {"fixed_point": problem.fixed_point}
    sweep = {} if problem.update is None else {"update": problem.update}
    return {"inner": problem.inner} | sweep


def _like(problem: Any, functions: dict, gauge, data: PyTree) -> AbstractProblem:
    """The same inner problem with other functions and data, and no outer level."""
    if isinstance(problem, FixedPointProblem):
        return FixedPointProblem(  # pyright: ignore[reportCallIssue]
            outer=_no_outer,
            fixed_point=functions["fixed_point"],
            inner_data=data,
            symmetric=problem.symmetric,
            gauge=gauge,
        )
    return MinProblem(  # pyright: ignore[reportCallIssue]
        objective=functions["inner"], data=data, gauge=gauge, update=functions.get("update")
    )


def _solve_linear(problem, x, y, linear: AbstractSolver, key, product, right):
    """The solution u of product(u) = right, in one vector, by a solver of adjoint systems."""
    linearization = Linearization(product, product)
    flat_y, unravel = ravel_pytree(y)
    flat_gauge = None
    if problem.gauge is not None:
        flat_gauge = lambda v: ravel_pytree(problem.gauge(unravel(v)))[0]
    flat_problem = eqx.tree_at(
        lambda p: p.gauge, problem, flat_gauge, is_leaf=lambda leaf: leaf is None
    )
    equation = Adjoint(flat_problem, x, flat_y, -right, linearization)
    state = linear.init(equation, right)
    u, state, _, result = linear.solve_or_keep(equation, None, right, state, key, 0)
    result = first_failure(result, linear.shortfall(state, Result.linear_max_steps))
    return result.error_if(u, result != Result.successful)


def _min_problem(objective, data) -> MinProblem:
    if isinstance(objective, MinProblem):
        if data is not None:
            raise TypeError(_DATA_TWICE)
        return objective
    if isinstance(objective, AbstractProblem):
        raise TypeError(
            "bx.minimum takes an objective or a bx.MinProblem. For an outer objective of "
            "its own compose it with bx.argmin, or use bx.hypergradient."
        )
    return _from_objective(objective, data)


def _from_objective(objective, data) -> MinProblem:
    return MinProblem(objective, data)  # pyright: ignore[reportCallIssue]


def _estimator(gradient, inner, linear, y: PyTree) -> Any:
    if isinstance(gradient, AbstractHypergradient):
        return gradient
    if inner is None:
        raise TypeError("bx.minimum needs an inner solver, or an estimator that has one.")
    check_solver("inner", inner)
    if linear is not None:
        check_solver("linear", linear)
    makers = {
        "analytic": lambda: Analytic(inner),
        "automatic": lambda: Unrolled(inner),
        "implicit": lambda: Implicit(inner, linear or _default_linear(y, True)),
    }
    if gradient not in makers:
        raise ValueError(
            "gradient must be 'analytic', 'automatic', 'implicit' or an estimator, "
            f"got {gradient!r}."
        )
    return makers[gradient]()


def _default_linear(y: PyTree, symmetric: bool) -> AbstractSolver:
    size = optax.tree.size(y)
    if size <= _SMALL or not symmetric:
        return Direct()
    # Nobody chose its accuracy, so it is held to one.
    eps = float(jnp.finfo(float_dtype(y)).eps)
    return CG(100 * size, tol=eps**0.75, must_converge=True)


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


_DATA_TWICE = "The problem has data of its own: pass data= with an objective only."
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
