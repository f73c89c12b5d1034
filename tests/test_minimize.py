"""The outer loop: compilation, resume, records, stopping, failures."""

import io
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bilevax as bx


def make(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    rows = lambda n: (scale * rng.standard_normal((n, 4)), rng.integers(0, 3, n))
    return bx.problems.penalised_logistic(rows(30), rows(20))


def algorithm(outer=1.0, **kwargs):
    kwargs = {"inner_step_size": 0.3, "inner_steps": 3, "adjoint_steps": 2} | kwargs
    return bx.algorithms.amigo_cg(outer_step_size=outer, **kwargs)


def bits(tree):
    leaves = jax.tree.leaves(tree)
    to_array = lambda a: (
        jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a
    )
    return [np.asarray(to_array(jnp.asarray(leaf))).tobytes() for leaf in leaves]


STOCHASTIC = {
    "deterministic": {},
    "stochastic": {"batch_size": 6},
    "adam": {"outer": optax.adam(0.1)},
}


@pytest.mark.optimised
@pytest.mark.parametrize("name", STOCHASTIC)
def test_resume_is_bit_for_bit(name):
    t, a = make(), algorithm(**STOCHASTIC[name])
    whole = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=50, key=jax.random.key(1))
    for cuts in ((20, 30), (1, 49), (25, 13, 12)):
        part, rows = None, []
        for steps in cuts:
            state = None if part is None else part.state
            part = bx.minimize(
                t.problem, a, t.x0, t.y0, num_steps=steps, key=jax.random.key(1), state=state
            )
            rows.append(part.history)
        assert bits(part.state) == bits(whole.state)
        assert bits((part.x, part.y, part.adjoint)) == bits((whole.x, whole.y, whole.adjoint))
        assert part.cost == whole.cost
        for column in ("step", "value", "gradient_norm", "calls", "rows"):
            joined = np.concatenate([row[column] for row in rows])
            np.testing.assert_array_equal(joined, whole.history[column])


def test_same_key_same_answer_and_another_key_another():
    t, a = make(), algorithm(batch_size=6)
    run = lambda seed: bx.minimize(
        t.problem, a, t.x0, t.y0, num_steps=10, key=jax.random.key(seed)
    )
    assert bits(run(3).x) == bits(run(3).x)
    assert bits(run(3).x) != bits(run(4).x)


def test_new_numbers_do_not_recompile():
    traces = []

    def inner(x, y, batch):
        traces.append("inner")
        return jnp.mean((batch @ y - x) ** 2) + jnp.sum(y**2)

    def outer(x, y, batch):
        traces.append("outer")
        return jnp.mean((batch @ y - 1) ** 2)

    rng = np.random.default_rng(0)

    def run(seed, step, adjoint_step, outer_step, num_steps, offset, tol=None, every=1):
        data = rng.standard_normal((2, 9, 3))
        problem = bx.BilevelProblem(outer, inner, outer_data=data[0], inner_data=data[1])
        a = bx.algorithms.amigo_gd(
            outer_step_size=outer_step,
            inner_step_size=step,
            adjoint_step_size=adjoint_step,
            batch_size=4,
        )
        return bx.minimize(
            problem,
            a,
            jnp.asarray(offset),
            jnp.zeros(3) + offset,
            num_steps=num_steps,
            key=jax.random.key(seed),
            tol=tol,
            record_every=every,
        )

    decreasing = bx.schedules.decreasing
    run(0, 0.1, 0.1, decreasing(1.0, 10.0), 5, 0.0)
    first = len(traces)
    assert first > 0
    run(1, 0.2, 0.05, decreasing(2.0, 30.0), 20, 1.0, tol=1e-30, every=3)
    assert len(traces) == first


