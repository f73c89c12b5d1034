"""One row for each preset: what it is made of, what it costs, what is known of it."""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from .. import algorithms
from .._rows.sampler import AbstractSampler
from .._rows.samplers import FullBatch
from ..hypergradients import FiniteDifference, Implicit, Joint, Penalty, Unrolled
from ..solvers import AbstractSolver, Descent, Neumann, ReducedDescent
from ._base import Algorithm
from ._facts import FACTS, Facts


class Row(NamedTuple):
    """Of one preset, in words.

    `inner_gradient`, `hvp`, `cross` and `outer_gradient` are calls of an outer step on batches,
    in the letters of `SYMBOLS`; a refresh on all rows comes in place of one estimate.
    """

    preset: str
    composition: str
    inner_gradient: str
    hvp: str
    cross: str
    outer_gradient: str
    batches: str
    warm_y: str
    warm_z: str
    second_order: str
    assumptions: str
    rate: str


def table() -> list[Row]:
    """All presets in order, made and looked at.

    >>> import bilevax as bx
    >>> row = bx.algorithms.table()[0]
    >>> row.preset, row.composition, row.hvp
    ('accbio', 'Implicit(accelerated descent, heavy ball), accelerated outer step', 'N - 1')
    """
    return [_row(name, FACTS[name]) for name in FACTS]


def _row(name: str, facts: Facts) -> Row:
    algorithm = example(name)
    estimator: Any = algorithm.hypergradient
    y, z = _warm(estimator)
    first_order = facts.calls[1] == facts.calls[2] == "0"
    calls = dict(zip(_CALLS, facts.calls, strict=True))
    return Row(
        preset=name,
        composition=_composition(algorithm),
        **{oracle: formula.replace(" * ", " ") for oracle, formula in calls.items()},
        batches=_batches(estimator),
        warm_y=y,
        warm_z=z,
        second_order="no" if first_order else "yes",
        assumptions=facts.assumptions,
        rate=facts.rate,
    )


def example(name: str, batch_size: Any = 8) -> Algorithm:
    """A preset with rows drawn where it draws any, and what else it needs."""
    preset = getattr(algorithms, name)
    accepted = inspect.signature(preset).parameters
    options: dict[str, Any] = {"outer_step_size": 0.1, **dict(FACTS[name].example)}
    if "batch_sizes" in accepted:
        options["batch_size"] = batch_size
    return preset(**options)


def _composition(algorithm: Algorithm) -> str:
    """The nouns that it is made of."""
    estimator: Any = algorithm.hypergradient
    parts = [f"{type(estimator).__name__}({', '.join(_parts(estimator))})"]
    order = getattr(estimator, "order", None)
    if order in ("x first", "in turn"):
        parts.append(order)
    outer = type(algorithm.outer).__name__
    if outer in _OUTER:
        parts.append(_OUTER[outer])
    return ", ".join(parts)


def _parts(estimator: Any) -> list[str]:
    if isinstance(estimator, Implicit):
        return [_solver(estimator.inner), _solver(estimator.linear)]
    if isinstance(estimator, Joint):
        adjoint = "one step" if estimator.series is None else _solver(estimator.series)
        kinds = [type(r).__name__ for r in estimator.reducers if r is not None]
        return [adjoint, *dict.fromkeys(kinds)]
    if isinstance(estimator, Penalty):
        rule = f"{_named(estimator.multiplier)} multiplier"
        return [_solver(estimator.inner), _solver(estimator.penalised), rule]
    if isinstance(estimator, Unrolled):
        last = [] if estimator.last is None else ["last L steps"]
        return [_solver(estimator.inner), *last]
    return [_solver(estimator.inner)]


def _solver(solver: AbstractSolver) -> str:
    if isinstance(solver, Neumann):
        return "one random term" if solver.randomized else "Neumann series"
    if isinstance(solver, ReducedDescent):
        return "SAG, restarted" if solver.restarts else "SAG"
    return _named(solver.transformation if isinstance(solver, Descent) else solver)


def _warm(estimator: Any) -> tuple[str, str]:
    """Whether y and z go on from one outer step to the next; "-" without a z."""
    y = _yes(getattr(estimator, "warm_start_inner", True))
    if isinstance(estimator, Unrolled | Penalty | FiniteDifference):
        return y, "-"
    if isinstance(estimator, Joint):
        return y, _yes(estimator.series is None)
    return y, _yes(estimator.warm_start_adjoint)


def _batches(estimator: Any) -> str:
    """Which rows an oracle sees, where rows are drawn."""
    if not any(map(_draws, _samplers(estimator))):
        return "all rows"
    if isinstance(estimator, Joint):
        inner, outer = estimator._draws
        if estimator.order == "in turn":
            return f"{inner} inner and {outer} outer ones a step"
        return "one of each level an estimate"
    if isinstance(estimator, Implicit) and getattr(
        estimator.linear, "one_batch_per_solve", False
    ):
        return "a fresh one a call; one for all products"
    if isinstance(estimator, Unrolled):
        return "a fresh one a step, again on the way back"
    if isinstance(estimator, FiniteDifference):
        return "a fresh one a step, the same in all directions"
    if isinstance(estimator, Implicit) and isinstance(estimator.inner, ReducedDescent):
        return "of a fixed partition for y, else a fresh one a call"
    return "a fresh one a call"


def _samplers(estimator: Any) -> Iterator[Any]:
    is_sampler = lambda node: isinstance(node, AbstractSampler)
    return filter(is_sampler, jax.tree.leaves(estimator, is_leaf=is_sampler))


def _draws(sampler: Any) -> bool:
    return not isinstance(sampler, FullBatch)


def _yes(flag: Any) -> str:
    return "yes" if flag else "no"


def _named(part: Any) -> str:
    name = type(part).__name__
    return _NAMES.get(name, name)


_CALLS = ("inner_gradient", "hvp", "cross", "outer_gradient")
_OUTER = {
    "ThreeSequences": "accelerated outer step",
    "MovingAverage": "averaged directions",
}
_NAMES = {
    "SteepestDescent": "descent",
    "FollowedDescent": "descent",
    "AcceleratedGradientDescent": "accelerated descent",
    "Polyak": "heavy ball",
    "Direct": "dense solve",
    "DynamicBarrier": "barrier",
    "Growing": "growing",
}
