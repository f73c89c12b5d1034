"""The toy problem of SID's specification, in NumPy and in bilevax."""

import functools

import jax.numpy as jnp
import numpy as np

import bilevax as bx

N, D, M = 40, 5, 3
X0 = np.array([0.5, 0.3, -0.2])


def _sigmoid(u):
    return 1 / (1 + np.exp(-u))


class Toy:
    """A logistic regression on rows of norm 1, x in its penalty and its linear term.

    g(x, y) = mean psi(b_i a_i y) + (0.5 + x_0) |y|^2 / 2 - mean (c_i x_1:)(a_i y), with
    f = sqrt(1 + |y - target|^2), all in NumPy and, as `problem`, in bilevax.
    """

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((N, D))
        self.a = a / np.linalg.norm(a, axis=1, keepdims=True)
        self.b, self.c = rng.choice([-1.0, 1.0], N), rng.standard_normal((N, M - 1))
        self.target = rng.standard_normal(D)
        self.strong = 0.5 + X0[0]
        self.smooth = np.linalg.eigvalsh(self.a.T @ self.a / N)[-1] / 4 + self.strong
        self.alpha = 2 / (self.smooth + self.strong)
        self.q = (self.smooth - self.strong) / (self.smooth + self.strong)
        target = jnp.asarray(self.target)
        outer = lambda x, y: jnp.sqrt(1 + jnp.sum((y - target) ** 2))
        self.objective = bx.BilevelProblem(
            outer, toy_inner, inner_data=tuple(map(jnp.asarray, (self.a, self.b, self.c)))
        )
        self.problem = self.objective.as_fixed_point(self.alpha)
        # A step whose map has a derivative of norm 1.4 at zero.
        self.longer = 2.4 / self.smooth
        self.x, self.y0 = jnp.asarray(X0), jnp.zeros(D)
        self.y_star = self._solve()
        self.v_star = self.adjoint(self.y_star)
        self.gradient = self.cross(self.y_star, slice(None)).T @ self.v_star

    # phi, its derivatives in y and in x, on some rows; those of f.
    def phi(self, y, rows, x=X0):
        a, b, c = self.a[rows], self.b[rows], self.c[rows]
        slope = -b * _sigmoid(-b * (a @ y)) - c @ x[1:]
        return y - self.alpha * (slope @ a / len(a) + (0.5 + x[0]) * y)

    def jacobian(self, y, rows):
        a = self.a[rows]
        s = _sigmoid(a @ y)
        return np.eye(D) - self.alpha * (
            (a.T * (s * (1 - s))) @ a / len(a) + self.strong * np.eye(D)
        )

    def cross(self, y, rows):
        a, c = self.a[rows], self.c[rows]
        return -self.alpha * np.column_stack([y, -a.T @ c / len(a)])

    def outer_y(self, y):
        return (y - self.target) / np.sqrt(1 + np.sum((y - self.target) ** 2))

    def adjoint(self, y):
        return np.linalg.solve(np.eye(D) - self.jacobian(y, slice(None)).T, self.outer_y(y))

    def _solve(self, x=X0):
        y = np.zeros(D)
        for _ in range(50):
            F = y - self.phi(y, slice(None), x)
            y = y - np.linalg.solve(np.eye(D) - self.jacobian(y, slice(None)), F)
        return y

    def value(self, x):
        """l(x), from a map whose fixed point does not depend on its step."""
        y = np.zeros(D)
        for _ in range(200):
            y = self.phi(y, slice(None), x)
        return np.sqrt(1 + np.sum((y - self.target) ** 2))

    def constants(self):
        """Those of the specification."""
        cube = np.mean(np.linalg.norm(self.a, axis=1) ** 3) / (6 * np.sqrt(3))
        terms = self.a[:, :, None] * self.c[:, None, :]
        off = terms - terms.mean(axis=0)
        noise = self.alpha**2 * np.mean(np.linalg.norm(off, 2, axis=(1, 2)) ** 2)
        return {
            "contraction": self.q,
            "outer_lipschitz": 1.0,
            "outer_smoothness": 1.0,
            "outer_cross_smoothness": 0.0,
            "jacobian_lipschitz": self.alpha * cube,
            "cross_lipschitz": self.alpha,
            "cross_norm": np.linalg.norm(self.cross(self.y_star, slice(None)), 2),
        }, noise


def toy_inner(x, y, rows):
    a, b, c = rows
    fit = jnp.mean(jnp.log1p(jnp.exp(-b * (a @ y))) - (c @ x[1:]) * (a @ y))
    return fit + (0.5 + x[0]) / 2 * jnp.sum(y**2)


@functools.cache
def toy():
    return Toy()
