r"""The terms of a single-loop method's directions, by the rows they are averaged over.

    direction   of y: F          of z: H z + d_y f       of x: d_x f + (d_x F)^T z
    inner rows        F                H z                              (d_x F)^T z
    outer rows                               d_y f             d_x f

Terms of one kind of rows share their batches and one pass through the problem.
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import optax.tree
from jaxtyping import PyTree

from .._core.cost import Cost
from .._core.tree import axpy, scale
from .._core.types import Calls as Number
from .._core.types import Index
from .._rows.batch import Batch
from ..problems._base import AbstractProblem
from ..reducers import AbstractReducer, Average, Calls, Reader
from ..schedules import evaluate
from ..solvers import Neumann
from ..solvers._directions import Clock
from ..solvers._equation import off_kernel, on_quotient


class Point(NamedTuple):
    """All that the directions depend on and that moves."""

    x: PyTree
    y: PyTree
    z: PyTree


class AbstractTerms(eqx.Module):
    """Some terms of the directions, as functions of a point and a batch."""

    @abc.abstractmethod
    def __call__(
        self, problem: AbstractProblem, w: Point, batch: Any, clock: Clock
    ) -> dict[str, PyTree]:
        """The terms, by the variable whose direction they belong to."""

    @abc.abstractmethod
    def of(self, inner: Any, outer: Any) -> Any:
        """What is theirs of something that each level has, such as a batch."""

    @abc.abstractmethod
    def cost(self, calls: Number, inner_rows: int, outer_rows: int) -> Cost:
        """The cost of so many calls on so many rows."""


class InnerTerms(AbstractTerms):
    """Those that are averaged over inner rows, for the variables that are named."""

    variables: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, problem, w, batch: Batch, clock):
        if self.variables == ("y",):
            return {"y": problem.residual(w.x, w.y, batch)}
        if self.variables == ("x",):
            return {"x": problem.linearize(w.x, w.y, batch).cross(w.z)}
        found = {}

        def product(z):
            if self.variables == ("z",):
                return problem.linearize(w.x, w.y, batch).hvp(z)
            found["y"], image, found["x"] = problem.residual_and_products(w.x, w.y, z, batch)
            return image

        image = on_quotient(product, problem.gauge)(w.z)
        return found | {"z": image}

    def of(self, inner, outer):
        return inner

    def cost(self, calls, inner_rows, outer_rows):
        oracles = {"y": "inner_gradient", "z": "hvp", "x": "cross"}
        costs = (Cost.of(oracles[name], calls, inner_rows) for name in self.variables)
        return sum(costs, Cost())


class OuterTerms(AbstractTerms):
    """Those that are averaged over outer rows, and the outer value beside that of x."""

    variables: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, problem, w, batch: Batch, clock):
        value, (f_x, f_y) = problem.value_and_gradients(w.x, w.y, batch)
        terms = {"z": off_kernel(f_y, problem.gauge), "x": f_x, "value": value}
        names = (*self.variables, "value") if "x" in self.variables else self.variables
        return {name: terms[name] for name in names}

    def of(self, inner, outer):
        return outer

    def cost(self, calls, inner_rows, outer_rows):
        return Cost.of("outer_gradient", calls, outer_rows)


class SeriesTerms(AbstractTerms):
    """The hypergradient with z a Neumann series at (x, y), or one random term of it.

    As a direction of x. The same batch of inner rows serves all products, those of the series
    and the last.
    """

    series: Neumann
    length: Index

    def __call__(self, problem, w, batch: tuple[Batch, Batch], clock):
        inner, outer = batch
        value, (f_x, f_y) = problem.value_and_gradients(w.x, w.y, outer)
        linear = problem.linearize(w.x, w.y, inner)
        product = on_quotient(linear.hvp, problem.gauge)
        eta = evaluate(self.series.step_size, *clock)
        first = scale(-eta * self._weight, off_kernel(f_y, problem.gauge))
        further = lambda term: axpy(-eta, product(term), term)

        def add(_, carry):
            term, z = carry
            term = further(term)
            return term, optax.tree.add(z, term)

        if self.series.randomized:
            z = jax.lax.fori_loop(0, self.length, lambda _, term: further(term), first)
        else:
            _, z = jax.lax.fori_loop(0, self.length, add, (first, first))
        return {"x": optax.tree.add(f_x, linear.cross(z)), "adjoint": z, "value": value}

    def of(self, inner, outer):
        return inner, outer

    def cost(self, calls, inner_rows, outer_rows):
        return (
            Cost.of("outer_gradient", calls, outer_rows)
            + Cost.of("hvp", calls * self.length, inner_rows)
            + Cost.of("cross", calls, inner_rows)
        )

    @property
    def _weight(self) -> int:
        """Of the first term: a random one stands for all of them."""
        terms: Any = self.series.num_steps
        return terms if self.series.randomized else 1


class Part(eqx.Module):
    """Terms of the directions with a reducer of their own."""

    terms: AbstractTerms
    reducer: AbstractReducer

    def average(
        self, problem: AbstractProblem, readers: tuple[Reader, Reader], clock: Clock, seed=None
    ) -> Average:
        """The terms as what the reducer estimates."""
        function = lambda w, batch: self.terms(problem, w, batch, clock)
        return Average(function, self.terms.of(*readers), seed)

    def cost(self, calls: Calls, readers: tuple[Reader, Reader]) -> Cost:
        """What calls of the average read."""
        inner, outer = readers
        size = self.reducer.refresh_size
        on_batch = inner.sampler.rows(inner.data), outer.sampler.rows(outer.data)
        on_refresh = inner.rows_of(size), outer.rows_of(size)
        cost = self.terms.cost(calls.on_batch, *on_batch)
        if isinstance(calls.on_refresh, int) and not calls.on_refresh:
            return cost
        return cost + self.terms.cost(calls.on_refresh, *on_refresh)


def sum_of(terms: list[dict[str, PyTree]]) -> dict[str, PyTree]:
    """The directions, from all of their terms."""
    total: dict[str, PyTree] = {}
    for some in terms:
        for name, term in some.items():
            total[name] = optax.tree.add(total[name], term) if name in total else term
    return total
