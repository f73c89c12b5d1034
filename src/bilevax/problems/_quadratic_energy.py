"""What AmIGO's theory is about, on the ready-made quadratics: constants and total energy."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._core.types import Number
from ..theory import amigo as theory
from ._quadratic import Quadratic, quadratic_form


def amigo_constants(
    quadratic: Quadratic, *, radius: Number | None = None, **changes: Any
) -> theory.Constants:
    r"""The constants of `bx.theory.amigo` of a ready-made quadratic, all exact.

    $M_g = 0$, $L_g' = \|B_g\|$, $L_f = \max(\|A_f\|, \rho)$,
    $B = \|C_f\| + \rho \max \|y\|$, $\mu$ the smallest eigenvalue of the Hessian of l, and the
    rest spectra. L is left to the formula of Prop. 6; the largest eigenvalue of
    `quadratic.hessian()` is another that holds, and far smaller.

    **Arguments:**

    - `quadratic`: a `bx.problems.Quadratic`.
    - `radius`: a bound on norms of y, which B depends on where the problem is coupled. B
      matters to noise only, so that without it B is what it is at y = 0.
    - `changes`: constants that are to be others, such as `bilevel_smoothness=1.0`.

    >>> import bilevax as bx
    >>> q = bx.problems.quadratic(20, 10, inner_condition=5.0, outer_condition=10.0)
    >>> c = bx.problems.amigo_constants(q, bilevel_smoothness=1.0)
    >>> round(c.inner_condition, 4), round(c.outer_condition, 4)
    (5.0, 10.0)
    """
    values = lambda matrix: np.linalg.eigvalsh(np.asarray(matrix, float))
    rho, inner, outer = float(quadratic.coupling), values(quadratic.A_g), quadratic.hessian()
    known = {
        "strong_convexity": inner[0],
        "smoothness": inner[-1],
        "cross_smoothness": np.linalg.norm(quadratic.B_g, 2),
        "derivative_lipschitz": 0.0,
        "outer_smoothness": max(values(quadratic.A_f)[-1], rho),
        "outer_lipschitz": np.linalg.norm(quadratic.C_f) + rho * (radius or 0.0),
        "bilevel_strong_convexity": values(outer)[0],
    }
    known = {name: float(value) for name, value in known.items()}
    return theory.Constants(**known | changes)


class TotalEnergy(eqx.Module):
    """What `total_energy` returns: a function of (x, y, z), its matrices leaves.

    `map` is $A_g^{-1} B_g$, `curvatures` and `vectors` those of $A_g$, `solved` what T steps
    leave of an error along each, `weights` $\\mu$, a and b.
    """

    hessian: Array
    x_star: Array
    map: Array
    curvatures: Array
    vectors: Array
    C_f: Array
    coupling: Array
    solved: Array
    weights: Array

    def __call__(self, x, y, z) -> dict[str, Array]:
        eta, a, b = self.weights
        away = x - self.x_star
        outer = eta / 2 * (away @ away) + quadratic_form(self.hessian, away)
        # In the eigenbasis of A_g, where T steps of descent multiply by powers.
        star = self.vectors.T @ (-self.map @ x)
        before = self.vectors.T @ y - star
        after = star + self.solved * before
        adjoint = -(self.vectors.T @ self.C_f + self.coupling * after) / self.curvatures
        short = self.vectors.T @ z - adjoint
        parts = outer, before @ before, short @ short
        total = parts[0] + a * parts[1] + b * parts[2]
        names = "total_energy", "outer_energy", "inner_mse", "adjoint_mse"
        return dict(zip(names, (total, *parts), strict=True))


def total_energy(quadratic: Quadratic, constants: theory.Constants) -> TotalEnergy:
    r"""The total energy of Theorem 1 of deterministic runs, as `metrics` of `bx.minimize`.

    $E^{tot}_k = E^x_k + a E^y_k + b E^z_k$ with
    $E^x_k = \mu \|x_k - x^*\|^2 / 2 + l(x_k) - l^*$, and the errors before the solves:
    $E^y_k = \|y_{k-1} - y^*(x_k)\|^2$ and $E^z_k = \|z_{k-1} - z^*(x_k, y_k)\|^2$, where
    $y_k$ is what the T steps that are due make of $y_{k-1}$; a, b, T and the step from
    `constants` (Arbel and Mairal 2022, Eq. 7 and Theorem 1). It is at most
    `bx.theory.amigo.energy_bound`.

    **Arguments:** `quadratic`, a `bx.problems.Quadratic` with a strongly convex l;
    `constants`, those that `bx.algorithms.amigo_gd(constants=...)` is given.

    **Returns** a function of (x, y, z), at the start $x_0$, $y_{-1}$, $z_{-1}$, that returns a
    dict of `total_energy`, `outer_energy` $E^x$, `inner_mse` $E^y$ and `adjoint_mse` $E^z$.
    **Raises** `ValueError` for constants without `bilevel_strong_convexity`, or with noise.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> q = bx.problems.quadratic(3, 2, inner_condition=2.0, outer_condition=2.0)
    >>> c = bx.problems.amigo_constants(q, bilevel_smoothness=1.0)
    >>> energy = bx.problems.total_energy(q, c)  # metrics=energy
    >>> start = energy(q.minimiser(), jnp.zeros(2), jnp.zeros(2))
    >>> float(start["outer_energy"]), bool(start["total_energy"] > 0)
    (0.0, True)
    """
    if not constants.is_convex or not constants.is_deterministic:
        raise ValueError(
            "The total energy is that of deterministic runs with a strongly convex l: give "
            "constants with bilevel_strong_convexity and without variances."
        )
    steps = theory.steps(constants=constants)
    a, b = theory.energy_weights(constants=constants)
    curvatures, vectors = jnp.linalg.eigh(quadratic.A_g)
    return TotalEnergy(
        quadratic.hessian(),
        quadratic.minimiser(),
        jnp.linalg.solve(quadratic.A_g, quadratic.B_g),
        curvatures,
        vectors,
        quadratic.C_f,
        quadratic.coupling,
        (1 - steps.inner_step_size * curvatures) ** steps.inner_steps,
        jnp.asarray([constants.eta, a, b], quadratic.A_g.dtype),
    )
