"""A user's file for type checkers: none of it runs. What is ignored has to be an error."""

from typing import Any, Literal, assert_type

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import scipy.sparse
from jax import Array
from optax.projections import projection_box

import bilevax as bx
from bilevax import hypergradients, problems, schedules, solvers

ROWS = np.ones((4, 3), np.float32)
LABELS = np.arange(4)
SPARSE = scipy.sparse.csr_array(ROWS)
KEY = jax.random.key(0)


def loss(x: Array, y: Array) -> Array:
    return jnp.sum((x - y) ** 2)


def loss_of_rows(x: Array, y: Array, batch: Array) -> Array:
    return jnp.mean((batch @ y - x) ** 2)


bilevel = bx.BilevelProblem(loss, lambda x, y: jnp.sum((y - x) ** 2))
minimum = bx.MinProblem(loss)
fixed_point = bx.FixedPointProblem(loss, lambda x, y: jnp.cos(x + y), symmetric=True)
inner = bx.GradientDescent(0.1, 10)
implicit = bx.Implicit(inner, bx.CG(3))
algorithm = bx.Algorithm(implicit, 0.1)


def own_problems() -> None:
    bx.BilevelProblem(loss_of_rows, loss_of_rows, outer_data=ROWS, inner_data=(ROWS, SPARSE))
    bx.BilevelProblem(
        outer=loss,
        inner=loss,
        gauge=lambda y: y,
        update=lambda x, y: y,
        constants=lambda x: bx.Constants(strong_convexity=1, smoothness=2.0),
        check=lambda x: None,
    )
    bx.MinProblem(loss_of_rows, ROWS)
    bx.MinProblem(objective=loss_of_rows, data={"rows": SPARSE}, gauge=lambda y: y)
    bx.FixedPointProblem(loss, fixed_point=loss_of_rows, inner_data=ROWS)
    assert_type(bilevel.as_fixed_point(0.5), bx.FixedPointProblem)
    minimum.as_fixed_point(np.float32(0.5))
    bilevel.as_fixed_point(lambda x: 2 / (1 + x))
    matrix = bx.SparseMatrix(SPARSE)
    assert_type(matrix @ np.ones(3), Array)
    assert_type(np.ones(4) @ matrix, Array)
    bx.MinProblem(loss_of_rows, (bx.RowsOnDisk("rows.npy", dtype=np.float32), ROWS))
    bx.RowsOnDisk(np.memmap("rows.bin", np.float32, "r", shape=(4, 3)))


def ready_made_problems() -> None:
    q = bx.problems.quadratic(3, 2, inner_condition=5, coupling=1, seed=0)
    assert_type(q, problems.Quadratic)
    assert_type(q.problem, bx.BilevelProblem)
    assert_type(q.gradient(np.ones(3)), Array)
    problems.Quadratic(np.eye(2), jnp.eye(2), np.eye(2), np.ones(2), coupling=0.1)
    assert_type(problems.quadratic_form(np.eye(2), np.ones(2)), Array)
    ridge = problems.RidgeRegression(ROWS, 0.5)
    assert_type(ridge.problem, bx.MinProblem)
    ridge.objective(np.ones(4), ridge.y0)
    problems.LogisticRegression(jnp.asarray(ROWS), np.float64(0.5))
    problems.PNormRegression(ROWS, p=4)
    transport = problems.EntropicTransport(np.eye(2), [0.5, 0.5], 0.1, domain="kernel")
    assert_type(transport.problem, bx.MinProblem)
    assert_type(problems.wasserstein_barycentre(transport), bx.BilevelProblem)
    task = problems.penalised_logistic((ROWS, LABELS), (SPARSE, [0, 1, 2, 0]), strength=1)
    assert_type(task, problems.Penalised)
    assert_type(task.problem, bx.BilevelProblem)
    task.score(np.ones((3, 4)), SPARSE, LABELS)
    problems.penalised_binary_logistic((ROWS, LABELS), (ROWS, LABELS), penalty="shared")
    problems.penalised_ridge((ROWS, LABELS), (ROWS, LABELS))
    noisy, _ = problems.corrupt_labels(LABELS, 0.5, classes=4)
    cleaning = problems.hyper_cleaning((ROWS, noisy), (ROWS, LABELS), strength=1)
    assert_type(cleaning, problems.HyperCleaning)
    for mean_loss in (problems.log_loss, problems.squared_error):
        assert_type(mean_loss(np.ones(4), LABELS), Array)
    assert_type(problems.cross_entropy(np.ones((4, 3)), LABELS), Array)


