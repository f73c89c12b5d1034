"""Measured errors of stochastic hypergradients beside what the theorems say of them."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .._core.numbers import always, as_count
from .._core.result import Result
from .._core.types import ArrayLike, Count, Key
from .._rows.batch import full
from .._run.arguments import checked
from .._run.hypergradient import hypergradient
from ..algorithms._base import Algorithm
from ..hypergradients import Implicit
from ..problems._base import Problem
from ..solvers import AbstractIterativeSolver
from ..theory.sid import mse_bound
from .sid_constants import NUM_SAMPLES, SIDConstants, estimated, solution

# Checked by hand, so that the error names the remedy: see `_core.types`.
if TYPE_CHECKING:
    Method = Algorithm | Implicit
else:
    Method = Any

_HYPERGRADIENT = (
    "contraction",
    "outer_lipschitz",
    "outer_smoothness",
    "outer_cross_smoothness",
    "jacobian_lipschitz",
    "cross_lipschitz",
    "cross_norm",
)


@dataclasses.dataclass(frozen=True)
class SIDReport:
    """Errors of a stochastic hypergradient over many keys, a row a number of steps.

    - `columns`: `steps`; measured `mse`, `bias` (a norm), `variance`, `inner_mse`,
      `adjoint_mse`; from these two last the bounds `mse_bound`, `refined_bound`,
      `bias_bound`, `within_bound`, `between_bound` and `floor`; and `failed`, the number of
      runs whose result is not successful;
    - `constants`: what the bounds are made of.

    Printed, it is a table; `picture()` draws it.
    """

    columns: dict[str, np.ndarray]
    constants: SIDConstants
    num_runs: int

    def __repr__(self):
        names = list(self.columns)
        cells = [names, *(_row(values) for values in zip(*self.columns.values(), strict=True))]
        width = max(len(cell) for row in cells for cell in row)
        return "\n".join(" ".join(f"{cell:>{width}}" for cell in row) for row in cells)

    def picture(self) -> Any:
        """Measured errors and their bounds against the steps, a matplotlib figure."""
        from matplotlib.figure import Figure

        figure = Figure((5.6, 3.9), layout="constrained")
        axes, found = figure.subplots(), self.columns
        blue, orange, green = "#0072B2", "#D55E00", "#009E73"
        lines = (
            ("mse", "mean square error", blue, "-o"),
            ("refined_bound", "bound of the former", blue, "--"),
            ("variance", "variance", orange, "--x"),
            ("bias", "bias, squared", green, "-^"),
            ("bias_bound", "bound of the bias, squared", green, "--"),
            ("floor", "floor of the bound", "#777777", ":"),
        )
        for name, label, color, style in lines:
            values = found[name] ** 2 if name.startswith("bias") else found[name]
            shown = np.where(values > 0, values, np.nan)
            axes.plot(found["steps"], shown, style, color=color, label=label, markersize=4)
        axes.set(xlabel="steps of each level", ylabel="squared error", xscale="log")
        axes.set_yscale("log")
        axes.set_title(f"Hypergradients of {self.num_runs} runs", fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, ncols=2)
        return figure


def _row(values: Any) -> list[str]:
    return [str(v) if isinstance(v, np.integer) else f"{v:.3g}" for v in values]


def sid_report(
    problem: Problem,
    method: Method,
    x: PyTree,
    y0: PyTree,
    *,
    steps: ArrayLike = (10, 30, 100, 300),
    num_runs: Count = 200,
    constants: SIDConstants | None = None,
    key: Key | None = None,
) -> SIDReport:
    r"""Measures the mean square error of SID over many keys, beside its bound.

    Both levels take t steps, for each t of `steps`. The reference is the deterministic
    hypergradient, iterated to rounding. Bounds are those of Theorems 3.1 to 3.4 of Grazzi et
    al. (2021) with the measured $\rho = E|y_t - y^*|^2$ and
    $\sigma = E|z_k - z(y_t)|^2$, so that they tell how loose these theorems are, and not
    those on the solvers.

    **Arguments:**

    - `problem`: a `bx.FixedPointProblem`.
    - `method`: `bx.algorithms.sid`, or a `bx.Implicit` with two iterative solvers.
    - `x`, `y0`: where.
    - `steps`: the numbers of steps to look at.
    - `num_runs`: keys, which run side by side.
    - `constants`: of `bx.measure_constants`; otherwise estimates from the rows that the inner
      solver draws, which make no guarantee.
    - `key`: for all of it.

    **Returns** a `bx.SIDReport`. **Raises** `ValueError` where the map does not contract.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: jnp.sqrt(1 + y**2),
    ...     inner=lambda x, y, a: jnp.mean((y - a * x) ** 2) / 2,
    ...     inner_data=jnp.array([1.0, 3.0])).as_fixed_point(0.5)
    >>> method = bx.algorithms.sid(outer_step_size=0.1, inner_step_size=0.5, batch_size=1)
    >>> report = bx.sid_report(problem, method, 1.0, 0.0, steps=[2, 8], num_runs=50)
    >>> bool((report.columns["mse"] < report.columns["refined_bound"]).all())
    True

    **Reference:** R. Grazzi, M. Pontil and S. Salzo, AISTATS 2021, section 3.
    """
    estimator = _as_implicit(getattr(method, "hypergradient", method))
    num_runs, key = as_count("num_runs", num_runs), jax.random.key(0) if key is None else key
    x, y0, _, key = checked(problem, estimator, {"x": x, "y0": y0}, None, key)
    constants_key, run_key = jax.random.split(key)
    exact = solution(problem, x, y0)
    if constants is None:
        sampler = estimator.inner.sampler
        constants = estimated(problem, sampler, x, y0, exact, NUM_SAMPLES, constants_key)
    keys, rows = jax.random.split(run_key, num_runs), []
    # As many iterations of the adjoint as leave nothing but rounding.
    num = math.ceil(math.log(1e-8) / math.log(max(constants["contraction"].value, 0.1)))
    for t in np.asarray(steps):
        runs = _runs(problem, estimator, x, y0, jnp.int32(t), jnp.int32(2 * num), keys)
        rows.append({"steps": t, **_measured(runs, exact.gradient, exact.y)})
    columns = {name: np.asarray([row[name] for row in rows]) for name in rows[0]}
    share = _cross_share(problem, estimator)
    bound = mse_bound(
        **constants.of(*_HYPERGRADIENT),
        cross_noise=share * constants["cross_noise"].value,
        inner_mse=columns["inner_mse"],
        adjoint_mse=columns["adjoint_mse"],
    )
    failed = columns.pop("failed")
    columns |= {
        "mse_bound": bound.mse,
        "refined_bound": bound.refined,
        "bias_bound": bound.bias,
        "within_bound": bound.within,
        "between_bound": bound.between,
        "floor": np.broadcast_to(bound.floor, bound.mse.shape),
        "failed": failed,
    }
    return SIDReport(columns, constants, num_runs)


def _as_implicit(estimator: Any) -> Implicit:
    solvers = getattr(estimator, "inner", None), getattr(estimator, "linear", None)
    iterative = all(isinstance(solver, AbstractIterativeSolver) for solver in solvers)
    if not (isinstance(estimator, Implicit) and iterative):
        raise TypeError(
            "method must be bx.algorithms.sid(...) or a bx.Implicit of two iterative solvers, "
            f"got {estimator!r}."
        )
    return estimator


def _cross_share(problem: Problem, estimator: Implicit) -> float:
    """The noise of the last product, in shares of that of the inner solver's rows."""
    if estimator.cross_sampler.deterministic:
        return 0.0
    data = problem.inner_data
    return estimator.inner.sampler.rows(data) / estimator.cross_sampler.rows(data)


