"""Regressions as functions defined as a minimum (Ablin et al. 2020, section 5)."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._core.tree import as_scalar
from .._core.types import ArrayLike, Number, Scalar
from ._base import MinProblem
from ._constants import Constants
from ._losses import squared_error

Design = Float[Array, "rows features"]
Targets = Float[Array | np.ndarray, "rows"]
Weights = Float[Array | np.ndarray, "features"]

# Of phi(s) = s sigma(s) sigma(-s) - sigma(-s), 1.0999 rounded up; and of the slope of
# sigma(s) sigma(-s). The slope of phi is at most 1/2.
_SUP_PHI, _SUP_SLOPE = 1.1, 1 / (6 * np.sqrt(3))


class AbstractRegression(eqx.Module):
    r"""$\ell(x) = \min_y L(x, y)$ for a linear model y of the rows of a design matrix D.

    x has a number for each row, so that $\ell$ is a function of the targets. The data of
    the problem are the rows of D with their indices, of which L is the mean.
    """

    design: eqx.AbstractVar[Design]

    def __check_init__(self):
        _check_design(self.design)

    @property
    def problem(self) -> MinProblem:
        """The `bx.MinProblem`, whose x has one number a row and y one a feature."""
        rows = jnp.arange(self.design.shape[0])
        known: Any = {"data": (self.design, rows), "constants": self.constants}
        return MinProblem(self._objective, **known, check=self.check)

    def check(self, x: Any) -> None:
        """Raises unless x has one number a row."""
        expected, shape = self.design.shape[:1], np.shape(x)
        if shape != expected:
            raise ValueError(
                f"x must have the shape {expected}, one number a row; got {shape}."
            )

    @property
    def y0(self) -> Weights:
        """Zero weights."""
        return jnp.zeros(self.design.shape[1], self.design.dtype)

    @property
    @abc.abstractmethod
    def _objective(self) -> Any:
        """L as a function of (x, y, batch)."""

    @abc.abstractmethod
    def constants(self, x: Any) -> Constants:
        """What is known of the derivatives at x."""

    def objective(self, x: Targets, y: Weights) -> Float[Array, ""]:
        """L on all rows."""
        rows = jnp.arange(self.design.shape[0])
        return self._objective(jnp.asarray(x), jnp.asarray(y), (self.design, rows))


class RidgeLoss(eqx.Module):
    """The mean over rows of the squared residual, halved, and a quadratic penalty."""

    regularization: Scalar = eqx.field(converter=as_scalar)

    def __call__(self, x, y, batch):
        design, rows = batch
        return squared_error(design @ y, x[rows]) + _penalty(self.regularization, y)


class LogisticLoss(eqx.Module):
    """The mean over rows of the logistic loss of x as labels, and a quadratic penalty."""

    regularization: Scalar = eqx.field(converter=as_scalar)

    def __call__(self, x, y, batch):
        design, rows = batch
        losses = jnp.logaddexp(0, -x[rows] * (design @ y))
        return jnp.mean(losses) + _penalty(self.regularization, y)


class PNormLoss(eqx.Module):
    """The sum over rows of the p-th power of the residual, over p."""

    num_rows: int = eqx.field(static=True)
    p: int = eqx.field(static=True)

    def __call__(self, x, y, batch):
        design, rows = batch
        return self.num_rows * jnp.mean((x[rows] - design @ y) ** self.p) / self.p


class RidgeRegression(AbstractRegression):
    r"""$L(x, y) = \frac{1}{2n} \|x - D y\|^2 + \frac{\lambda}{2} \|y\|^2$.

    Ablin et al. (2020, section 5.1) have n times that. Everything has a closed form, and
    the implicit gradient is exact at every y.

    **Arguments:** `design`: D, n x m; `regularization`: $\lambda > 0$.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> ridge = bx.problems.RidgeRegression(jnp.eye(2), 0.5)
    >>> ridge.solution(jnp.array([2.0, 4.0])).tolist()
    [1.0, 2.0]
    """

    design: Design
    regularization: Scalar

    def __init__(self, design: ArrayLike, regularization: Number):
        self.design = jnp.asarray(design)
        self.regularization = as_scalar(regularization)

    def __check_init__(self):
        _check_positive("regularization", self.regularization)

    @property
    def _objective(self):
        return RidgeLoss(self.regularization)

    def solution(self, x: Targets) -> Weights:
        r"""$y^*(x) = (D^\top D + n \lambda)^{-1} D^\top x$."""
        return jnp.linalg.solve(self._normal(), self.design.T @ x)

    def gradient(self, x: Targets) -> Targets:
        r"""$\nabla \ell(x) = (x - D y^*(x)) / n$."""
        return (x - self.design @ self.solution(x)) / len(x)

    def jacobian(self) -> Float[Array, "rows features"]:
        r"""$J^* = D (D^\top D + n \lambda)^{-1}$, which does not depend on x."""
        return jnp.linalg.solve(self._normal(), self.design.T).T

    def constants(self, x: Any = None) -> Constants:
        """Exact, and the same for all x."""
        del x
        num, penalty = self.design.shape[0], float(self.regularization)
        values = _squared_singular_values(self.design) / num
        return Constants(
            strong_convexity=values[-1] + penalty,
            smoothness=values[0] + penalty,
            cross_smoothness=np.sqrt(values[0] / num),
            hessian_lipschitz=0.0,
            cross_lipschitz=0.0,
        )

    def _normal(self):
        penalty = self.design.shape[0] * jnp.asarray(self.regularization, self.design.dtype)
        return self.design.T @ self.design + penalty * jnp.eye(self.design.shape[1])


class LogisticRegression(AbstractRegression):
    r"""$L(x, y) = \frac1n \sum_i \log(1 + e^{-x_i D_i y}) + \frac{\lambda}{2} \|y\|^2$.

    x plays the part of labels, but may be any numbers (Ablin et al. 2020, section 5.1,
    who have n times that).

    **Arguments:** `design`: D, n x m; `regularization`: $\lambda > 0$.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> logistic = bx.problems.LogisticRegression(jnp.eye(2), 0.5)
    >>> round(float(logistic.objective(jnp.ones(2), jnp.zeros(2))), 4)
    0.6931
    """

    design: Design
    regularization: Scalar

    def __init__(self, design: ArrayLike, regularization: Number):
        self.design = jnp.asarray(design)
        self.regularization = as_scalar(regularization)

    def __check_init__(self):
        _check_positive("regularization", self.regularization)

    @property
    def _objective(self):
        return LogisticLoss(self.regularization)

    def solution(self, x: Targets) -> Weights:
        r"""$y^*(x)$ by Newton's method, to rounding.

        Not differentiable: use `bx.argmin` for that.
        """
        return _newton(self.objective, jax.lax.stop_gradient(jnp.asarray(x)), self.y0)

    def gradient(self, x: Targets) -> Targets:
        r"""$\nabla \ell(x) = -u \odot \sigma(-x \odot u) / n$ with $u = D y^*(x)$."""
        u = self.design @ self.solution(x)
        return -u * jax.nn.sigmoid(-x * u) / len(x)

    def constants(self, x: Any) -> Constants:
        r"""Bounds for all y at one x.

        $\Lambda_1 = \|\mathrm{diag}(x) D\|^2 / 4n + \lambda$: with real-valued x, the step
        must know of them. $\Lambda_2 = 1.1 \|D\| / n$, and with
        $s = \max_i |x_i| \|D_i\|$: $\Lambda_{21} = s \|D\| / 2n$,
        $\Lambda_{11} = s \|\mathrm{diag}(x) D\|^2 / 6 \sqrt 3 n$.
        """
        design, x = np.asarray(self.design, float), np.asarray(x, float)
        num, penalty = len(design), float(self.regularization)
        norm = np.linalg.norm(design, 2)
        scaled = np.linalg.norm(x[:, None] * design, 2) ** 2
        size = np.max(np.abs(x) * np.linalg.norm(design, axis=1))
        return Constants(
            strong_convexity=penalty,
            smoothness=float(scaled / (4 * num) + penalty),
            cross_smoothness=float(_SUP_PHI * norm / num),
            hessian_lipschitz=_SUP_SLOPE * size * scaled / num,
            cross_lipschitz=size * norm / (2 * num),
        )


class PNormRegression(AbstractRegression):
    r"""$L(x, y) = \frac1p \sum_i (x_i - D_i y)^p$ with an even p.

    For $p \ge 4$ the Hessian vanishes at the minimum and gradient descent converges like
    a power of t (Ablin et al. 2020, Prop. 3.9). With $D D^\top = I$ every residual lives
    for itself: $r^+ = r - \rho r^{p-1}$.

    **Arguments:** `design`: D, n x m; `p`: even.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> loss = bx.problems.PNormRegression(jnp.eye(2), p=4)
    >>> float(loss.objective(jnp.array([1.0, 2.0]), jnp.zeros(2)))
    4.25
    """

    design: Design
    p: int = eqx.field(static=True)

    def __init__(self, design: ArrayLike, p: int):
        self.design = jnp.asarray(design)
        self.p = p

    def __check_init__(self):
        if isinstance(self.p, bool) or self.p < 2 or self.p % 2:
            raise ValueError(
                f"p must be even and at least 2, so that the loss is convex; got {self.p!r}."
            )

    @property
    def _objective(self):
        return PNormLoss(self.design.shape[0], self.p)

    def constants(self, x: Any = None) -> Constants:
        r"""None: all derivatives grow with the residual, and the curvature vanishes."""
        del x
        return Constants()

    def gradient(self, x: Targets) -> Targets:
        r"""$\nabla \ell(x) = 0$: a D of full row rank fits every x."""
        return jnp.zeros_like(x)

    def implicit_gradient(self, x: Targets, y: Weights) -> Targets:
        r"""$g^3$ at y by the pseudo-inverse of the Hessian, for $D D^\top = I$.

        $H^+ = D^\top \mathrm{diag}(r^{2-p}) D / (p-1)$, so that $-K H^+ = D$ and
        $g^3 = r^{p-1} - D D^\top r^{p-1}$, which is zero. A generic pseudo-inverse with a
        threshold cannot tell small eigenvalues from zeros here.
        """
        powers = (x - self.design @ y) ** (self.p - 1)
        return powers - self.design @ (self.design.T @ powers)


def _penalty(regularization, y):
    return jnp.asarray(regularization, y.dtype) * jnp.sum(y**2) / 2


def _newton(objective, x, y, num_steps: int = 50):
    """Newton's method with halved steps: for strongly convex objectives of a small y."""
    value, gradient = lambda y: objective(x, y), jax.grad(objective, argnums=1)
    hessian = jax.hessian(objective, argnums=1)

    def step(_, y):
        slope = gradient(x, y)
        direction = -jnp.linalg.solve(hessian(x, y), slope)
        sizes = 0.5 ** jnp.arange(20.0)
        reached = jax.vmap(lambda size: value(y + size * direction))(sizes)
        enough = reached <= value(y) + 1e-4 * sizes * (slope @ direction)
        # Near the minimum values are equal to rounding, and the whole step is right.
        near = jnp.abs(slope @ direction) < 1e-10
        return y + jnp.where(near, 1.0, sizes[jnp.argmax(enough)]) * direction

    return jax.lax.fori_loop(0, num_steps, step, y)


def _squared_singular_values(design) -> np.ndarray:
    """One for each feature, the largest first."""
    design = np.asarray(design, float)
    found = np.linalg.svd(design, compute_uv=False) ** 2
    return np.pad(found, (0, design.shape[1] - len(found)))


def _check_design(design) -> None:
    if design.ndim != 2 or 0 in design.shape:
        raise ValueError(f"design must be a matrix of rows x features, got {design.shape}.")


def _check_positive(name: str, value) -> None:
    if not np.all(np.asarray(value) > 0):
        raise ValueError(f"{name} must be positive, got {value}.")
