"""The quadratic bilevel problem of Arbel and Mairal (2022, F.1), with closed forms."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._core.tree import is_traced
from .._core.types import ArrayLike, Number, Numbers
from ._base import BilevelProblem
from ._constants import Constants

Matrix = Float[Array, "m m"]
Vector = Float[Array, "m"]


@jax.custom_jvp
def quadratic_form(matrix: Matrix, y: Vector):
    r"""$y^\top A y / 2$ for a symmetric A, whose gradient in y is one product $A y$.

    JAX does not know that A is symmetric: its derivative of `y @ A @ y / 2` multiplies by
    A and by its transpose at every order. This form carries its own rule, complete in A
    and y and to every order.

    **Arguments:** `matrix`: A, symmetric, m x m; `y`: of size m.

    >>> import jax, jax.numpy as jnp
    >>> from bilevax.problems import quadratic_form
    >>> jax.grad(quadratic_form, argnums=1)(2 * jnp.eye(2), jnp.ones(2)).tolist()
    [2.0, 2.0]
    """
    return y @ (matrix @ y) / 2


def _quadratic_form_jvp(primals, tangents):
    (matrix, y), (d_matrix, d_y) = primals, tangents
    product = matrix @ y
    tangent = jnp.zeros((), product.dtype)
    # A symbolic zero stands for an argument that is not differentiated.
    if not isinstance(d_y, jax.custom_derivatives.SymbolicZero):
        tangent += product @ d_y
    if not isinstance(d_matrix, jax.custom_derivatives.SymbolicZero):
        tangent += y @ (d_matrix @ y) / 2
    return y @ product / 2, tangent


quadratic_form.defjvp(_quadratic_form_jvp, symbolic_zeros=True)


class QuadraticOuter(eqx.Module):
    r"""$f = x^\top A_f x / 2 + y^\top C_f + \rho \|y\|^2 / 2$."""

    A_f: Array
    C_f: Array
    coupling: Array

    def __call__(self, x, y):
        return quadratic_form(self.A_f, x) + y @ self.C_f + self.coupling * (y @ y) / 2


class QuadraticInner(eqx.Module):
    r"""$g = y^\top A_g y / 2 + y^\top B_g x$."""

    A_g: Array
    B_g: Array

    def __call__(self, x, y):
        return quadratic_form(self.A_g, y) + y @ (self.B_g @ x)


class Quadratic(eqx.Module):
    r"""A bilevel problem whose every quantity has a closed form.

    $f = x^\top A_f x / 2 + y^\top C_f + \rho \|y\|^2 / 2$ and
    $g = y^\top A_g y / 2 + y^\top B_g x$ (Arbel and Mairal 2022, F.1, at $\rho = 0$).
    With $M = A_g^{-1} B_g$: $y^*(x) = -M x$,
    $\nabla \ell(x) = (A_f + \rho M^\top M) x - M^\top C_f$. At $\rho = 0$ the gradient of
    f in y is constant, so no hypergradient depends on y; the coupled variant
    $\rho > 0$ makes the inner accuracy matter.

    **Arguments:** `A_f` (dx x dx) and `A_g` (dy x dy), symmetric positive definite;
    `B_g` (dy x dx); `C_f` (dy); `coupling`: $\rho \ge 0$. Use `problem` to solve it. A matrix
    that is not symmetric raises `ValueError`: $A y$ would not be the gradient of its form.
    """

    A_f: Array
    A_g: Array
    B_g: Array
    C_f: Array
    coupling: Array

    def __init__(
        self,
        A_f: ArrayLike,
        A_g: ArrayLike,
        B_g: ArrayLike,
        C_f: ArrayLike,
        *,
        coupling: Number,
    ):
        self.A_f, self.A_g, self.B_g, self.C_f = map(jnp.asarray, (A_f, A_g, B_g, C_f))
        self.coupling = jnp.asarray(coupling, self.A_f.dtype)

    def __check_init__(self):
        for name in ("A_f", "A_g"):
            _check_symmetric(name, getattr(self, name))

    @property
    def problem(self) -> BilevelProblem:
        """The problem, its matrices arguments of every compiled program."""
        return BilevelProblem(
            outer=QuadraticOuter(self.A_f, self.C_f, self.coupling),
            inner=QuadraticInner(self.A_g, self.B_g),
            constants=self.constants,
        )

    def constants(self, x: Any = None) -> Constants:
        """Exact, and the same for all x."""
        del x
        values = np.linalg.eigvalsh(np.asarray(self.A_g, float))
        return Constants(
            strong_convexity=float(values[0]),
            smoothness=float(values[-1]),
            cross_smoothness=float(np.linalg.norm(self.B_g, 2)),
            hessian_lipschitz=0.0,
            cross_lipschitz=0.0,
            outer_smoothness=float(self.coupling),
            outer_cross_smoothness=0.0,
        )

    def inner_solution(self, x: Numbers) -> Array:
        r"""$y^*(x) = -A_g^{-1} B_g x$."""
        return -jnp.linalg.solve(self.A_g, self.B_g @ x)

    def adjoint_solution(self, x: Numbers) -> Array:
        r"""$z^*(x) = -A_g^{-1} (C_f + \rho y^*(x))$."""
        return -jnp.linalg.solve(self.A_g, self.C_f + self.coupling * self.inner_solution(x))

    def gradient(self, x: Numbers) -> Array:
        r"""$\nabla \ell(x) = A_f x + B_g^\top z^*(x)$."""
        return self.A_f @ x + self.adjoint_solution(x) @ self.B_g

    def hessian(self) -> Array:
        r"""$A_f + \rho M^\top M$, the constant Hessian of $\ell$."""
        M = jnp.linalg.solve(self.A_g, self.B_g)
        return self.A_f + self.coupling * M.T @ M

    def minimiser(self) -> Array:
        r"""$x^*$, where $\nabla \ell$ vanishes."""
        M = jnp.linalg.solve(self.A_g, self.B_g)
        return jnp.linalg.solve(self.hessian(), M.T @ self.C_f)

    def gap(self, x: Numbers) -> Array:
        r"""$\ell(x) - \ell(x^*)$ as a quadratic form in $x - x^*$, exact to rounding."""
        return quadratic_form(self.hessian(), x - self.minimiser())


def quadratic(
    outer_dim: int = 2000,
    inner_dim: int = 1000,
    *,
    inner_condition: float,
    outer_condition: float = 10.0,
    coupling: float = 0.0,
    seed: int = 0,
    dtype=None,
) -> Quadratic:
    r"""A random `Quadratic` with $\|A_f\| = \|A_g\| = 1$ and given condition numbers.

    The spectra are affine images of those of Wishart matrices, with both ends attained.
    $B_g = A_g U$ with U Gaussian, so that $y^* = -U x$ stays well scaled at any condition
    number; $C_f$ is standard normal.

    **Arguments:**

    - `outer_dim`, `inner_dim`: dimensions of x and y.
    - `inner_condition`: $\kappa_g$; `outer_condition`: condition number of $A_f$.
    - `coupling`: $\rho$.
    - `seed`: of NumPy's generator. `dtype`: JAX's default float if not given.

    >>> import bilevax as bx
    >>> q = bx.problems.quadratic(20, 10, inner_condition=5.0)
    >>> float(abs(q.gradient(q.minimiser())).max()) < 1e-4
    True
    """
    rng = np.random.default_rng(seed)
    A_f = _spd(rng, outer_dim, outer_condition)
    A_g = _spd(rng, inner_dim, inner_condition)
    B_g = A_g @ rng.standard_normal((inner_dim, outer_dim))
    C_f = rng.standard_normal(inner_dim)
    dtype = jnp.result_type(float) if dtype is None else dtype
    matrices = (jnp.asarray(a, dtype) for a in (A_f, A_g, B_g, C_f))
    return Quadratic(*matrices, coupling=jnp.asarray(coupling, dtype))


def _check_symmetric(name: str, matrix: Any) -> None:
    """To rounding; a matrix that is not known yet is not looked at."""
    if is_traced(matrix):
        return
    values = np.asarray(matrix)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {values.shape}.")
    largest = np.max(np.abs(values), initial=0.0)
    error = np.max(np.abs(values - values.T), initial=0.0)
    if not error <= 1e3 * float(jnp.finfo(matrix.dtype).eps) * largest:
        raise ValueError(
            f"{name} must be symmetric, and differs from its transpose by {error:.3g}: take "
            f"({name} + {name}.T) / 2, which has the same quadratic form."
        )


def wishart(rng: np.random.Generator, size: int) -> np.ndarray:
    """G G' of a Gaussian matrix G."""
    gaussian = rng.standard_normal((size, size))
    return gaussian @ gaussian.T


def spread(eigenvalues: np.ndarray, condition: float) -> np.ndarray:
    """These, moved to [1 / condition, 1], both ends attained."""
    width = max(eigenvalues[-1] - eigenvalues[0], np.finfo(float).tiny)
    unit = (eigenvalues - eigenvalues[0]) / width
    return unit * (1 - 1 / condition) + 1 / condition


def _spd(rng: np.random.Generator, size: int, condition: float) -> np.ndarray:
    eigenvalues, vectors = np.linalg.eigh(wishart(rng, size))
    matrix = (vectors * spread(eigenvalues, condition)) @ vectors.T
    return (matrix + matrix.T) / 2