def test_data_are_arguments_of_the_program_not_constants():
    t = make()
    a = algorithm()
    from bilevax._run.loop import chunk

    state = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=1).state.loop
    args = (t.problem, a, None, np.asarray(0.0), np.int32(1), state, np.int32(1), np.int32(5))
    text = chunk.lower(*args).as_text()
    arguments = text[text.index("func.func public @main") : text.index("->")]
    assert arguments.count("tensor<30x4xf64>") == 1
    assert "dense<" not in text or "tensor<30x4xf64>" not in "".join(
        line for line in text.splitlines() if "stablehlo.constant" in line
    )


def test_records():
    t, a = make(), algorithm()
    metrics = lambda x, y: {"x": x, "size": jnp.sum(y**2)}
    every = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=11, metrics=metrics)
    some = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=11, metrics=metrics, record_every=4)
    np.testing.assert_array_equal(every.history["step"], np.arange(1, 12))
    np.testing.assert_array_equal(some.history["step"], [4, 8, 11])
    for name in ("x", "size", "value", "gradient_norm", "calls"):
        np.testing.assert_array_equal(some.history[name], every.history[name][[3, 7, 10]])
    np.testing.assert_array_equal(every.history["x"][-1], every.x)
    assert np.all(np.diff(every.history["seconds"]) >= 0)
    # `value` and `gradient_norm` are those of the x before the step.
    h = bx.hypergradient(t.problem, a.hypergradient, t.x0, t.y0)
    assert every.history["value"][0] == pytest.approx(float(h.value), rel=1e-14)
    assert every.history["gradient_norm"][0] == pytest.approx(
        float(jnp.linalg.norm(h.gradient)), rel=1e-14
    )


def test_long_histories_span_chunks():
    q = bx.problems.quadratic(3, 2, inner_condition=2.0)
    s = bx.minimize(q.problem, algorithm(0.1), jnp.ones(3), jnp.ones(2), num_steps=1000)
    np.testing.assert_array_equal(s.history["step"], np.arange(1, 1001))


def test_tol_stops_at_an_x_that_meets_it():
    q = bx.problems.quadratic(5, 4, inner_condition=3.0, coupling=0.1)
    start = jnp.ones(5), jnp.ones(4)
    s = bx.minimize(q.problem, algorithm(0.3), *start, num_steps=5000, tol=1e-3)
    assert s.result == bx.Result.successful
    assert s.history["gradient_norm"][-1] <= 1e-3 < s.history["gradient_norm"][-2]
    taken = int(s.state.loop.step)
    assert 2 < taken < 5000
    before = bx.minimize(q.problem, algorithm(0.3), *start, num_steps=taken - 1)
    assert bits(before.x) == bits(s.x)
    s = bx.minimize(q.problem, algorithm(0.3), *start, num_steps=3, tol=1e-12)
    assert s.result == bx.Result.max_steps_reached


def test_callback_sees_every_record_and_can_stop():
    t, a, seen = make(), algorithm(), []

    def callback(solution):
        seen.append((int(solution.state.loop.step), len(solution.history["step"])))
        return solution.history["step"][-1] >= 6

    s = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=50, callback=callback, record_every=2)
    assert seen == [(2, 1), (4, 2), (6, 3)]
    assert s.result == bx.Result.stopped
    whole = bx.minimize(t.problem, a, num_steps=44, state=s.state)
    direct = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=50)
    assert bits(whole.x) == bits(direct.x)


