"""The quadratic problem of F.1 in the basis in which A_f and A_g are diagonal.

There A_f = diag(a), A_g = diag(s) and B_g = diag(s) U, and of a run at other condition numbers
only s differs. All methods commute with rotations, so these are the runs of the dense problem.
x enters g through u = U x alone. So u is a variable beside x, and what the inner level does
takes no product with U: one outer step needs two of them, however many steps it makes inside.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ...algorithms._base import Algorithm
from ...problems import Quadratic
from ...problems._base import BilevelProblem
from ...problems._quadratic import spread, wishart

Lifted = tuple[Array, Array]
_OUTER_CONDITION = 10.0


class Outer(eqx.Module):
    r"""$f = x^\top A_f x / 2 + y^\top C_f + \rho |y|^2 / 2$."""

    a: Array
    c: Array
    coupling: Array

    def __call__(self, x: Lifted, y: Array) -> Array:
        return x[0] @ (self.a * x[0]) / 2 + y @ self.c + self.coupling * (y @ y) / 2


class Inner(eqx.Module):
    r"""$g = y^\top A_g y / 2 + y^\top B_g x$."""

    s: Array

    def __call__(self, x: Lifted, y: Array) -> Array:
        return y @ (self.s * y) / 2 + y @ (self.s * x[1])


class Chained(eqx.Module):
    """x moves along its own gradient and u's, by the chain rule; then u = U x again."""

    u: Array

    def __call__(self, x: Lifted, update: Lifted) -> Lifted:
        moved = x[0] + update[0] + update[1] @ self.u
        return moved, self.u @ moved


class Eigenbasis(eqx.Module):
    """All problems of one seed: `unit` are the eigenvalues of A_g moved to [0, 1], and
    `solution` is x* with its u, which no condition number of A_g changes."""

    a: Array
    unit: Array
    u: Array
    c: Array
    coupling: Array
    solution: Lifted

    @classmethod
    def of(cls, seed: int, dims: tuple[int, int]) -> "Eigenbasis":
        """A random problem with the spectra of `bx.problems.quadratic`.

        The numbers that are U and C_f there are so in this basis, where they are as likely:
        that of seed 0 is the draw on which the costs in `_rules` were measured.
        """
        rng = np.random.default_rng(seed)
        of_f, of_g = (np.linalg.eigvalsh(wishart(rng, size)) for size in dims)
        a, unit = spread(of_f, _OUTER_CONDITION), spread(of_g, np.inf)
        u, c = rng.standard_normal(dims[::-1]), rng.standard_normal(dims[1])
        return cls._solved(a, unit, u, c, 0.0)

    @classmethod
    def rotated(cls, dense: Quadratic, condition: float) -> "Eigenbasis":
        """Of a dense problem whose A_g has this condition number and norm 1."""
        a, q_f = np.linalg.eigh(np.asarray(dense.A_f))
        s, q_g = np.linalg.eigh(np.asarray(dense.A_g))
        unit = np.clip((s - 1 / condition) / (1 - 1 / condition), 0, 1)
        u = q_g.T @ np.asarray(dense.B_g) @ q_f / s[:, None]
        return cls._solved(a, unit, u, q_g.T @ np.asarray(dense.C_f), float(dense.coupling))

    @classmethod
    def _solved(
        cls, a: np.ndarray, unit: np.ndarray, u: np.ndarray, c: np.ndarray, rho: float
    ) -> "Eigenbasis":
        """With its x*."""
        solution = (u.T @ c) / a
        if rho:
            solution = np.linalg.solve(np.diag(a) + rho * u.T @ u, u.T @ c)
        parts = a, unit, u, c, rho, (solution, u @ solution)
        return cls(*jax.tree.map(jnp.asarray, parts))

    def spectrum(self, condition: Any) -> Array:
        """s, from 1 / kappa_g to 1."""
        return self.unit * (1 - 1 / condition) + 1 / condition

    def problem(self, condition: Any) -> BilevelProblem:
        """The problem in (x, u) and y."""
        return BilevelProblem(
            Outer(self.a, self.c, self.coupling), Inner(self.spectrum(condition))
        )

    def algorithm(self, preset: Algorithm) -> Algorithm:
        """The same with steps that keep u = U x."""
        return Algorithm(preset.hypergradient, preset.outer, Chained(self.u))

    @property
    def start(self) -> tuple[Lifted, Array]:
        """x = 0 with its u, and y = 0."""
        return (jnp.zeros_like(self.a), jnp.zeros_like(self.c)), jnp.zeros_like(self.c)

    def error(self, x: Lifted) -> Array:
        """(l(x) - l*) / (l(0) - l*), as quadratic forms in x - x*."""
        off = self._gap(x[0] - self.solution[0], x[1] - self.solution[1])
        return off / self.gap0

    @property
    def gap0(self) -> Array:
        """l(0) - l*."""
        return self._gap(*self.solution)

    def _gap(self, x: Array, u: Array) -> Array:
        return x @ (self.a * x) / 2 + self.coupling * (u @ u) / 2