def steps_and_schedules() -> None:
    def halved(i: int) -> float:
        return 0.5**i

    assert_type(bx.GradientDescent(0.1, 10), bx.Descent)
    bx.GradientDescent(1, np.int64(3))
    bx.GradientDescent(np.float32(0.1), lambda k: 1 + k)
    bx.GradientDescent(np.array(0.1), lambda k: jnp.int32(3))
    bx.GradientDescent(jnp.array(0.1), 3)
    bx.GradientDescent(num_steps=3)
    bx.GradientDescent(halved, 3)
    bx.GradientDescent(lambda i: 0.1 / (1 + i), 3)
    bx.GradientDescent(lambda i: jnp.where(i < 3, 0.1, 0.2), 3)
    bx.GradientDescent(optax.cosine_decay_schedule(0.1, 100), 3)
    bx.GradientDescent(bx.schedules.decreasing(1, gamma=np.float32(2)), 3)
    bx.GradientDescent(schedules.polynomial(jnp.array(1.0), 0.5).outer(), 3)
    bx.GradientDescent(schedules.two_phase(0.5, np.int64(10), beta=4, gamma=8), 3)
    assert_type(schedules.decreasing(4.0, 8.0)(0), Array)


def own_solvers() -> None:
    for solver in (bx.SGD(0.1, 10, 32), bx.Descent(optax.adam(0.1), 10)):
        assert_type(solver, bx.Descent)
    bx.Descent(optax.chain(optax.clip(1.0), optax.sgd(0.1)), 10, tol=0)
    bx.Descent(0.1, 10, tol=1e-3, must_converge=True)
    bx.AcceleratedGradientDescent(0.1, 10, strong_convexity=np.float32(1))
    bx.FixedPointIteration(lambda k: k + 1, tol=np.float32(1e-3))
    bx.Sinkhorn(3, must_converge=False)
    bx.CG(np.int64(3), tol=1e-8, batch_size=10)
    bx.CG(3, preconditioner=lambda x, y, r: r)
    bx.Newton(10, linear=bx.CG(3), tol=1e-8, must_converge=True)
    bx.Descent(optax.lbfgs(), 10)
    bx.Optimistix(optimistix.BFGS(1e-8, 1e-8), 10, must_converge=False)
    bx.Neumann(step_size=0.1, num_steps=3, randomized=True)
    bx.Neumann(step_size=0.1, num_steps=3, randomized=True, lengths=[1, 2])
    bx.SAG(0.1, 10, 5)
    bx.SVRG(0.1, 10, bx.Blocks(5), epoch=np.int64(10))
    bx.ReducedDescent(optax.adam(0.1), bx.STORM(0.5), 10, 5)
    bx.SAG(0.1, 10, 5, restart=True)
    assert_type(bx.HeavyBall(0.1, 10, strong_convexity=np.float32(1)), bx.Descent)
    bx.Nystrom(np.int64(3), 0.1, batch_size=10)
    bx.Direct(cutoff=1e-5, block_size=None)
    every: list[solvers.AbstractSolver] = [inner, bx.CG(3), bx.Direct(), bx.Sinkhorn(3)]
    assert_type(every[0].random, bool)


def own_samplers() -> None:
    for batch_size in (None, 32, np.int64(32), bx.Epochs(32), bx.RandomRows(32)):
        bx.GradientDescent(0.1, 10, batch_size=batch_size)
    bx.SGD(0.1, 10, bx.Batches([[0, 1], [2, 3]]))
    bx.StochasticFixedPoint(bx.schedules.decreasing(4.0, 8.0), 10, 32)
    bx.Batches(np.zeros((2, 3), int))
    bx.Blocks(np.int64(4), order=[0, 1])
    bx.FullBatch()
    bx.FullBatch(block_size="auto")
    bx.FullBatch(block_size=100)


