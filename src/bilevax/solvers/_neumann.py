"""Truncated Neumann series on the adjoint system."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jaxtyping import Array, Int

from .._core.integers import uniform_integers
from .._core.tree import axpy, norm, scale
from .._core.types import ArrayLike, NumSteps, Refused, StepSize
from .._rows.sampler import AbstractSampler
from .._rows.samplers import BatchSize, as_sampler
from ..schedules import as_step_size, constant_step, evaluate
from ._base import AbstractIterativeSolver, checked_num_steps
from ._equation import as_linear


class Neumann(AbstractIterativeSolver):
    r"""$z = -\eta \sum_{q=0}^{N} (I - \eta H)^q \, \partial_y f$, with N products.

    The series starts afresh at every solve: a warm start has no meaning for it. With
    `batch_size` the products are nested with fresh rows each, as in stocBiO (Ji, Yang and
    Liang 2021). On a fixed-point problem take `step_size=1`: H is
    $I - (\partial_y \phi)^\top$.

    With `randomized=True` it is one random term, scaled so that its mean is the series of
    N terms: $z = -\eta N \prod_{i=1}^{p} (I - \eta H_i) \, \partial_y f$ with p uniform
    on $\{0, \dots, N-1\}$ and p products (Ghadimi and Wang 2018, Alg. 3).

    **Arguments,** all by name, since `Neumann(10)` would read like the 10 products of
    `CG(10)`:

    - `step_size`: $\eta$; the series converges when it is below 2 / smoothness. `None`
      measures the smoothness and takes 1 / smoothness.
    - `num_steps`: N.
    - `batch_size`: rows of each product: an int, a sampler, or `None` (all).
    - `randomized`: one random term in place of the series.
    - `lengths`: the numbers p of products of one random term after another, in order and over
      again, in place of drawn ones: outer step k takes the k-th.

    >>> import bilevax as bx
    >>> solver = bx.Neumann(step_size=0.5, num_steps=10)
    """

    step_size: StepSize
    num_steps: NumSteps
    sampler: AbstractSampler
    randomized: bool = eqx.field(static=True)
    lengths: Int[Array, "terms"] | None
    _longest: int | None = eqx.field(static=True, repr=False)  # of the lengths

    def __init__(
        self,
        *positional: Refused,
        step_size: StepSize = None,
        num_steps: NumSteps = 10,
        batch_size: BatchSize = None,
        randomized: bool = False,
        lengths: ArrayLike | None = None,
    ):
        if positional:
            raise TypeError(_NAMES.format(", ".join(map(repr, positional))))
        self.step_size = as_step_size(step_size)
        self.num_steps = checked_num_steps(num_steps)
        self.sampler = as_sampler(batch_size)
        self.randomized = randomized
        self.lengths = None if lengths is None else _checked_lengths(lengths, randomized)
        self._longest = None if lengths is None else int(np.max(lengths))

    @property
    def random(self):
        return (self.randomized and self.lengths is None) or super().random

    def init_method(self, equation, u):
        return as_linear(equation).zeros()

    def terms(self, k):
        """N at outer step k."""
        return super().length(jax.random.key(0), k)

    def length(self, key, k):
        terms = self.terms(k)
        if self.lengths is not None:
            return self.lengths[k % len(self.lengths)]
        return uniform_integers(key, (), terms) if self.randomized else terms

    @property
    def most_steps(self):
        if self.lengths is not None or not isinstance(self.num_steps, int):
            return self._longest
        return self.num_steps - 1

    def begin(self, equation, u, state):
        del u
        factor, rhs = evaluate(self.step_size, *state.clock), as_linear(equation).rhs
        if self.randomized:
            factor = factor * self.terms(state.clock.k)
        first_term = scale(factor, rhs)
        watch = state.watch.forget()
        if self._watches:
            watch = watch.see(norm(rhs))
        return first_term, state.with_method(first_term).with_watch(watch), 0, 0

    def step(self, equation, u, state, batch):
        product = as_linear(equation).operator(batch)(state.method)
        eta = evaluate(self.step_size, *state.clock)
        term = axpy(-eta, product, state.method)
        if not self._watches:
            return term if self.randomized else optax.tree.add(u, term), state.tick(term)
        # The term is the residual of the sum before it, times the step.
        return optax.tree.add(u, term), state.tick(term, norm(term) / eta)

    @property
    def _watches(self) -> bool:
        """Whether its terms tell of residuals: on all rows, and not one by chance."""
        return self.sampler.deterministic and not self.randomized

    @property
    def plain_step(self):
        return None if self.randomized else constant_step(self.step_size)


def _checked_lengths(lengths: ArrayLike, randomized: bool) -> Array:
    known = np.asarray(lengths)
    if not randomized:
        raise TypeError("lengths are those of a randomized series: pass randomized=True.")
    integers = known.ndim == 1 and len(known) and np.issubdtype(known.dtype, np.integer)
    if not integers or known.min() < 0:
        raise ValueError(f"lengths must be ints of at least 0, got {lengths!r}.")
    with jax.ensure_compile_time_eval():
        return jnp.asarray(known, jnp.int32)


_NAMES = (
    "Neumann takes its numbers by name, got Neumann({}): say which is the step and which the "
    "number of products, as in bx.Neumann(step_size=0.5, num_steps=10)."
)
