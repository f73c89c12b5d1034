"""Counts of oracle calls: the one currency in which all methods are compared."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from .tree import is_traced


class Wide(eqx.Module):
    """An exact unsigned 64-bit integer in compiled code, as two 32-bit words.

    JAX has 32-bit integers only unless told otherwise, and a hundred full-batch gradients
    on a data set of 10^8 rows are more than they can count.
    """

    high: Array
    low: Array

    @classmethod
    def of(cls, number: "Count") -> "Wide":
        """A number that fits."""
        if isinstance(number, Wide):
            return number
        if isinstance(number, int):
            return cls(jnp.uint32(number >> 32), jnp.uint32(number & 0xFFFFFFFF))
        return cls(jnp.zeros_like(number, jnp.uint32), jnp.asarray(number, jnp.uint32))

    @classmethod
    def product(cls, calls: Array, numbers: "int | np.ndarray") -> "Wide":
        """calls x numbers that are known, by long multiplication with digits of 16 bits."""
        calls, numbers = jnp.asarray(calls, jnp.uint32), np.asarray(numbers, np.uint64)
        if np.all(numbers <= 1):
            return cls.of(calls * numbers.astype(np.uint32))
        low, high = calls & 0xFFFF, calls >> 16
        words = numbers.astype(np.uint32)  # the lower ones
        above = (numbers >> np.uint64(32)).astype(np.uint32)
        low_digits, high_digits = words & np.uint32(0xFFFF), words >> np.uint32(16)
        total = cls(high * high_digits + calls * above, low * low_digits)
        for middle in (low * high_digits, high * low_digits):
            total = total + cls(middle >> 16, middle << 16)
        return total

    def __add__(self, other: "Count") -> "Wide":
        if isinstance(other, int) and other == 0:
            return self
        other = Wide.of(other)
        low = self.low + other.low
        return Wide(self.high + other.high + (low < self.low).astype(jnp.uint32), low)

    def __radd__(self, other: "Count") -> "Wide":
        return self + other

    def on_host(self):
        """The same number as a Python integer, or as 64-bit NumPy integers."""
        return _joined(self)


Count = int | np.integer | Integer[Array | np.ndarray, "..."] | Wide

# To who reads a finished run's costs they are integers; arrays they are within a program.
if TYPE_CHECKING:
    Calls = int
else:
    Calls = Count


class Oracles(eqx.Module):
    """One number for each kind of oracle."""

    inner_gradient: Calls = 0
    hvp: Calls = 0
    cross: Calls = 0
    outer_gradient: Calls = 0

    @property
    def total(self) -> Calls:
        """Sum over the kinds."""
        return self.inner_gradient + self.hvp + self.cross + self.outer_gradient


class Cost(Oracles):
    r"""What was called, as exact integers.

    - `inner_gradient`: evaluations of the inner residual $F(x, y)$, that is of
      $\nabla_y g$ or of the map $\phi$; and of $\partial_x g$, alone or with it;
    - `hvp`: products $(\partial_y F)^\top z$, Hessian-vector products where
      $F = \nabla_y g$;
    - `cross`: products $(\partial_x F)^\top z$;
    - `outer_gradient`: evaluations of $\nabla f$, both partial gradients together;
    - `rows`: the same four, each call weighted by the rows of data it read. A level
      without data counts one row a call, so that a deterministic method has the cost of
      Arbel and Mairal (2022, Eq. 8) with unit batches;
    - `total`: the number of calls of any kind.

    >>> import bilevax as bx
    >>> cost = bx.Cost.of("hvp", calls=10, rows=50) + bx.Cost.of("cross", calls=1, rows=50)
    >>> cost.hvp, cost.total, cost.rows.total
    (10, 11, 550)
    """

    rows: Oracles = Oracles()

    @classmethod
    def of(cls, oracle: str, calls: int | Array, rows: int = 1) -> "Cost":
        """The cost of `calls` calls of one oracle, each reading `rows` rows."""
        known = isinstance(calls, int)
        own: dict[str, Any] = {oracle: calls}
        read: dict[str, Any] = {oracle: calls * rows if known else Wide.product(calls, rows)}
        return cls(**own, rows=Oracles(**read))

    def wide(self) -> "Cost":
        """The same cost with every number in 64 bits, for a compiled sum."""
        return jax.tree.map(Wide.of, self, is_leaf=is_wide)

    def on_host(self) -> "Cost":
        """The same numbers as Python integers, where they are known."""
        return on_host(self)

    def __add__(self, other: "Cost") -> "Cost":
        one, two = _numbers(self), _numbers(other)
        return _added(self, other) if all(map(is_wide, one + two)) else _sum(one, two)


def _numbers(cost: Cost) -> list[Any]:
    return jax.tree.leaves(cost, is_leaf=is_wide)


def _sum(one: list[Any], two: list[Any]) -> Cost:
    """By lists, since the host adds the costs of every chunk of a run."""
    return _STRUCTURE.unflatten([a + b for a, b in zip(one, two, strict=True)])


# One step of a program that is being traced, in place of one for each word of each number.
_added = jax.jit(lambda one, two: _sum(_numbers(one), _numbers(two)))


def on_host(cost: Cost) -> Cost:
    """A cost's numbers as Python integers, where they are known.

    A function, since it is called where time counts: a module's bound method is a module,
    which takes longer to make than this.
    """
    numbers = _numbers(cost)
    if all(isinstance(number, int) for number in numbers):
        return cost

    def known(number: Any):
        if isinstance(number, int):
            return number
        two_words = is_wide(number)
        if any(map(is_traced, (number.high, number.low) if two_words else (number,))):
            return number
        number = _joined(number) if two_words else number
        return int(number) if np.ndim(number) == 0 else number

    return _STRUCTURE.unflatten(map(known, numbers))


def _joined(number: Wide):
    high, low = np.asarray(number.high), np.asarray(number.low)
    if low.ndim == 0:
        return int(high) * 2**32 + int(low)
    return high.astype(np.int64) * 2**32 + low.astype(np.int64)


# All numbers of a cost as one array, each in two words: a loop adds and carries them as one,
# and they leave a program sooner than many do.
Packed = Integer[Array, "numbers words"]


class Tally:
    """Sums the cost of the steps of a loop that is being traced.

    What differs from step to step is summed in what the loop carries; what does not is
    multiplied by their number where the sum is read.
    """

    def __init__(self):
        self._constant = Cost()
        self.start: Packed = packed(Cost())

    def add(self, carried: Packed, step: Cost) -> Packed:
        """What the loop carries after one step more."""
        known = lambda number: isinstance(number, int)
        keep = lambda wanted: lambda number: number if known(number) == wanted else 0
        self._constant = jax.tree.map(keep(True), step, is_leaf=is_wide)
        if all(map(known, _numbers(step))):
            return carried
        changing = jax.tree.map(keep(False), step, is_leaf=is_wide)
        return _as_words(Wide(*carried.T) + Wide(*packed(changing).T))

    def total(self, carried: Packed, num_steps: Array) -> Packed:
        """The sum over so many steps."""
        constant = np.array(jax.tree.leaves(self._constant), np.uint64)
        every = Wide.product(num_steps, constant)
        return _as_words(every + Wide(*carried.T))


def packed(cost: Cost) -> Packed:
    """All numbers of a cost as one array."""
    numbers = _numbers(cost)
    if all(isinstance(number, int) for number in numbers):
        return jnp.asarray([divmod(number, 2**32) for number in numbers], jnp.uint32)
    each = [Wide.of(number) for number in numbers]
    return _as_words(jax.tree.map(lambda *words: jnp.stack(words), *each))


def _as_words(numbers: Wide) -> Packed:
    """Many numbers as one array."""
    return jnp.stack((numbers.high, numbers.low), axis=1)


def wide(words: Packed) -> Cost:
    """The cost again, in compiled code."""
    return _STRUCTURE.unflatten([Wide(*number) for number in words])


def unpacked(words: np.ndarray) -> Cost:
    """The cost again, of Python integers; where there are many, of arrays of them."""
    numbers = words[..., 0].astype(np.int64) * 2**32 + words[..., 1]
    return _STRUCTURE.unflatten(numbers.T if numbers.ndim > 1 else numbers.tolist())


_STRUCTURE = jax.tree.structure(Cost())


def is_wide(node) -> bool:
    """Whether a node of a cost is a 64-bit number."""
    return isinstance(node, Wide)
