"""A problem that counts what is really evaluated."""

import collections

import equinox as eqx
import jax

from bilevax._rows.data import num_rows
from bilevax.problems._base import AbstractProblem, Linearization

ORACLES = ("inner_gradient", "hvp", "cross", "outer_gradient")


class Counter:
    """Counts executions, not traces: each oracle call fires a callback when it runs."""

    def __init__(self):
        self.calls = collections.Counter()
        self.rows = collections.Counter()

    def fire(self, oracle, batch):
        rows = num_rows(batch.rows)

        def count():
            self.calls[oracle] += 1
            self.rows[oracle] += rows

        jax.debug.callback(count)


class Counted(AbstractProblem):
    """Wraps a problem; counts at the one place where problems are evaluated."""

    problem: AbstractProblem
    counter: Counter = eqx.field(static=True)

    @property
    def outer(self):
        return self.problem.outer

    @property
    def outer_data(self):
        return self.problem.outer_data

    @property
    def inner_data(self):
        return self.problem.inner_data

    @property
    def gauge(self):
        return None

    @property
    def symmetric(self):
        return self.problem.symmetric

    def residual(self, x, y, batch):
        self.counter.fire("inner_gradient", batch)
        return self.problem.residual(x, y, batch)

    def inner_value_and_gradient(self, x, y, batch):
        self.counter.fire("inner_gradient", batch)
        return self.problem.inner_value_and_gradient(x, y, batch)

    def inner_gradients(self, x, y, batch):
        self.counter.fire("inner_gradient", batch)
        return self.problem.inner_gradients(x, y, batch)

    def sweep(self, x, y, batch):
        self.counter.fire("inner_gradient", batch)
        return self.problem.sweep(x, y, batch)

    def adjoint_map(self, z, residual):
        return self.problem.adjoint_map(z, residual)

    def value_and_gradients(self, x, y, batch):
        self.counter.fire("outer_gradient", batch)
        return self.problem.value_and_gradients(x, y, batch)

    def residual_and_products(self, x, y, z, batch):
        for oracle in ("inner_gradient", "hvp", "cross"):
            self.counter.fire(oracle, batch)
        return self.problem.residual_and_products(x, y, z, batch)

    def linearize(self, x, y, batch):
        self.counter.fire("linearize", batch)
        linear = self.problem.linearize(x, y, batch)

        def counted(oracle, product):
            def run(z):
                self.counter.fire(oracle, batch)
                return product(z)

            return run

        return Linearization(counted("hvp", linear.hvp), counted("cross", linear.cross))
