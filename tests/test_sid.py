"""SID on the toy of its specification: transcriptions, streams of keys, bounds, floors."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from bilevax._rows.batch import take
from bilevax._rows.sampler import AbstractSampler
from bilevax.theory import sid as theory
from cases import steps
from sid_toy import X0, D, M, N, toy, toy_inner


def transcription(toy, inner_rows, adjoint_rows, cross_rows, etas):
    """Algorithm 1 with Eqs. 28 and 29, line by line."""
    w = np.zeros(D)
    for i, zeta in enumerate(inner_rows):
        w = w + etas(i) * (toy.phi(w, zeta) - w)
    v, outer = np.zeros(D), toy.outer_y(w)
    for i, zeta in enumerate(adjoint_rows):
        v = v + etas(i) * (toy.jacobian(w, zeta).T @ v + outer - v)
    samples = [slice(None)] if cross_rows is None else cross_rows
    cross = np.mean([toy.cross(w, zeta) for zeta in samples], axis=0)
    return w, v, cross.T @ v


def sid_on(t, k, step_size, **rows):
    return bx.algorithms.sid(
        outer_step_size=0.1,
        inner_step_size=step_size,
        inner_steps=t,
        adjoint_steps=k,
        **rows,
    ).hypergradient


def assert_transcribed(estimator, *given):
    h = bx.hypergradient(toy().problem, estimator, toy().x, toy().y0)
    w, v, gradient = transcription(toy(), *given)
    np.testing.assert_allclose(h.y, w, rtol=0, atol=1e-14)
    np.testing.assert_allclose(-np.asarray(h.adjoint), v, rtol=0, atol=1e-12)
    np.testing.assert_allclose(h.gradient, gradient, rtol=1e-12, atol=1e-14)


DECREASING = bx.schedules.decreasing(3.0, 4.0), lambda i: 3 / (4 + i)
CONSTANT = 0.5, lambda i: 0.5


@pytest.mark.parametrize("rule, J", [(CONSTANT, 1), (DECREASING, 3), (DECREASING, None)])
def test_sid_is_its_transcription(rule, J):
    rng, (step_size, etas) = np.random.default_rng(7), rule
    inner, adjoint = rng.integers(0, N, (9, 4)), rng.integers(0, N, (6, 4))
    cross = None if J is None else rng.integers(0, N, (J, 4))
    rows = {
        "inner_batch_size": bx.Batches(inner),
        "hvp_batch_size": bx.Batches(adjoint),
        "cross_batch_size": None if cross is None else bx.Batches([cross.ravel()]),
    }
    assert_transcribed(sid_on(9, 6, step_size, **rows), inner, adjoint, cross, etas)


def test_on_all_rows_with_steps_of_one_it_is_aid_fp():
    everything = [slice(None)]
    assert_transcribed(sid_on(5, 7, 1.0), 5 * everything, 7 * everything, None, lambda i: 1)


def test_a_stochastic_fixed_point_is_sgd_on_the_map():
    step = bx.schedules.decreasing(3.0, 4.0)
    assert eqx.tree_equal(bx.SGD(step, 20, 4), bx.StochasticFixedPoint(step, 20, 4))


KEY = jax.random.key(0)


class Recording(AbstractSampler):
    """Random rows, and in its state the key that they were drawn with."""

    def init(self, data):
        return jax.random.key_data(KEY)

    def rows(self, data):
        return 2

    def tickets(self, data, state, key, num):
        return jax.random.randint(key, (num, 2), 0, N), jax.random.key_data(key)

    def batch(self, data, ticket):
        return take(data, ticket)


def test_the_three_streams_never_meet():
    estimator, problem = sid_on(3, 4, 0.5, batch_size=Recording()), toy().problem
    state, seen = estimator.init(problem, toy().x, toy().y0), set()
    step = eqx.filter_jit(estimator)
    for key in jax.random.split(KEY, 3):
        _, state, *_ = step(problem, toy().x, state, key)
        for used in (
            state.inner_state.solver.sampler,
            state.linear_state.sampler,
            state.cross_sampler,
        ):
            seen.add(tuple(used.tolist()))
    assert len(seen) == 9


def test_the_estimator_of_ghadimi_and_wang_is_a_setting():
    """One random term of the Neumann series on fresh rows, in the place of the adjoint."""
    rng = np.random.default_rng(8)
    adjoint_rows, length, terms = rng.integers(0, N, (4, 2)), 3, 6
    algorithm = bx.algorithms.sid(
        outer_step_size=0.1,
        inner_step_size=1.0,
        inner_steps=5,
        adjoint=bx.Neumann(
            step_size=1.0,
            num_steps=terms,
            batch_size=bx.Batches(adjoint_rows),
            randomized=True,
            lengths=[length],
        ),
    )
    h = bx.hypergradient(toy().problem, algorithm.hypergradient, toy().x, toy().y0)
    y = np.zeros(D)
    for _ in range(5):
        y = toy().phi(y, slice(None))
    v = terms * toy().outer_y(y)
    for rows in adjoint_rows[:length]:
        v = toy().jacobian(y, rows).T @ v
    gradient = toy().cross(y, slice(None)).T @ v
    np.testing.assert_allclose(h.gradient, gradient, rtol=1e-12)


def test_solvers_bring_their_own_steps():
    options = {"outer_step_size": 0.1, "adjoint": bx.SAG(0.1, 10, 4)}
    with pytest.raises(TypeError, match=r"adjoint= is a solver.*leave adjoint_step_size"):
        bx.algorithms.sid(**options, adjoint_steps=3)
    with pytest.raises(TypeError, match=r"inner= is a solver.*leave inner_step_size"):
        bx.algorithms.sid(outer_step_size=0.1, inner=bx.CG(2), inner_step_size=0.3)


def test_a_step_of_x_is_a_constant_under_differentiation():
    """Pitfall 1, far from the solution: cross(z) is -alpha d_x grad g, and no more."""
    problem = bx.BilevelProblem(
        lambda x, y: jnp.sum(y), toy_inner, inner_data=toy().problem.inner_data
    ).as_fixed_point(lambda x: 0.3 + x[0] ** 2)
    h = bx.hypergradient(
        problem, bx.Implicit(bx.FixedPointIteration(1), bx.Direct()), toy().x, toy().y0
    )
    alpha = 0.55
    y = alpha / toy().alpha * toy().phi(np.zeros(D), slice(None))
    np.testing.assert_allclose(h.y, y, rtol=1e-12)
    J = np.eye(D) - alpha / toy().alpha * (np.eye(D) - toy().jacobian(y, slice(None)))
    v = np.linalg.solve(np.eye(D) - J.T, np.ones(D))
    gradient = alpha / toy().alpha * toy().cross(y, slice(None)).T @ v
    np.testing.assert_allclose(h.gradient, gradient, rtol=1e-12)


def test_other_numbers_compile_nothing_and_another_count_once(compiled):
    t = toy()
    take = lambda steps, problem, x, eta, seed: bx.hypergradient(
        problem, sid_on(steps, steps, eta, batch_size=4), x, t.y0, key=jax.random.key(seed)
    )
    first = take(9, t.problem, t.x, 0.5, 0)
    compiled.clear()
    shorter = t.objective.as_fixed_point(t.alpha / 2)
    others = [
        take(9, t.problem, t.x, 0.5, 1),
        take(9, t.problem, t.x, 0.25, 0),
        take(9, t.problem, jnp.asarray(2 * X0), 0.5, 0),
        take(9, shorter, t.x, 0.5, 0),
    ]
    assert compiled == []
    gradients = np.array([h.gradient for h in (first, *others)])
    assert len(np.unique(gradients[:, 0])) == 5
    take(400, t.problem, t.x, 0.5, 0)
    assert len(compiled) == 1
    # A map that does not contract is told by the same program.
    longer = take(400, t.objective.as_fixed_point(t.longer), t.x, 1.0, 0)
    assert len(compiled) == 1
    assert longer.result != bx.Result.successful


@eqx.filter_jit
def replicates(problem, estimator, x, y0, keys):
    """The gradient, y and z of so many runs, and what each cost."""

    def one(key):
        h = bx.hypergradient(problem, estimator, x, y0, key=key)
        return h.gradient, h.y, h.adjoint, h.cost

    return jax.vmap(one)(keys)


def mean_square(rows, center):
    return float(np.mean(np.sum((np.asarray(rows) - center) ** 2, axis=1)))


def test_the_toy_is_right():
    """Its gradient by finite differences."""
    e, h = np.eye(M), 1e-5
    found = [(toy().value(X0 + h * d) - toy().value(X0 - h * d)) / (2 * h) for d in e]
    np.testing.assert_allclose(found, toy().gradient, rtol=1e-4)


def test_deterministic_estimators_are_below_their_bounds():
    """T5: ITD, AID-FP and AID-CG after a few steps."""
    t = toy()
    constants, _ = t.constants()
    c1 = theory.bias_constant(**constants)
    start = {"contraction": t.q, "initial_distance": np.linalg.norm(t.y_star)}
    some = ("outer_lipschitz", "cross_lipschitz", "cross_norm")
    adjoint = {name: constants[name] for name in some} | {"bias_constant": c1}
    iterations = lambda n: bx.FixedPointIteration(steps(n))
    estimators = {
        "itd": lambda n: bx.Unrolled(iterations(n), mode="forward", max_num_steps=60),
        "fp": lambda n: bx.Implicit(iterations(n), iterations(n), warm_start_adjoint=False),
        "cg": lambda n: bx.Implicit(iterations(n), bx.CG(steps(n)), warm_start_adjoint=False),
    }
    bounds = {
        "itd": lambda n: theory.itd_error(steps=n, **start | constants),
        "fp": lambda n: theory.aid_fp_error(steps=n, adjoint_steps=n, **start, **adjoint),
        "cg": lambda n: theory.aid_cg_error(
            steps=n, adjoint_steps=n, condition=t.smooth / t.strong, **start, **adjoint
        ),
    }
    for name, make in estimators.items():
        ratios = []
        for n in (1, 5, 25):
            h = bx.hypergradient(t.problem, make(n), t.x, t.y0)
            error = np.linalg.norm(np.asarray(h.gradient) - t.gradient)
            ratios.append(error / (bounds[name](n) + 1e-14))
        assert 1e-4 < max(ratios) < 1, name


PASSES = 500  # through the rows, of both slots together
# Batches of 4 rows. An epoch of SVRG is three passes: one for the anchor, two for its steps.
REDUCED = {
    "SAG": lambda passes: bx.SAG(1 / 16, passes * N // 4, 4),
    "SVRG": lambda passes: bx.SVRG(0.3, passes // 3 * N // 4, 4, epoch=N // 4),
}


@functools.cache
def squares(name, passes=PASSES):
    """Mean squares of the errors of y and z over some runs, of which all read as many rows."""
    t, make = toy(), REDUCED.get(name)
    make = make or (lambda passes: bx.StochasticFixedPoint(0.3, steps(passes * N // 4), 4))
    algorithm = bx.algorithms.sid(
        outer_step_size=0.1, inner=make(passes // 2), adjoint=make(passes // 2)
    )
    keys = jax.random.split(KEY, 8 if name in REDUCED else 64)
    _, y, z, cost = replicates(t.problem, algorithm.hypergradient, t.x, t.y0, keys)
    rows = cost.on_host().rows
    assert np.all((rows.inner_gradient + rows.hvp) // N <= passes)
    return mean_square(y, t.y_star), mean_square(-z, t.v_star)


@pytest.mark.parametrize("name", REDUCED)
def test_reduced_variance_in_both_slots_converges(name):
    assert max(squares(name)) <= 1e-12


def test_constant_steps_without_it_stand_still():
    for half, whole in zip(squares("SGD", PASSES // 2), squares("SGD"), strict=True):
        assert whole > 1e-6 and 1 / 3 < whole / half < 3