def own_estimators() -> None:
    bx.Analytic(inner, warm_start_inner=False, outer_batch_size=bx.Epochs(3))
    bx.Unrolled(inner, last=3, mode="forward")
    bx.Unrolled(inner, checkpoint="sqrt", max_num_steps=np.int64(3))
    one, series = bx.GradientDescent(0.1, 1), bx.Neumann(step_size=0.1)
    bx.Joint(one, bx.SAGA(start="zero"), 0.1, inner_batch_size=bx.Blocks(3))
    bx.Joint(one, (bx.Sample(), bx.Sample(), bx.STORM(lambda i: 0.5)), order="in turn")
    bx.Joint(series, bx.SPIDER(10, refresh_batch_size=np.int64(50)), order="x first")
    bx.Joint(one, bx.Sample(), order="y first")  # type: ignore
    assert_type(bx.OneStep(inner, outer_batch_size=3), bx.Unrolled)
    bx.Penalty(inner, one, 10, schedules.polynomial(1.0, 0.5), start="penalised")
    bx.Penalty(inner, one, bx.DynamicBarrier(np.float32(0.5)))
    bx.Penalty(inner, one, start="y")  # type: ignore
    bx.FiniteDifference(inner, num_directions=np.int64(3), distance=0.1)
    estimator = bx.Implicit(inner, bx.Direct(), cross_batch_size=np.int64(3))
    every: list[hypergradients.AbstractHypergradient] = [estimator, bx.Analytic(inner)]
    assert_type(every[0].random, bool)


def own_algorithms() -> None:
    bx.Algorithm(implicit, 1)
    bx.Algorithm(implicit, lambda k: 0.1 / (1 + k))
    bx.Algorithm(implicit, optax.adam(0.1), apply=bx.projected(projection_box, 0.0, 1))
    bx.Algorithm(implicit, bx.adaptive_step(np.float32(2)), apply=lambda x, update: x + update)
    bx.Algorithm(implicit, *bx.mirror_descent(0.5))
    bx.Algorithm(implicit, 0.1, output=bx.averaged(0.5))
    bx.Algorithm(implicit, 0.1, output=lambda shown, x, outer, k: x)
    measured = bx.with_measured_steps(algorithm, bilevel, 1.0, np.ones(3))
    assert_type(measured, bx.Algorithm)
    assert_type(bx.check_steps(bilevel, algorithm, 1.0, np.ones(3)), bx.Curvature)


def presets() -> None:
    assert_type(bx.algorithms.amigo_cg(outer_step_size=np.float32(0.1)), bx.Algorithm)
    bx.algorithms.amigo_gd(
        outer_step_size=optax.adam(0.1),
        inner_step_size=schedules.decreasing(1, 2),
        adjoint_step_size=lambda i: 0.1 / (1 + i),
        inner_steps=lambda k: k + 1,
        adjoint_steps=np.int64(3),
        batch_size=32,
        hvp_batch_size=bx.Epochs(3),
        outer_batch_size=None,
    )
    bx.algorithms.itd(outer_step_size=0.1, inner_steps=lambda k: k + 1, max_inner_steps=10)
    bx.algorithms.reverse(outer_step_size=bx.adaptive_step(), last=np.int64(3))
    for preset in (bx.algorithms.aid_cg, bx.algorithms.aid_cg_ws, bx.algorithms.aid_fp):
        assert_type(preset(outer_step_size=1), bx.Algorithm)
    bx.algorithms.aid_gd(outer_step_size=1, adjoint_step_size=0.1)
    bx.algorithms.aid_n(outer_step_size=1, adjoint_step_size=0.1)
    bx.algorithms.ba(outer_step_size=lambda k: 0.1)
    decreasing = schedules.polynomial(0.1, 0.5)
    bx.algorithms.soba(outer_step_size=decreasing, inner_step_size=decreasing, batch_size=8)
    bx.algorithms.ma_soba(outer_step_size=0.1, weight=lambda k: 1 / (1 + k))
    bx.algorithms.sid(outer_step_size=0.1, adjoint=bx.SVRG(0.1, 10), batch_size=32)
    bx.algorithms.saba(outer_step_size=0.1, start="zero", inner_batch_size=bx.Blocks(8))
    bx.algorithms.srba(outer_step_size=0.1, period=np.int64(10), batch_size=8)
    bx.algorithms.mrbo(outer_step_size=0.1, inner_momentum=0.5, outer_momentum=decreasing)
    bx.algorithms.vrbo(outer_step_size=0.1, inner_steps=3, refresh_batch_size=100)