def test_progress_prints_to_standard_error(capsys):
    t = make()
    bx.minimize(t.problem, algorithm(), t.x0, t.y0, num_steps=20, progress=True)
    captured = capsys.readouterr()
    assert "step 20" in captured.err and captured.out == ""
    bx.minimize(t.problem, algorithm(), t.x0, t.y0, num_steps=20)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ({"outer": 1e200}, "outer_nonfinite"),
        ({"inner_step_size": 1e10}, "inner_diverged"),
    ],
)
def test_divergence_returns_the_last_finite_iterate(steps, expected):
    # f is bounded in y, so that a growing y shows in y first.
    problem = bx.BilevelProblem(
        lambda x, y: jnp.sum(jnp.cosh(x)) + jnp.sum(jnp.tanh(y)),
        lambda x, y: jnp.sum((y - x[:4]) ** 2),
    )
    a = algorithm(**steps)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        s = bx.minimize(problem, a, jnp.ones(5), jnp.ones(4), num_steps=300)
    if expected == "inner_diverged":
        assert "above 2 / smoothness = 1," in str(caught[0].message)
    assert s.result == getattr(bx.Result, expected)
    assert "bx.minimize returns the" in bx.Result[s.result]
    taken = int(s.state.loop.step)
    assert 0 < taken < 300
    assert all(np.all(np.isfinite(a)) for a in (s.x, s.y, s.adjoint, s.history["value"]))
    assert len(s.history["step"]) == taken
    # It is the iterate of the run that stops one step earlier, and the next one fails.
    before = bx.minimize(problem, a, jnp.ones(5), jnp.ones(4), num_steps=taken)
    assert before.result == bx.Result.successful and bits(before.x) == bits(s.x)
    # The failed step's calls were made, and are counted.
    assert s.cost.cross == taken + 1


def test_adjoint_divergence_is_told_from_inner_divergence():
    q = bx.problems.quadratic(5, 4, inner_condition=3.0)
    a = bx.algorithms.amigo_gd(
        outer_step_size=0.1, inner_step_size=0.5, adjoint_step_size=1e30, adjoint_steps=11
    )
    with pytest.warns(UserWarning, match="above 2 / smoothness = 2,"):
        s = bx.minimize(q.problem, a, jnp.ones(5), jnp.ones(4), num_steps=100)
    assert s.result == bx.Result.adjoint_nonfinite
    assert "adjoint step" in bx.Result[s.result]


def test_failure_in_the_first_step_keeps_the_start():
    problem = bx.BilevelProblem(lambda x, y: y / x, lambda x, y: (y - x) ** 2)
    s = bx.minimize(problem, algorithm(), 0.0, 1.0, num_steps=10)
    assert s.result == bx.Result.outer_nonfinite
    assert float(s.x) == 0.0 and float(s.y) == 1.0
    # The record of the step that failed is all there is.
    assert s.history["step"].tolist() == [1] and not np.isfinite(s.history["value"][0])


def test_a_callback_is_not_called_without_a_record():
    problem = bx.BilevelProblem(lambda x, y: y / x, lambda x, y: (y - x) ** 2)
    callback = lambda s: s.history["value"][-1] < 0
    s = bx.minimize(problem, algorithm(), 0.0, 1.0, num_steps=10, callback=callback)
    assert s.result == bx.Result.outer_nonfinite


def test_state_can_be_saved_and_loaded():
    t, a = make(), algorithm(batch_size=6)
    part = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=5, key=jax.random.key(1))
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, part.state)
    file.seek(0)
    like = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=1, key=jax.random.key(2)).state
    loaded = eqx.tree_deserialise_leaves(file, like)
    whole = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=9, key=jax.random.key(1))
    rest = bx.minimize(t.problem, a, num_steps=4, state=loaded)
    assert bits(rest.state) == bits(whole.state)


def test_numpy_integers_count_like_integers():
    t = make()
    run = lambda steps: bx.minimize(
        t.problem,
        algorithm(batch_size=6, inner_steps=steps),
        t.x0,
        t.y0,
        num_steps=3,
        key=jax.random.key(1),
    )
    assert bits(run(3).x) == bits(run(np.int64(3)).x)


def test_apply_constrains_x():
    project = lambda x, update: jnp.clip(x + update, -0.25, 0.25)
    t, a = make(), algorithm(100.0)
    a = bx.Algorithm(a.hypergradient, 100.0, apply=project)
    s = bx.minimize(t.problem, a, t.x0, t.y0, num_steps=30)
    assert float(jnp.abs(s.x).max()) == 0.25


