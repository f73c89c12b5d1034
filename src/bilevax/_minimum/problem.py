"""The inner problem of `bx.minimum` and `bx.argmin`, its closed-over values made arguments."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._core.types import Key
from .._run.check import as_variable, check_structures
from .._run.steps import with_measured_steps
from ..problems._base import AbstractProblem, FixedPointProblem, MinProblem
from ..solvers import CG
from .guards import not_differentiable
from .lift import Lifted, Parts, split


def from_objective(objective: Any, data: PyTree) -> MinProblem:
    """The problem of an objective and its data."""
    return MinProblem(objective, data)


def start(y0: PyTree) -> Parts:
    """Where the solver starts, its real numbers as arrays of one dtype."""
    parts = split(y0)
    given = parts.real if jax.tree.leaves(parts.real) else y0
    return parts._replace(real=as_variable("y0", given))


class Constants(NamedTuple):
    """What no derivative is given for."""

    y: PyTree
    data: PyTree
    arrays: PyTree  # of the solvers
    key: Array
    x_other: PyTree
    y_other: PyTree
    captured: dict[str, list]


class LiftedProblem:
    """The inner problem with x and all that its functions close over as one variable.

    Two of the same problem and functions are equal, so that programs are reused.
    """

    def __init__(
        self, problem: Any, functions: dict[str, Lifted], x_rest: PyTree, y_rest: PyTree
    ):
        self._problem, self._functions = problem, functions
        self._x_rest, self._y_rest = x_rest, y_rest
        self._identity = id(problem), tuple(functions.values())

    def __eq__(self, other) -> bool:
        return isinstance(other, LiftedProblem) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def problem_and(self, solvers: PyTree, x: PyTree, constants: Constants):
        """The problem, and the solvers with their arrays and measured steps."""
        own = self._preconditioned(eqx.combine(constants.arrays, solvers), constants)
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

    def _preconditioned(self, solvers: PyTree, constants: Constants) -> PyTree:
        """The solvers with preconditioners that see the user's own x and y."""
        whole_y = lambda y: eqx.combine(y, constants.y_other, self._y_rest)

        def lifted(preconditioner):
            def apply(lifted_x, y, r):
                x = eqx.combine(lifted_x[0], constants.x_other, self._x_rest)
                applied = preconditioner(x, whole_y(y), whole_y(r))
                return eqx.filter(applied, eqx.is_inexact_array)

            return apply

        def lift_one(node):
            if not isinstance(node, CG) or node.preconditioner is None:
                return node
            return eqx.tree_at(lambda cg: cg.preconditioner, node, replace_fn=lifted)

        return jax.tree.map(lift_one, solvers, is_leaf=lambda node: isinstance(node, CG))


def lift(problem: Any, x: PyTree, y: Parts, arrays: PyTree, key: Key | None):
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
    constants = Constants(
        y=jax.lax.stop_gradient(y.real),
        data=real(data),
        arrays=real(arrays),
        key=jax.random.key(0) if key is None else key,
        x_other=x_parts.other,
        y_other=y.other,
        captured={name: c.other for name, c in captured.items()},
    )
    lifted = LiftedProblem(problem, functions, x_parts.rest, y.rest)
    return lifted, (real_x, {name: c.real for name, c in captured.items()}), constants


def _functions(problem: Any) -> dict[str, Callable]:
    """What determines y: the map, or the inner objective and its sweep."""
    if isinstance(problem, FixedPointProblem):
        return {"fixed_point": problem.fixed_point}
    sweep = {} if problem.update is None else {"update": problem.update}
    return {"inner": problem.inner} | sweep


def _like(problem: Any, functions: dict, gauge, data: PyTree) -> AbstractProblem:
    """The same inner problem with other functions and data, and no outer level."""
    if isinstance(problem, FixedPointProblem):
        return FixedPointProblem(
            outer=_no_outer,
            fixed_point=functions["fixed_point"],
            inner_data=data,
            symmetric=problem.symmetric,
            gauge=gauge,
        )
    return MinProblem(
        objective=functions["inner"], data=data, gauge=gauge, update=functions.get("update")
    )


def _no_outer(x, y):
    del x, y
    return jnp.zeros(())


DATA_TWICE = "The problem has data of its own: pass data= with an objective only."
_NOT_IN_X = (
    "bx.minimum and bx.argmin give no derivative with respect to their data or to step "
    "sizes: pass what is to be differentiated in x, or close over it in the objective."
)