def further_presets() -> None:
    decreasing = schedules.polynomial(0.1, 0.5)
    for preset in (bx.algorithms.aid_bio, bx.algorithms.pzobo, bx.algorithms.ttsa):
        assert_type(preset(outer_step_size=1), bx.Algorithm)
    bx.algorithms.accbio(
        outer_step_size=0.1, outer_strong_convexity=np.float32(1), inner_strong_convexity=1
    )
    bx.algorithms.amigo_accelerated(outer_step_size=0.1, inner_strong_convexity=0.1)
    bx.algorithms.amigo_sag(outer_step_size=0.1, inner_batch_size=bx.Blocks(4), batch_size=8)
    bx.algorithms.bome(outer_step_size=0.1, penalised_step_size=0.1, rate=1)
    bx.algorithms.bsa(outer_step_size=decreasing, inner_step_size=decreasing.outer())
    bx.algorithms.f2sa(outer_step_size=0.1, penalised_step_size=0.1, multiplier_growth=1)
    bx.algorithms.fsla(outer_step_size=0.1, outer_momentum=decreasing, batch_size=8)
    bx.algorithms.stocbio(outer_step_size=optax.adam(0.1), hvp_batch_size=np.int64(3))
    bx.algorithms.sustain(outer_step_size=0.1, lengths=[1, 0, 2])
    bx.algorithms.bome(outer_step_size=0.1)  # type: ignore
    print(bx.algorithms.table()[0].preset)


def runs() -> None:
    def small(solution: bx.Solution) -> bool:
        return bool(solution.history["value"][-1] < 1)

    def show(solution: bx.Solution) -> None:
        print(solution.x)

    bx.minimize(bilevel, algorithm, 1.0, 0.0)
    bx.minimize(minimum, algorithm, {"a": 1.0}, [np.ones(3)], callback=small)
    bx.minimize(fixed_point, algorithm, np.ones(3), jnp.ones(3), callback=show)
    s = bx.minimize(
        bilevel,
        algorithm,
        x0=np.ones(3),
        y0=0.0,
        num_steps=np.int64(3),
        key=KEY,
        adjoint0=1.0,
        tol=1,
        record_every=2,
        metrics=lambda x, y: {"value": x},
        callback=lambda s: s.history["value"][-1] < 1,
        progress=True,
        measure_every=10,
    )
    assert_type(s, bx.Solution)
    assert_type(s.history, dict[str, np.ndarray])
    assert_type(s.inner_residual, Array)
    assert_type(s.adjoint_residual, Array | None)
    assert_type(s.cost, bx.Cost)
    assert_type(s.cost + s.cost, bx.Cost)
    assert_type(s.cost.hvp, int)
    assert_type(s.cost.rows.total, int)
    assert_type(s.result, bx.Result)
    assert_type(s.result == bx.Result.successful, Array)
    assert_type(s.state, bx.State)
    text: str = bx.Result[s.result]
    print(text)
    bx.minimize(bilevel, algorithm, num_steps=3, state=s.state)
    assert_type(bx.initial_state(bilevel, algorithm, 1.0, 0.0, key=KEY), bx.State)


