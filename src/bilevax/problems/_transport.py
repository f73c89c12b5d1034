"""Entropic optimal transport as a minimum, and Wasserstein barycentres."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from .._core.tree import as_scalar, is_traced
from .._core.types import ArrayLike, Number, Numbers, Scalar
from ._base import BilevelProblem, MinProblem
from ._constants import Constants

# Potentials of x and of the other histogram; batched over histograms or not.
Potentials = tuple[Float[Numbers, "*batch n"], Float[Numbers, "*batch m"]]


def _as_floats(values: ArrayLike) -> Array:
    """An array, of floats where it was one of integers."""
    return jnp.asarray(values, jnp.result_type(values, float))


class EntropicTransport(eqx.Module):
    r"""The dual of entropic optimal transport, as a minimum over potentials.

    $$L(x, y) = \langle x, y_x \rangle + \langle b, y_b \rangle
    + \epsilon \langle e^{-y_x/\epsilon}, K e^{-y_b/\epsilon} \rangle, \quad
    K = e^{-C/\epsilon}$$

    (Ablin et al. 2020, section 5.1; the factor $\epsilon$ of the last term is lost in some
    copies.) x and b are histograms, $W(x, b) = \min_P \langle C, P \rangle +
    \epsilon \langle \log P, P \rangle = \epsilon - \min_y L(x, y)$: the gradient of W in x
    is $-y_x$, that of $\min L$ is $+y_x$, both up to a constant, since x sums to 1.

    L does not change when a constant is added to $y_x$ and taken from $y_b$: that is the
    problem's gauge. One sweep of `bx.Sinkhorn` minimises over $y_b$ and then over $y_x$.

    **Arguments:**

    - `cost`: C, n x m, in the units of the transport cost.
    - `histogram`: b, of size m, or N of them as an N x m matrix: L is then the sum, and y
      has N potentials each. x has size n, or N x n for an x of its own for each.
    - `regularization`: $\epsilon > 0$, in the units of C.
    - `domain`: "log" is stable for any $\epsilon$; "kernel" multiplies by K, which is
      faster, and raises where K underflows.

    >>> import bilevax as bx, jax.numpy as jnp
    >>> C = (jnp.arange(3.0)[:, None] - jnp.arange(2.0)) ** 2
    >>> transport = bx.problems.EntropicTransport(C, jnp.array([0.5, 0.5]), 1.0)
    >>> x = jnp.array([0.2, 0.3, 0.5])
    >>> ell = bx.minimum(transport.problem, transport.y0(), bx.Sinkhorn(50))
    >>> round(float(transport.distance(ell(x))), 4)
    -0.484
    """

    cost: Float[Array, "n m"]
    histogram: Float[Array, "*batch m"]
    regularization: Scalar
    domain: str = eqx.field(static=True)

    def __init__(
        self,
        cost: ArrayLike,
        histogram: ArrayLike,
        regularization: Number,
        *,
        domain: str = "log",
    ):
        self.cost = _as_floats(cost)
        self.histogram = _as_floats(histogram)
        self.regularization = as_scalar(regularization)
        self.domain = domain

    def __check_init__(self):
        if self.domain not in ("log", "kernel"):
            raise ValueError(f"domain must be 'log' or 'kernel', got {self.domain!r}.")
        arrays = self.cost, self.histogram, self.regularization
        if any(is_traced(array) for array in arrays):
            return
        if not float(self.regularization) > 0:
            raise ValueError(f"regularization must be positive, got {self.regularization}.")
        if self.cost.ndim != 2 or self.histogram.shape[-1:] != self.cost.shape[1:]:
            raise ValueError(
                "cost must be n x m and histogram of size m (or N x m), got shapes "
                f"{self.cost.shape} and {self.histogram.shape}."
            )
        check_histogram("histogram", self.histogram)
        if self.domain == "kernel":
            self._check_kernel()

    @property
    def problem(self) -> MinProblem:
        """The `bx.MinProblem` in x, with its sweep and its gauge; K is computed here, once.

        An x that is no histogram is refused, but under `jit` only its size is checked.
        """
        dual = self.dual()
        options: Any = {"gauge": gauge, "update": dual.sweep, "constants": self.constants}
        return MinProblem(dual.objective, **options, check=self.check)

    def dual(self) -> "LogDual | KernelDual":
        """L and its sweep in the domain chosen."""
        if self.domain == "kernel":
            return KernelDual(self._kernel(), self.histogram, self._eps)
        return LogDual(self.cost, self.histogram, self._eps)

    def y0(self) -> Potentials:
        """Zero potentials, for an x without a batch of its own."""
        batch, dtype = self.histogram.shape[:-1], self.cost.dtype
        return jnp.zeros((*batch, self.cost.shape[0]), dtype), jnp.zeros_like(self.histogram)

    def check(self, x: Any) -> None:
        """Raises unless x is a histogram (or are N) of the cost's size; see `problem`."""
        size, shape = self.cost.shape[0], np.shape(x)
        if shape[-1:] != (size,):
            raise ValueError(f"x must have {size} numbers, as cost has rows; got {shape}.")
        if not is_traced(x):
            check_histogram("x", x)

    def objective(self, x: Numbers, y: Potentials) -> Float[Array, ""]:
        """L, summed over the histograms."""
        return self.dual().objective(x, y)

    def sweep(self, x: Numbers, y: Potentials) -> Potentials:
        r"""The minimum over $y_b$, and then over $y_x$: one iteration of Sinkhorn.

        $y_b = \epsilon (\log K^\top e^{-y_x/\epsilon} - \log b)$, and likewise $y_x$, so
        that afterwards the plan's marginal is exactly x.
        """
        return self.dual().sweep(x, y)

    def plan(self, y: Potentials) -> Float[Array, "*batch n m"]:
        r"""$P_{ij} = e^{-(C_{ij} + y_{x,i} + y_{b,j})/\epsilon}$."""
        return LogDual(self.cost, self.histogram, self._eps).plan(y)

    def distance(self, minimum: Any) -> Any:
        r"""$W = N \epsilon - \min L$, summed over the N histograms."""
        return self._num * self._eps - minimum

    def contraction(self, x: Numbers, y: Potentials) -> Float[Array, ""]:
        r"""The asymptotic factor of one sweep, $\sigma_2^2$, at the solution y.

        $\sigma_2$ is the second singular value of
        $\mathrm{diag}(x)^{-1/2} P \, \mathrm{diag}(b)^{-1/2}$; for one histogram.
        """
        scaled = self.plan(y) / jnp.sqrt(x[:, None] * self.histogram)
        return jnp.linalg.svd(scaled, compute_uv=False)[1] ** 2

    def constants(self, x: Any = None) -> Constants:
        r"""Only $\Lambda_2 = 1$ holds everywhere: the Hessian grows with the potentials."""
        del x
        return Constants(cross_smoothness=1.0, cross_lipschitz=0.0)

    @property
    def _eps(self) -> Array:
        return jnp.asarray(self.regularization, self.cost.dtype)

    @property
    def _num(self) -> int:
        return int(np.prod(self.histogram.shape[:-1]))

    def _kernel(self) -> Float[Array, "n m"]:
        return jnp.exp(-self.cost / self._eps)

    def _check_kernel(self) -> None:
        smallest = float(jnp.min(self._kernel()))
        if smallest < 100 * float(jnp.finfo(self.cost.dtype).tiny):
            raise ValueError(
                f"exp(-cost / regularization) underflows at regularization="
                f"{float(self.regularization):g}: use domain='log'."
            )


