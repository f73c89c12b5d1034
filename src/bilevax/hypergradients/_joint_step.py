"""One outer step of a single-loop estimator, in its order."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from .._core.cost import Cost
from .._core.types import Index
from .._rows.sampler import ticket_at
from ..problems._base import AbstractProblem
from ..reducers import AbstractReducer, Calls
from ..solvers._directions import Clock
from ._terms import Point, sum_of

if TYPE_CHECKING:
    from ._joint import Joint, JointState
else:
    Joint = JointState = Any


class Moving(eqx.Module):
    """What moves within an outer step."""

    y: PyTree
    z: PyTree
    estimates: tuple[PyTree, ...]


class Step:
    """One outer step of a `Joint`, in its order."""

    def __init__(self, joint: Joint, problem: AbstractProblem, x: PyTree, state: JointState):
        self._joint, self._problem, self._x, self._state = joint, problem, x, state
        self._readers = joint._readers(problem)
        place = state.k % joint.ahead
        self._inner = ticket_at(state.inner_rows.tickets, place)
        self._outer = ticket_at(state.outer_rows.tickets, place)
        lag = 1 if joint.order == "x first" else 0
        k = jnp.maximum(state.k - lag, 0)
        self._clock = Clock(k, k)
        self._parts = joint.parts_at(state.k, state.seed)

    def together(self):
        """All directions at the same point."""
        num, k = self._joint.num_inner_steps, self._state.k
        move = lambda t, moving: self._advance(moving, t, k * num + t)
        moving, directions = move(0, self._start())
        if num > 1:
            again = lambda t, carry: move(t, carry[0])
            moving, directions = jax.lax.fori_loop(1, num, again, (moving, directions))
        cost = self._cost(range(len(self._parts)), k * num, num, num)
        return self._end(moving, directions, cost)

    def x_first(self):
        """The steps that follow the last one of x, then the direction of x."""
        num, k = self._joint.num_inner_steps, self._state.k
        first = (k - 1) * (num + 1) + 1
        steps = jnp.where(k == 0, 0, num)
        move = lambda t, moving: self._advance(moving, t, first + t)[0]
        moving = jax.lax.fori_loop(0, steps, move, self._start())
        moving, directions = self._directions(moving, num, num, k * (num + 1), self._all)
        first = jnp.where(k == 0, 0, first)
        cost = self._cost(self._all, first, steps + 1, num + 1)
        return self._end(moving, directions, cost)

    def in_turn(self):
        """y, then z at the new y, then x at both."""
        num, k = self._joint.num_inner_steps, self._state.k
        of_z, of_x = (
            (range(0), range(1, 2)) if self._joint.series else (range(1, 3), range(3, 5))
        )

        def move(t, moving):
            moving, directions = self._directions(moving, t, 0, k * num + t, range(1))
            return self._moved(moving, directions)

        moving = jax.lax.fori_loop(0, num, move, self._start())
        cost = self._cost(range(1), k * num, num, num)
        if of_z:
            moving, directions = self._directions(moving, num, 0, k, of_z)
            moving = self._moved(moving, directions)
            cost += self._cost(of_z, k, 1, 1)
        moving, directions = self._directions(moving, num + 1, 1, k, of_x)
        return self._end(moving, directions, cost + self._cost(of_x, k, 1, 1))

    @property
    def _all(self) -> range:
        return range(len(self._parts))

    def _start(self) -> Moving:
        state = self._state
        return Moving(state.y, state.adjoint, state.estimates)

    def _directions(self, moving: Moving, inner: Index, outer: Index, i: Index, which: range):
        """The directions of some parts on the given batches, the i-th estimates."""
        readers, problem = self._readers, self._problem
        w = Point(self._x, moving.y, moving.z)
        batches = (
            readers[0].sampler.batch(readers[0].data, ticket_at(self._inner, inner)),
            readers[1].sampler.batch(readers[1].data, ticket_at(self._outer, outer)),
        )
        estimates, terms = list(moving.estimates), []
        for index in which:
            part = self._parts[index]
            average = part.average(problem, readers, self._clock, self._state.seed)
            batch = part.terms.of(*batches)
            term, estimates[index] = part.reducer.update(average, w, batch, estimates[index], i)
            terms.append(term)
        return Moving(moving.y, moving.z, tuple(estimates)), sum_of(terms)

    def _advance(self, moving: Moving, t: Index, i: Index):
        """All directions on the t-th batches, then y and z move."""
        moving, directions = self._directions(moving, t, t, i, self._all)
        return self._moved(moving, directions), directions

    def _moved(self, moving: Moving, directions: dict[str, PyTree]) -> Moving:
        steps = {"y": self._joint.inner_step, "z": self._joint.adjoint_step}
        found = {"y": moving.y, "z": moving.z}
        for name, step in steps.items():
            if step is not None and name in directions:
                update, _ = step.update(directions[name], (), found[name], self._clock)
                found[name] = optax.apply_updates(found[name], update)
        return Moving(found["y"], found["z"], moving.estimates)

    def _cost(self, which: range, first: Index, num, most: int) -> Cost:
        """What `num` estimates of some parts in a row cost, at most `most`."""
        total = Cost()
        for index in which:
            part = self._parts[index]
            total += part.cost(_calls(part.reducer, first, num, most), self._readers)
        return total

    def _end(self, moving: Moving, directions: dict[str, PyTree], cost: Cost):
        state = self._state
        z = directions.get("adjoint", moving.z)
        where = lambda s: (s.k, s.y, s.adjoint, s.value, s.estimates)
        new = (state.k + 1, moving.y, z, directions["value"], moving.estimates)
        return directions["x"], eqx.tree_at(where, state, new), cost


def _calls(reducer: AbstractReducer, first: Index, num, most: int) -> Calls:
    """What a number of updates in a row call."""
    calls = reducer.calls(first)
    if all(isinstance(number, int) for number in calls):
        return Calls(*(number * num for number in calls))
    if most == 1:
        return calls
    each = jax.vmap(reducer.calls)(first + jnp.arange(most))
    made = jnp.arange(most) < num
    return Calls(*(jnp.sum(jnp.where(made, n, 0), dtype=jnp.int32) for n in each))
