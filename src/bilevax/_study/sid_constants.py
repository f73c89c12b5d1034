"""The constants that the bounds of stochastic hypergradients ask for, measured."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._core.numbers import as_count
from .._core.tree import float_dtype
from .._core.types import Count, Key, Number
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, as_sampler
from .._run.arguments import checked
from .._run.curvature import curvature
from .._run.hypergradient import Hypergradient, hypergradient
from ..hypergradients import Implicit
from ..problems._base import FixedPointProblem, GradientMap, Problem
from ..problems._constants import Constants
from ..solvers import FixedPointIteration
from .sid_estimates import estimates

NUM_SAMPLES = 64
Source = Literal["given", "known", "estimated"]


class MeasuredConstant(NamedTuple):
    """A constant, and whether it was given by the caller, is known, or was estimated."""

    value: float
    source: Source


class SIDConstants(Mapping[str, MeasuredConstant]):
    """Constants by the names of `bx.theory.sid`; printed, they are a table."""

    def __init__(self, found: dict[str, MeasuredConstant]):
        self._found = found

    def __getitem__(self, name):
        return self._found[name]

    def __iter__(self):
        return iter(self._found)

    def __len__(self):
        return len(self._found)

    def of(self, *names: str) -> dict[str, Any]:
        """The numbers of these names, as keywords for a function of `bx.theory.sid`."""
        return {name: self._found[name].value for name in names}

    def __repr__(self):
        width = max(map(len, self._found))
        rows = (f"{n:<{width}}  {c.value:<10.4g}  {c.source}" for n, c in self._found.items())
        return "\n".join(rows)


def measure_constants(
    problem: Problem,
    x: PyTree,
    y0: PyTree,
    *,
    batch_size: BatchSize = 1,
    constants: Constants | None = None,
    num_samples: Count = NUM_SAMPLES,
    key: Key | None = None,
    **given: Number,
) -> SIDConstants:
    r"""The constants of `bx.theory.sid` at one x.

    Each is *given* by the caller; or *known*, where it follows from `constants`; or
    *estimated*: the largest found at the solution and at points around it, as far away as
    $y_0$ is, on all rows and on `num_samples` batches. An estimate comes from below: a bound
    that is built on it is no guarantee. `noise` and `relative_noise` are those of the inner
    iteration, `adjoint_noise` and `adjoint_relative_noise` those of the adjoint's, whose
    noise grows with z.

    **Arguments:**

    - `problem`: a `bx.FixedPointProblem`, such as `problem.as_fixed_point(step_size)`.
    - `x`, `y0`: where, and where the inner solver will start.
    - `batch_size`: rows of a sample, an int or a sampler.
    - `constants`: a `bx.Constants` of the inner objective, if the map is that of gradient
      descent.
    - `num_samples`: batches that tell of the noise.
    - `key`: for these and for the points around the solution.
    - `given`: values by the names of `bx.theory.sid`.

    **Returns** a mapping from names to `(value, source)`, with `of(*names)` for keywords.
    **Raises** `ValueError` where the map does not contract.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> rows = jnp.array([1.0, 3.0])
    >>> problem = bx.BilevelProblem(
    ...     outer=lambda x, y: jnp.sqrt(1 + y**2),
    ...     inner=lambda x, y, a: jnp.mean((y - a * x) ** 2) / 2, inner_data=rows)
    >>> found = bx.measure_constants(problem.as_fixed_point(0.5), 1.0, 0.0, outer_lipschitz=1.0)
    >>> found["outer_lipschitz"].source, round(found["contraction"].value, 4)
    ('given', 0.5)

    **Reference:** R. Grazzi, M. Pontil and S. Salzo, AISTATS 2021, Assumptions A to G.
    """
    problem, num = _as_map(problem), as_count("num_samples", num_samples)
    sampler, key = as_sampler(batch_size), jax.random.key(0) if key is None else key
    x, y0, _, key = checked(problem, _solver(1, 0.0), {"x": x, "y0": y0}, None, key)
    h = solution(problem, x, y0)
    table = dict(estimated(problem, sampler, x, y0, h, num, key))
    known = {} if constants is None else _known(problem, x, constants)
    table |= {name: MeasuredConstant(value, "known") for name, value in known.items()}
    unknown = sorted(set(given) - set(table))
    if unknown:
        raise TypeError(
            f"Unknown constant {unknown[0]!r}: those of stochastic hypergradients are "
            f"{', '.join(table)}."
        )
    table |= {name: MeasuredConstant(float(value), "given") for name, value in given.items()}
    return SIDConstants(table)


def estimated(
    problem: Problem,
    sampler: AbstractSampler,
    x: PyTree,
    y0: PyTree,
    h: Hypergradient,
    num_samples: int,
    key: Key,
) -> SIDConstants:
    """All of them from points and batches, where the solution is known."""
    map_ = _as_map(problem)
    found = estimates(map_, sampler, x, y0, h.y, h.adjoint, num_samples, key)
    return SIDConstants(
        {name: MeasuredConstant(float(value), "estimated") for name, value in found.items()}
    )


def _as_map(problem: Any) -> FixedPointProblem:
    if not isinstance(problem, FixedPointProblem):
        raise TypeError(
            "These constants are those of a contraction: pass a bx.FixedPointProblem, such as "
            f"problem.as_fixed_point(step_size), got {type(problem).__name__}."
        )
    return problem


def _solver(num_steps: int, tol: float) -> Implicit:
    iteration = FixedPointIteration(num_steps, tol=tol)
    return Implicit(iteration, iteration, warm_start_adjoint=False)


def solution(problem: Problem, x: PyTree, y0: PyTree) -> Hypergradient:
    """The hypergradient, the fixed point and its adjoint, iterated to rounding."""
    problem = _as_map(problem)
    eps = float(jnp.finfo(float_dtype(y0)).eps)
    q = float(curvature(problem, x, y0).contraction or 0)
    _require_contraction(q, "y0")
    h = hypergradient(problem, _solver(100_000, 10 * eps), x, y0)
    _require_contraction(float(curvature(problem, x, h.y).contraction or 0), "the solution")
    return h


def _require_contraction(q: float, where: str) -> None:
    # Written so that NaN does not pass.
    if not q < 1:
        raise ValueError(
            f"The map does not contract at {where}: the norm of its derivative there is about "
            f"{q:.4g}, and must be below 1. Take a shorter step in as_fixed_point: below "
            "2 / smoothness of the inner objective, which bx.curvature measures."
        )


def _known(problem: FixedPointProblem, x: PyTree, constants: Constants) -> dict[str, float]:
    """What a gradient map's constants say of those of its objective."""
    map_ = problem.fixed_point
    if not isinstance(map_, GradientMap):
        raise TypeError(
            "constants= are those of an inner objective, and this map is not that of "
            "gradient descent: state what you know by name, as in contraction=0.9."
        )
    step = float(map_.step_size(x) if callable(map_.step_size) else map_.step_size)
    times = {
        "jacobian_lipschitz": (step, constants.hessian_lipschitz),
        "cross_lipschitz": (step, constants.cross_lipschitz),
        "cross_norm": (step, constants.cross_smoothness),
        "outer_smoothness": (1.0, constants.outer_smoothness),
        "outer_cross_smoothness": (1.0, constants.outer_cross_smoothness),
    }
    known = {name: s * value for name, (s, value) in times.items() if value is not None}
    low, high = constants.strong_convexity, constants.smoothness
    if low is not None and high is not None:
        known["contraction"] = max(abs(1 - step * low), abs(1 - step * high))
    return known