class _Dual(eqx.Module):
    """L and its sweep, from the sums over one side of the plan."""

    matrix: eqx.AbstractVar[Float[Array, "n m"]]
    histogram: eqx.AbstractVar[Float[Array, "*batch m"]]
    eps: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def mass(self, y: Potentials) -> Float[Array, ""]:
        """The sum of the plan's entries."""

    @abc.abstractmethod
    def log_sums(self, potential: Numbers, transposed: bool = False) -> Array:
        r"""$\log K e^{-y/\epsilon}$, or with the transpose of K."""

    def objective(self, x: Numbers, y: Potentials) -> Float[Array, ""]:
        y_x, y_b = y
        linear = jnp.sum(x * y_x) + jnp.sum(self.histogram * y_b)
        return linear + self.eps * self.mass(y)

    def sweep(self, x: Numbers, y: Potentials) -> Potentials:
        y_b = self.eps * (self.log_sums(y[0], transposed=True) - jnp.log(self.histogram))
        return self.eps * (self.log_sums(y_b) - jnp.log(x)), y_b


class LogDual(_Dual):
    """By sums of exponentials in the log domain; the matrix is C."""

    matrix: Float[Array, "n m"]
    histogram: Float[Array, "*batch m"]
    eps: Float[Array, ""]

    def plan(self, y: Potentials) -> Float[Array, "*batch n m"]:
        y_x, y_b = y
        return jnp.exp(-(self.matrix + y_x[..., :, None] + y_b[..., None, :]) / self.eps)

    def mass(self, y):
        return jnp.sum(self.plan(y))

    def log_sums(self, potential, transposed=False):
        cost = self.matrix.T if transposed else self.matrix
        return logsumexp(-(cost + potential[..., None, :]) / self.eps, axis=-1)


