"""Value functions that JAX can differentiate."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._core.result import Result, first_failure
from .._core.types import Function, Key
from .._run.check import check_domain
from .._run.means import check_means
from ..hypergradients import AbstractHypergradient, Analytic, Implicit, Joint, Unrolled
from ..problems._base import AbstractProblem, MinProblem
from ..solvers._base import Solver, check_solver
from .guards import not_differentiable, reverse_only
from .lift import Parts
from .linear import default_linear
from .problem import DATA_TWICE, from_objective, lift, start

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Gradient = Literal["analytic", "automatic", "implicit"] | AbstractHypergradient
    Minimised = Function | MinProblem
else:
    Gradient = Minimised = Any


def minimum(
    objective: Minimised,
    y0: PyTree,
    inner: Solver | None = None,
    *,
    gradient: Gradient = "analytic",
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
    problem, y = _min_problem(objective, data), start(y0)
    return _ValueFunction(problem, _estimator(gradient, inner, linear, y.real), y, key)


class _ValueFunction:
    """x -> min_y L(x, y), by an estimator.

    Each has programs of its own, which live as long as it does: one for the value alone, one
    for value and gradient. What is static in them is the estimator without its arrays and the
    lifted problem, which is equal from call to call as long as the user's functions and what
    is no array in x are; x, the data, step sizes and everything closed over are arguments. So
    one program serves calls outside and inside of `jit`, and of every transformation.
    """

    def __init__(self, problem: MinProblem, estimator: Any, y: Parts, key: Key | None):
        self._problem, self._estimator, self._y, self._key = problem, estimator, y, key
        self._arrays, static = eqx.partition(estimator, eqx.is_array)
        self._value = eqx.filter_jit(partial(_value, static))
        self._value_and_gradient = eqx.filter_jit(partial(_value_and_gradient, static))

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        check_domain(self._problem, x)
        y = self._y
        check_means(self._problem, self._estimator, x, y.join(y.real))
        lifted, lifted_x, constants = lift(self._problem, x, y, self._arrays, self._key)
        differentiable = jax.custom_jvp(partial(self._value, lifted))
        differentiable.defjvp(partial(self._rule, lifted), symbolic_zeros=True)
        return differentiable(lifted_x, constants)

    def _rule(self, lifted, primals, tangents):
        # Outside of jit, here x is an array where in a call it is a tracer.
        check_domain(self._problem, primals[0][0])
        out = self._value_and_gradient(lifted, *primals)
        value, gradient = not_differentiable(out, _NO_SECOND_DERIVATIVE)
        return value, _reverse_product(gradient, tangents[0], value.dtype)


def _value(static, lifted, x, constants):
    # The analytic estimator is the cheapest way to a value.
    cheap = lambda own: Analytic(own.inner, outer_batch_size=own.outer_sampler)
    return _estimate(cheap, static, lifted, x, constants)[0]


def _value_and_gradient(static, lifted, x, constants):
    return _estimate(lambda own: own, static, lifted, x, constants)


def _estimate(make, static, lifted, x, constants):
    """The value and the gradient; raises where a solver fails."""
    problem, own = lifted.problem_and(static, x, constants)
    own = make(own)
    state = own.init(problem, x, constants.y)
    gradient, state, _, result = own(problem, x, state, constants.key)
    result = first_failure(result, own.shortfall(state))
    return result.error_if((state.value, gradient), result != Result.successful)


def _min_problem(objective, data) -> MinProblem:
    if isinstance(objective, MinProblem):
        if data is not None:
            raise TypeError(DATA_TWICE)
        return objective
    if isinstance(objective, AbstractProblem):
        raise TypeError(
            "bx.minimum takes an objective or a bx.MinProblem. For an outer objective of "
            "its own compose it with bx.argmin, or use bx.hypergradient."
        )
    return from_objective(objective, data)


def _estimator(gradient, inner, linear, y: PyTree) -> Any:
    if isinstance(gradient, Joint):
        raise TypeError(_ONE_STEP)
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
        "implicit": lambda: Implicit(inner, linear or default_linear(y, True)),
    }
    if gradient not in makers:
        raise ValueError(
            "gradient must be 'analytic', 'automatic', 'implicit' or an estimator, "
            f"got {gradient!r}."
        )
    return makers[gradient]()


def _reverse_product(gradient: PyTree, tangent: PyTree, dtype) -> Array:
    """The inner product of a gradient with a tangent, in reverse mode only."""
    total = jnp.zeros((), dtype)
    is_zero = lambda leaf: isinstance(leaf, jax.custom_derivatives.SymbolicZero)
    tangents = jax.tree.leaves(tangent, is_leaf=is_zero)
    for g, t in zip(jax.tree.leaves(gradient), tangents, strict=True):
        if not is_zero(t):
            total = total + jnp.vdot(g, reverse_only(t, _NO_FORWARD_MODE)).astype(dtype)
    return total


_ONE_STEP = (
    "bx.Joint takes one step of y for each of x, which is no solution of the inner problem: "
    "pass gradient='analytic', or another estimator with an inner solver."
)
_NO_FORWARD_MODE = (
    "bx.minimum has no forward-mode derivative: take jax.grad and multiply by the "
    "direction, or compose the objective with bx.argmin, which has one."
)
_NO_SECOND_DERIVATIVE = (
    "bx.minimum has no second derivative: compose the objective with bx.argmin, as in "
    "lambda x: L(x, bx.argmin(L, y0, inner)(x)), which has derivatives of every order."
)