def test_optax_as_outer_step():
    q = bx.problems.quadratic(5, 4, inner_condition=3.0)
    a = algorithm(optax.adam(0.05), inner_step_size=1.0, inner_steps=20, adjoint_steps=4)
    s = bx.minimize(q.problem, a, jnp.zeros(5), jnp.zeros(4), num_steps=2000)
    assert float(q.gap(s.x) / q.gap(jnp.zeros(5))) < 1e-6


def test_vmapped_over_outer_starts_and_steps():
    """init and step are pure: a whole trajectory can be vmapped."""
    q = bx.problems.quadratic(5, 4, inner_condition=3.0)

    @eqx.filter_jit
    def trajectory(x, step):
        a = algorithm(step)
        estimate = a.hypergradient.init(q.problem, x, jnp.zeros(4))

        def body(carry, k):
            x, estimate = carry
            g, estimate, _, _ = a.hypergradient(q.problem, x, estimate, jax.random.key(0))
            return (x - step * g, estimate), None

        return jax.lax.scan(body, (x, estimate), jnp.arange(10))[0][0]

    steps = jnp.array([0.05, 0.1])
    together = jax.vmap(trajectory, in_axes=(None, 0))(jnp.ones(5), steps)
    for step, x in zip(steps, together, strict=True):
        alone = bx.minimize(
            q.problem, algorithm(float(step)), jnp.ones(5), jnp.zeros(4), num_steps=10
        )
        np.testing.assert_allclose(x, alone.x, rtol=1e-12)


BOUNDS = {
    "non-negative": (optax.projections.projection_non_negative, (), lambda x: x.min() >= 0),
    "box": (
        optax.projections.projection_box,
        (-0.1, np.linspace(0, 0.2, 5)),
        lambda x: np.all(x >= -0.1) and np.all(x <= np.linspace(0, 0.2, 5)),
    ),
    "simplex": (
        optax.projections.projection_simplex,
        (),
        lambda x: x.min() >= 0 and abs(x.sum() - 1) < 1e-12,
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_projections_lead_to_the_constrained_minimum(name):
    projection, arguments, feasible = BOUNDS[name]
    q = bx.problems.quadratic(5, 4, inner_condition=3.0, coupling=0.2, seed=4)
    preset = algorithm(0.5, inner_step_size=1.0, inner_steps=40, adjoint_steps=4)
    apply = bx.projected(projection, *arguments)
    bounded = bx.Algorithm(preset.hypergradient, preset.outer, apply=apply)
    s = bx.minimize(q.problem, bounded, jnp.ones(5), jnp.zeros(4), num_steps=3000)
    assert feasible(np.asarray(s.x))
    # Optimal: a step along the exact gradient, projected, comes back.
    again = projection(s.x - 0.5 * q.gradient(s.x), *map(jnp.asarray, arguments))
    np.testing.assert_allclose(again, s.x, atol=1e-9)
    assert float(jnp.linalg.norm(q.gradient(s.x))) > 1e-2  # the bounds are active


def test_new_bounds_do_not_recompile():
    traces = []

    def outer(x, y):
        traces.append(1)
        return jnp.sum((y - 5.0) ** 2)

    problem = bx.BilevelProblem(outer, lambda x, y: jnp.sum((y - x) ** 2))
    preset = algorithm(0.1)

    def run(upper):
        apply = bx.projected(optax.projections.projection_box, 0.0, upper)
        bounded = bx.Algorithm(preset.hypergradient, 0.1, apply=apply)
        return bx.minimize(problem, bounded, jnp.zeros(2), jnp.zeros(2), num_steps=60).x

    np.testing.assert_allclose(run(1.0), 1.0)
    first = len(traces)
    np.testing.assert_allclose(run(2.0), 2.0)
    assert len(traces) == first