def single_gradients() -> None:
    h = bx.hypergradient(bilevel, implicit, 1.0, np.zeros(3), key=KEY)
    assert_type(h, bx.Hypergradient)
    assert_type(h.value, Array)
    assert_type(h.result, bx.Result)
    assert_type(h.cost.total, int)
    c = bx.curvature(bilevel, 1.0, 0.0, num_products=np.int64(3), strong_convexity=jnp.ones(()))
    assert_type(c, bx.Curvature)
    assert_type(c.condition, Array)
    path = bx.trajectory(bilevel, inner, 1.0, 0.0, at=range(3), linear=bx.Direct())
    assert_type(path, bx.Trajectory)
    assert_type(path.implicit, Array | None)
    assert_type(path.result, bx.Result)
    bound = bx.error_bound(bilevel, implicit, 1.0, h, constants=bx.Constants(smoothness=1))
    assert_type(bound, bx.ErrorBound)
    assert_type(bound.value, float)
    advice = bx.recommend(bilevel, inner, 1.0, 0.0, key=KEY, memory=1e9)
    assert_type(advice, bx.Recommendation)
    assert_type(advice.gradient, Literal["analytic", "automatic", "implicit"])
    assert_type(advice.estimator(inner), hypergradients.AbstractHypergradient)


def differentiable_minima() -> None:
    ell = bx.minimum(lambda x, y: (y - x) ** 2, 0.0, inner, gradient="automatic")
    assert_type(ell(2.0), Array)
    jax.grad(ell)(2.0)
    bx.minimum(minimum, np.zeros(3), gradient=bx.Unrolled(inner), key=KEY)
    bx.minimum(loss_of_rows, 0.0, inner, gradient="implicit", linear=bx.CG(3), data=ROWS)
    solution = bx.argmin(loss, 0.0, inner, linear=bx.Direct())
    jax.jacobian(solution)(np.ones(3))
    for problem in (bilevel, minimum, fixed_point):
        bx.argmin(problem, np.zeros(3), inner)


def real_data() -> None:
    features, labels = bx.datasets.load_digits(return_X_y=True)
    problems.penalised_logistic((features, labels), (features, labels))
    print(bx.datasets.fetch_mnist(subset="test", data_home="folder").data)
    print(bx.datasets.fetch_20newsgroups(remove=("headers",)).target_names)
    print(bx.datasets.load_file("rows.csv", label="digit").target)
    bx.datasets.load_features("rows.csv", ["a", "b"])
    assert_type(bx.datasets.available(), dict[str, tuple[str, ...]])


def formulas() -> None:
    theory = bx.theory.superefficiency
    rate: float = theory.contraction(
        step_size=1, smoothness=1.0, strong_convexity=np.float32(1)
    )
    theory.distance(steps=np.arange(3), contraction=rate, initial_distance=jnp.ones(()))
    assert_type(theory.orders(), bx.theory.superefficiency.ByEstimator)
    quadratic = problems.quadratic(inner_condition=9.0)
    constants = problems.amigo_constants(quadratic, radius=1)
    assert_type(constants, bx.theory.amigo.Constants)
    energy = problems.total_energy(quadratic, constants)
    bx.minimize(quadratic.problem, algorithm, ROWS[0], ROWS[1], metrics=energy)
    bx.algorithms.amigo_gd(constants=constants, batch_size=3)
    rows = bx.theory.amigo.table(accuracy=1e-3, inner_condition=constants.inner_condition)
    assert_type(rows, list[bx.theory.amigo.PredictedCost])


