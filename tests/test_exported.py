"""What holds for every solver, sampler, estimator and preset that is exported."""

import functools
import inspect
import re

import equinox as eqx
import jax
import numpy as np
import pytest

import bilevax as bx
from bilevax._rows.sampler import AbstractSampler
from cases import (
    ALGORITHMS,
    BIASED,
    ESTIMATORS,
    EXPORTED,
    SAMPLERS,
    SINGLE_LOOP,
    dense_hypergradient,
    estimator_with,
    interpolation,
)
from doubles import ORACLES, Counted, Counter

KINDS = (
    bx.solvers.AbstractSolver,
    bx.hypergradients.AbstractHypergradient,
    AbstractSampler,
    bx.Algorithm,
)


def exported():
    """All of these kinds that can be made: classes, and functions that return one."""
    found = {}
    for module in (bx, bx.solvers, bx.hypergradients, bx.algorithms):
        for name in module.__all__:
            thing = vars(module).get(name)  # not bx.datasets, which is imported when asked for
            made = thing
            if inspect.isfunction(thing):
                made = inspect.signature(thing).return_annotation
            is_one = inspect.isclass(made) and issubclass(made, KINDS)
            if is_one and not name.startswith("Abstract"):
                found[name] = thing
    return found


def test_none_is_left_out():
    assert exported().keys() ^ EXPORTED.keys() == set()


@pytest.mark.parametrize("name", EXPORTED)
def test_each_is_a_pytree(name):
    leaves, structure = jax.tree.flatten(EXPORTED[name])
    assert eqx.tree_equal(jax.tree.unflatten(structure, leaves), EXPORTED[name])


@pytest.mark.parametrize("name", EXPORTED)
def test_each_has_an_example_and_what_is_published_its_reference(name):
    doc = inspect.getdoc(exported()[name])
    assert ">>> import bilevax as bx" in doc
    if name in ESTIMATORS:
        assert re.search(r"\b20\d\d\b", doc)
    if name in ALGORITHMS and name != "Algorithm":
        assert re.search(r"\*\*References?:\*\* [A-Z]\. .*\b20\d\d\b", doc, re.DOTALL)


@functools.cache
def shared():
    """The case with a counter and its dense solution: one of each, so that programs, too,
    are shared where estimators differ in numbers only."""
    case, counter = interpolation(), Counter()
    residual = lambda y: case.residual(case.x, y)
    jacobian = np.asarray(jax.jacobian(residual)(case.y))
    y = case.y - np.linalg.solve(jacobian, residual(case.y))
    return case, counter, y, dense_hypergradient(case, case.x, y)[0]


# They run for a moment only: what they cost is to be compiled.
@functools.partial(eqx.filter_jit, compiler_options={"xla_backend_optimization_level": 0})
def compiled(estimator, problem, x, state):
    return estimator(problem, x, state, jax.random.key(0))


@functools.cache
def estimate(name):
    """One estimate by a compiled program, and the calls and rows that were counted."""
    case, counter, *_ = shared()
    estimator, problem = estimator_with(name), Counted(case.problem, counter)
    counter.calls.clear(), counter.rows.clear()
    state = estimator.init(problem, case.x, case.y)
    gradient, state, cost, result = compiled(estimator, problem, case.x, state)
    jax.effects_barrier()
    cost = cost + estimator.init_cost(problem)
    return gradient, state, cost, result, counter.calls.copy(), counter.rows.copy()


@pytest.mark.parametrize(
    "name", [name for name in EXPORTED if name not in BIASED | SINGLE_LOOP.keys()]
)
def test_each_gives_the_dense_gradient(name):
    case, _, y, dense = shared()
    gradient, state, _, result, *_ = estimate(name)
    assert result == bx.Result.successful
    np.testing.assert_allclose(state.y, y, rtol=1e-9)
    # The analytic gradient is the partial one, here x.
    expected = case.x if name == "Analytic" else dense
    np.testing.assert_allclose(gradient, expected, rtol=1e-8)


# All three products are of one vectorised call.
_AT_ONCE = bx.Direct, bx.Nystrom


@pytest.mark.parametrize("name", EXPORTED)
def test_each_costs_what_is_counted(name):
    *_, cost, _, calls, rows = estimate(name)
    cost, estimator = cost.on_host(), estimator_with(name)
    for oracle in ORACLES:
        counted = calls[oracle], rows[oracle]
        if oracle == "hvp" and isinstance(getattr(estimator, "linear", None), _AT_ONCE):
            counted = 3 * calls[oracle], 3 * rows[oracle]
        if oracle != "outer_gradient" and isinstance(estimator, bx.Unrolled):
            continue  # iterations under differentiation do not call back
        assert (getattr(cost, oracle), getattr(cost.rows, oracle)) == counted, oracle


# A preset's estimator is made of these, and samplers draw in loops, which are compiled anyway.
@pytest.mark.parametrize(
    "name", [name for name in EXPORTED if name not in ALGORITHMS | SAMPLERS]
)
def test_jit_changes_nothing(name):
    case, estimator = shared()[0], estimator_with(name)
    state = estimator.init(case.problem, case.x, case.y)
    gradient, *_ = estimator(case.problem, case.x, state, jax.random.key(0))
    np.testing.assert_allclose(gradient, estimate(name)[0], rtol=1e-12)
