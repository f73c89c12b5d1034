"""A bilevel problem of two finite sums, its oracles in plain NumPy, and reducers in it too."""

import jax
import jax.numpy as jnp
import numpy as np

import bilevax as bx
from doubles import ORACLES, Counted, Counter

DX, DY, ROWS, OUTER_ROWS, SIZE, MU, RHO = 3, 4, 20, 12, 4, 0.3, 0.5
SLOTS, OUTER_SLOTS = ROWS // SIZE, OUTER_ROWS // SIZE
ALL = slice(None)


def _inner(x, y, rows):
    a, b = rows
    return jnp.mean((a @ y - b @ x) ** 2) / 2 + MU * (y @ y) / 2


def _outer(x, y, rows):
    c, d, e = rows
    return jnp.mean((c @ y - d) ** 2) / 2 + jnp.mean(e @ x) + RHO * (x @ x) / 2


class FiniteSums:
    """The problem, where it starts, and its oracles on some rows."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.a, self.b = rng.standard_normal((ROWS, DY)), rng.standard_normal((ROWS, DX))
        self.c, self.d, self.e = (
            rng.standard_normal((OUTER_ROWS, DY)),
            rng.standard_normal(OUTER_ROWS),
            rng.standard_normal((OUTER_ROWS, DX)),
        )
        self.x0, self.y0 = rng.standard_normal(DX), rng.standard_normal(DY)
        self.problem = bx.BilevelProblem(
            _outer,
            _inner,
            outer_data=(self.c, self.d, self.e),
            inner_data=(self.a, self.b),
        )

    def start(self):
        return jnp.asarray(self.x0), jnp.asarray(self.y0)

    def residual(self, x, y, rows=ALL):
        a, b = self.a[rows], self.b[rows]
        return a.T @ (a @ y - b @ x) / len(a) + MU * y

    def product(self, z, rows=ALL):
        a = self.a[rows]
        return a.T @ (a @ z) / len(a) + MU * z

    def cross(self, z, rows=ALL):
        return -self.b[rows].T @ (self.a[rows] @ z) / len(self.a[rows])

    def outer_y(self, y, rows=ALL):
        c = self.c[rows]
        return c.T @ (c @ y - self.d[rows]) / len(c)

    def outer_x(self, x, rows=ALL):
        return self.e[rows].mean(axis=0) + RHO * x

    def gap(self, x):
        """L(x) - L(x*), from the normal equations of the value function."""
        H = self.a.T @ self.a / ROWS + MU * np.eye(DY)
        M = np.linalg.solve(H, self.a.T @ self.b / ROWS)
        A = M.T @ (self.c.T @ self.c / OUTER_ROWS) @ M + RHO * np.eye(DX)
        linear = M.T @ (self.c.T @ self.d) / OUTER_ROWS - self.e.mean(axis=0)
        step = np.asarray(x) - np.linalg.solve(A, linear)
        return step @ A @ step / 2


def block(slot):
    return slice(SIZE * slot, SIZE * (slot + 1))


def orders(num, inner_slots=SLOTS, outer_slots=OUTER_SLOTS, seed=7):
    """So many numbers of inner and of outer batches, in any order and with repetitions."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, inner_slots, num), rng.integers(0, outer_slots, num)


class PlainSample:
    def __init__(self, D, num_slots):
        self.D = D

    def __call__(self, w, b, i):
        return self.D(w, b)


class PlainTable:
    """SAGA and SAG; `full` fills the table at the first point."""

    def __init__(self, D, num_slots, unbiased=True, full=True):
        self.D, self.n, self.unbiased, self.full, self.t = D, num_slots, unbiased, full, None

    def __call__(self, w, b, i):
        if self.t is None:
            rows = [self.D(w, j) for j in range(self.n)]
            self.t = rows if self.full else [0 * row for row in rows]
        new, mean = self.D(w, b), sum(self.t) / self.n
        old, self.t[b] = self.t[b], new
        return new - old + mean if self.unbiased else sum(self.t) / self.n


class PlainSTORM:
    def __init__(self, D, num_slots, c):
        self.D, self.c, self.last = D, c, None

    def __call__(self, w, b, i):
        d = self.D(w, b)
        if self.last is not None:
            d = d + (1 - self.c(i)) * (self.last[1] - self.D(self.last[0], b))
        self.last = w, d
        return d


class PlainSPIDER:
    def __init__(self, D, num_slots, period):
        self.D, self.period = D, period

    def __call__(self, w, b, i):
        if i % self.period == 0:
            self.d = self.D(w, None)
        else:
            self.d = self.d + self.D(w, b) - self.D(self.w, b)
        self.w = w
        return self.d


class PlainSVRG:
    def __init__(self, D, num_slots, period):
        self.D, self.period = D, period

    def __call__(self, w, b, i):
        if i % self.period == 0:
            self.anchor, self.mean = w, self.D(w, None)
            return self.mean
        return self.D(w, b) - self.D(self.anchor, b) + self.mean


def momentum(i):
    return 1 / (1 + i) ** 0.5


# Each reducer, and what it is in NumPy.
REDUCERS = {
    "Sample": (lambda: bx.Sample(), PlainSample),
    "SAGA": (lambda: bx.SAGA(), PlainTable),
    "SAGA from zero": (
        lambda: bx.SAGA(start="zero"),
        lambda D, n: PlainTable(D, n, full=False),
    ),
    "SAG": (
        lambda: bx.SAGA(unbiased=False),
        lambda D, n: PlainTable(D, n, unbiased=False, full=False),
    ),
    "STORM": (
        lambda: bx.STORM(bx.schedules.polynomial(1.0, 0.5)),
        lambda D, n: PlainSTORM(D, n, momentum),
    ),
    "SPIDER": (lambda: bx.SPIDER(7), lambda D, n: PlainSPIDER(D, n, 7)),
    "SVRG": (
        lambda: bx.SPIDER(7, recursive=False),
        lambda D, n: PlainSVRG(D, n, 7),
    ),
}


def deviation(a, b):
    """The largest difference, relative to the largest number."""
    return np.abs(np.asarray(a) - b).max() / max(np.abs(b).max(), 1)


def states_equal(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(one, other, equal_nan=True) for one, other in leaves)


def counted(problem):
    """The same problem, and a function that tells what was executed so far."""
    counter = Counter()

    def counts():
        jax.effects_barrier()
        return [(counter.calls[oracle], counter.rows[oracle]) for oracle in ORACLES]

    return Counted(problem, counter), counts


def numbers(cost):
    """A cost in the same form."""
    return [(getattr(cost, oracle), getattr(cost.rows, oracle)) for oracle in ORACLES]