def refused() -> None:
    bx.GradientDescent("0.1", 3)  # type: ignore
    bx.GradientDescent(0.1, 3.0)  # type: ignore
    bx.GradientDescent(0.1, 3, batch_size=0.5)  # type: ignore
    bx.GradientDescent(optax.adam(0.1), 3)  # type: ignore
    bx.CG()  # type: ignore
    bx.CG(2.5)  # type: ignore
    bx.Neumann(10)  # type: ignore
    bx.RandomRows(0.5)  # type: ignore
    bx.Epochs("3")  # type: ignore
    bx.FullBatch(block_size="all")  # type: ignore
    schedules.decreasing("1", 2)  # type: ignore
    schedules.polynomial(1.0)  # type: ignore
    bx.Implicit(inner)  # type: ignore
    bx.Implicit(0.1, bx.CG(3))  # type: ignore
    bx.Unrolled(bx.Direct())  # type: ignore
    bx.Unrolled(inner, mode="backward")  # type: ignore
    bx.Unrolled(inner, checkpoint="root")  # type: ignore
    bx.Algorithm(minimum, 0.1)  # type: ignore
    bx.Algorithm(implicit, None)  # type: ignore
    bx.algorithms.amigo_cg(0.1)  # type: ignore
    bx.algorithms.amigo_cg()  # type: ignore
    bx.algorithms.amigo_cg(outer_step_size=None)  # type: ignore
    bx.algorithms.amigo_cg(outer_step_size=0.1, inner_steps=3.0)  # type: ignore
    bx.algorithms.amigo_cg(outer_step_size=0.1, batch_size="3")  # type: ignore
    bx.BilevelProblem(loss)  # type: ignore
    bx.BilevelProblem(loss, 3.0)  # type: ignore
    bx.MinProblem(loss, ROWS, None)  # type: ignore
    bx.FixedPointProblem(loss, loss, symmetric="yes")  # type: ignore
    problems.RidgeRegression(ROWS, "x")  # type: ignore
    bx.minimize(minimum, implicit, 1.0, 0.0)  # type: ignore
    bx.minimize(loss, algorithm, 1.0, 0.0)  # type: ignore
    bx.minimize(minimum, algorithm, 1.0, 0.0, num_steps=2.0)  # type: ignore
    bx.minimize(minimum, algorithm, 1.0, 0.0, key=0)  # type: ignore
    bx.minimize(minimum, algorithm, state=bx.minimize(minimum, algorithm))  # type: ignore
    print(bx.minimize(minimum, algorithm, 1.0, 0.0).steps)  # type: ignore
    bx.hypergradient(minimum, inner, 1.0, 0.0)  # type: ignore
    bx.hypergradient(minimum, algorithm, 1.0, 0.0)  # type: ignore
    bx.minimum(loss, 0.0, inner, gradient="exact")  # type: ignore
    bx.minimum(bilevel, 0.0, inner)  # type: ignore
    bx.argmin(loss, 0.0)  # type: ignore
    bx.argmin(loss, 0.0, 0.1)  # type: ignore
    bx.curvature(minimum, 1.0, 1.0, num_products=1.5)  # type: ignore
    bx.trajectory(minimum, bx.Direct(), 1.0, 0.0, at=[1])  # type: ignore
    bx.projected(3.0)  # type: ignore
    bx.adaptive_step("x")  # type: ignore
    print(bx.Result.succesful)  # type: ignore
    print(bx.theory.superefficiency.orders().exact)  # type: ignore


def stochastic_hypergradients() -> None:
    found = bx.measure_constants(fixed_point, ROWS[0], ROWS[1], batch_size=None, noise=0.0)
    assert_type(found, bx.SIDConstants)
    assert_type(found["noise"], bx.MeasuredConstant)
    report = bx.sid_report(fixed_point, implicit, ROWS[0], ROWS[1], steps=[1, 2])
    assert_type(report, bx.SIDReport)
    rule = bx.theory.sid.steps(contraction=0.9, noise=1.0)
    bx.schedules.decreasing(**rule.decreasing)


def many_runs() -> None:
    keys = jax.random.split(KEY, 2)
    starts = np.ones((2, 3)), np.ones((2, 3))
    runs = bx.minimize_many(bilevel, algorithm, *starts, keys=keys, num_steps=3, tol=0.1)
    assert_type(runs, list[bx.Solution])
    bx.minimize_many(bilevel, [algorithm, algorithm], *starts)
    bx.MinProblem(loss_of_rows, bx.shard_rows(ROWS))
    swept = bx.sweep(lambda a: a, {"a": [1, 2]}, store="runs.db", jobs=-1, name="same")
    assert_type(swept, list[bx.SweepRun])
    assert_type(swept[0].settings["a"], Any)
    task = problems.distillation((ROWS, LABELS), strength=1, seed=1)
    assert_type(task, problems.Distillation)
    assert_type(task.problem, bx.BilevelProblem)
    assert_type(task.x0, problems.Distilled)
