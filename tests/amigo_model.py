"""AmIGO in plain NumPy on a noisy problem with known constants: what the theory is held to.

g = y'A y / 2 + y'B x with A diagonal; f is w sum log cosh(y - c) + a |x|^2 / 2, so that l is
strongly convex, or w sum cos(y - c), so that it is not.
"""

import dataclasses

import numpy as np

from bilevax.theory import amigo

squares = lambda rows: np.sum(rows**2, axis=-1)


@dataclasses.dataclass
class Model:
    """A problem; `true` says whether L is its own or the formula's."""

    A: np.ndarray
    B: np.ndarray
    c: np.ndarray
    a: float
    w: float
    noise: dict
    true: bool

    @classmethod
    def random(cls, seed, condition=2.0, *, convex=True, noise=0.0, true=True, dim=3):
        rng = np.random.default_rng(seed)
        A = np.sort(np.r_[1 / condition, rng.uniform(1 / condition, 1, dim - 2), 1.0])
        B = rng.standard_normal((dim, dim))
        B = B / np.linalg.norm(B, 2) * 0.5
        names = "inner_variance", "hvp_variance", "cross_variance", "outer_variance"
        scales = noise * np.array([0.3, 0.1, 0.1, 0.3]) * rng.uniform(0.5, 1, 4)
        return cls(
            A,
            B,
            rng.standard_normal(dim),
            0.4 * convex,
            0.2,
            dict(zip(names, map(float, scales), strict=True)),
            true,
        )

    def __post_init__(self):
        self.convex, self.M = self.a > 0, self.B / self.A[:, None]
        size = self.w * np.linalg.norm(self.M, 2) ** 2
        self.constants = amigo.Constants(
            strong_convexity=self.A[0],
            smoothness=self.A[-1],
            cross_smoothness=np.linalg.norm(self.B, 2),
            derivative_lipschitz=0.0,
            outer_smoothness=max(self.a, self.w),
            outer_lipschitz=self.w * len(self.A) ** 0.5,
            bilevel_smoothness=self.a + size if self.true else None,
            bilevel_strong_convexity=self.a if self.convex else None,
            **self.noise,
        )
        self.x_star = np.zeros(len(self.A))
        for _ in range(100 * self.convex):
            t = np.tanh(-self.M @ self.x_star - self.c)
            hessian = self.a * np.eye(len(t)) + self.w * (self.M.T * (1 - t**2)) @ self.M
            self.x_star = self.x_star - np.linalg.solve(hessian, self.gradient(self.x_star))

    def value(self, x):
        s = -x @ self.M.T - self.c
        terms = np.log(np.cosh(s)) if self.convex else np.cos(s)
        return self.a / 2 * squares(x) + self.w * np.sum(terms, axis=-1)

    def gap(self, x):
        """l - l*: where x* is known from x - x*, since a difference of values is rounding
        long before a run is at its end. cosh(s + d) / cosh(s) = cosh(d) + tanh(s) sinh(d)."""
        if not self.convex:
            return self.value(x) + self.w * len(self.A)
        off, t = x - self.x_star, np.tanh(-self.M @ self.x_star - self.c)
        d = -off @ self.M.T
        terms = np.log1p(2 * np.sinh(d / 2) ** 2 + t * np.sinh(d)) - t * d
        return self.a / 2 * squares(off) + self.w * np.sum(np.maximum(terms, 0.0), axis=-1)

    def f_y(self, y):
        return self.w * (np.tanh(y - self.c) if self.convex else -np.sin(y - self.c))

    def y_star(self, x):
        return -x @ self.M.T

    def z_star(self, y):
        return -self.f_y(y) / self.A

    def gradient(self, x):
        return self.a * x + self.z_star(self.y_star(x)) @ self.B


class Recorded(dict):
    """Means over runs, a row an outer step, by name."""

    __getattr__ = dict.__getitem__


def run(model, steps, num_steps, *, averaged=False, runs=200, seed=0, start=2.0):
    """Algorithm 1 in its consistent order; all batches fresh, one of f for both partials."""
    rng, c = np.random.default_rng(seed), model.constants
    A, B, size = model.A, model.B, (runs, len(model.A))
    gamma, alpha, beta, T, N = steps
    draw = lambda variance: np.sqrt(variance / size[1]) * rng.standard_normal(size)
    x, y, z = (np.full(size, start), np.zeros(size), np.zeros(size))
    shown, rows = x, []
    for _ in range(num_steps):
        gradient = model.gradient(x)
        row = {"gap": model.gap(x), "shown": model.gap(shown), "gradient": squares(gradient)}
        row["away"], row["inner_mse"] = squares(x - model.x_star), squares(y - model.y_star(x))
        first = y
        for _ in range(T):
            y = y - alpha * (A * y + x @ B.T + draw(c.inner_variance))
        row["solved"], row["followed"] = squares(y - model.y_star(x)), squares(y - first)
        star = model.z_star(y)
        row["adjoint_mse"] = squares(z - star)
        mean = star + (1 - beta * A) ** N * (z - star)
        u, v = model.a * x + draw(c.outer_variance / 2), model.f_y(y)
        v = v + draw(c.outer_variance / 2)
        for _ in range(N):
            signs = rng.integers(0, 2, size) * 2 - 1
            z = z - beta * ((A + c.hvp_variance**0.5 * signs) * z + v)
        row["adjoint_solved"], row["adjoint_bias"] = squares(z - star), squares(mean - star)
        row["adjoint_spread"] = squares(z - mean)
        errors = rng.standard_normal((*size, size[1])) * (c.cross_variance / size[1]) ** 0.5
        psi = u + z @ B + np.einsum("rij,ri->rj", errors, z)
        expected = model.a * x + mean @ B
        row["bias"], row["variance"] = squares(expected - gradient), squares(psi - expected)
        row["moved"] = squares(gamma * psi)
        rows.append({name: np.mean(value) for name, value in row.items()})
        x = x - gamma * psi
        shown = shown + c.delta * (x - shown) if averaged else x
    found = Recorded({name: np.array([row[name] for row in rows]) for name in rows[0]})
    return with_energy(model, steps, found, averaged)


def with_energy(model, steps, found, averaged):
    """E^x, E^tot and F_k, written out."""
    c, (*_, T, N) = model.constants, steps
    roots = (1 - steps[1] * model.A[0]) ** (T / 2), (1 - steps[2] * model.A[0] / 2) ** (N / 2)
    if model.convex:
        found["outer"] = model.a / 2 * found.away + (0 if averaged else found.gap)
        found["F"] = c.delta * averaged * found.gap[1:]
    else:
        found["outer"] = found.gradient / (2 * c.gradient_lipschitz)
        found["F"] = np.diff(found.gap) - np.diff(found.outer)
    weighted = roots[0] * found.inner_mse + roots[1] * found.adjoint_mse
    found["energy"] = found.outer + c.delta * weighted
    return found