class KernelDual(_Dual):
    """By products with K, which is the matrix."""

    matrix: Float[Array, "n m"]
    histogram: Float[Array, "*batch m"]
    eps: Float[Array, ""]

    def mass(self, y):
        u, v = jnp.exp(-y[0] / self.eps), jnp.exp(-y[1] / self.eps)
        return jnp.sum(u * (v @ self.matrix.T))

    def log_sums(self, potential, transposed=False):
        kernel = self.matrix if transposed else self.matrix.T
        return jnp.log(jnp.exp(-potential / self.eps) @ kernel)


class BarycentreOuter(eqx.Module):
    """The sum of the transport costs, of which the potentials are given."""

    dual: _Dual
    constant: Float[Array, ""]

    def __call__(self, x, y):
        return self.constant - self.dual.objective(x, y)


def wasserstein_barycentre(transport: EntropicTransport) -> BilevelProblem:
    r"""Minimise $\sum_i W(x, b_i)$ over histograms x.

    Outer: $f = N \epsilon - \sum_i L(x, y_i)$; inner: $g = \sum_i L(x, y_i)$. Since
    $f = c - g$, `bx.Analytic` is right: its gradient is $-\sum_i y_{x,i}$. (Where a text
    takes W for $\min L$ and moves x along $+y_x$, the sum is maximised.)

    **Arguments:** `transport`: with the histograms $b_i$ as rows.

    Move x by `bx.mirror_descent`, which keeps it a histogram.

    >>> import bilevax as bx, jax.numpy as jnp, numpy as np
    >>> C = (jnp.arange(4.0)[:, None] - jnp.arange(4.0)) ** 2
    >>> b = jnp.array([[0.85, 0.05, 0.05, 0.05], [0.05, 0.05, 0.05, 0.85]])
    >>> transport = bx.problems.EntropicTransport(C, b, 0.5)
    >>> algorithm = bx.Algorithm(bx.Analytic(bx.Sinkhorn(30)), *bx.mirror_descent(0.2))
    >>> solution = bx.minimize(
    ...     bx.problems.wasserstein_barycentre(transport), algorithm,
    ...     jnp.ones(4) / 4, transport.y0(), num_steps=100)
    >>> np.asarray(solution.x, float).round(2).tolist()
    [0.09, 0.41, 0.41, 0.09]

    **Reference:** P. Ablin, G. Peyré and T. Moreau, ICML 2020, section 5.2.
    """
    dual = transport.dual()
    return BilevelProblem(
        outer=BarycentreOuter(dual, transport.distance(0.0)),
        inner=dual.objective,
        gauge=gauge,
        update=dual.sweep,
        check=transport.check,
    )


def gauge(y: Potentials) -> Potentials:
    """The potentials off the direction (1, -1), in which the objective is constant."""
    y_x, y_b = y
    size = y_x.shape[-1] + y_b.shape[-1]
    shift = (jnp.sum(y_x, -1, keepdims=True) - jnp.sum(y_b, -1, keepdims=True)) / size
    return y_x - shift, y_b + shift


def centred(gradient: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """A gradient in a histogram without its mean, which means nothing there."""
    return gradient - jnp.mean(gradient, axis=-1, keepdims=True)


def check_histogram(name: str, histogram: Any) -> None:
    """Raises where it is none: empty, not positive, or not of sum 1."""
    values = np.asarray(histogram)
    if values.size == 0:
        raise ValueError(f"{name} is empty.")
    if not np.all(values > 0):
        raise ValueError(
            f"{name} must be positive everywhere (add a small mass and divide by the sum): "
            f"its smallest entry is {values.min():.3g}."
        )
    sums = values.sum(axis=-1)
    if not np.allclose(sums, 1, rtol=0, atol=1e-4):
        worst = sums.ravel()[np.argmax(np.abs(sums - 1).ravel())]
        raise ValueError(f"{name} must sum to 1, got {worst:.6g}: divide it by its sum.")