@eqx.filter_jit
def _runs(problem, estimator, x, y0, t, num, keys):
    """The gradient, y, z, z's own limit, and the result of each run."""
    count = always(t)
    of = lambda e: (e.inner.num_steps, e.linear.num_steps)
    estimator = eqx.tree_at(of, estimator, (count, count))
    everything, outer = full(problem.inner_data, None), full(problem.outer_data, None)

    def one(key):
        h = hypergradient(problem, estimator, x, y0, key=key)
        f_y = problem.value_and_gradients(x, h.y, outer)[1][1]
        hvp = problem.linearize(x, h.y, everything).hvp
        step = lambda _, z: optax.tree.sub(z, optax.tree.add(hvp(z), f_y))
        limit = jax.lax.fori_loop(0, num, step, h.adjoint)
        return h.gradient, h.y, h.adjoint, limit, h.result == Result.successful

    return jax.vmap(one)(keys)


def _measured(runs: Any, exact: PyTree, y: PyTree) -> dict[str, Any]:
    """Mean squares over the runs."""
    gradients, ys, adjoints, limits, successful = runs
    rows = lambda trees: np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(trees))
    flat = lambda tree: np.asarray(ravel_pytree(tree)[0])
    square = lambda errors: float(np.mean(np.sum(errors**2, axis=1)))
    errors = rows(gradients) - flat(exact)
    num, mean = len(errors), errors.mean(axis=0)
    variance = square(errors - mean) * num / max(num - 1, 1)
    # The mean of few runs is off by chance, which is no bias.
    bias = max(float(mean @ mean) - variance / num, 0.0) ** 0.5
    return {
        "mse": square(errors),
        "bias": bias,
        "variance": variance,
        "inner_mse": square(rows(ys) - flat(y)),
        "adjoint_mse": square(rows(adjoints) - rows(limits)),
        "failed": int(np.sum(~np.asarray(successful))),
    }
