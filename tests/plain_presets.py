"""Presets with inner loops, transcribed in NumPy from their published updates, on given rows.

Each transcription is a generator of (x, y, z) after every outer step, on the problem of
`finite_sums`. An oracle reads the next batch of its own list at every call.
"""

import itertools

import jax
import numpy as np

import bilevax as bx
from bilevax.algorithms._facts import FACTS
from doubles import ORACLES
from finite_sums import ALL, DY, SIZE, SLOTS, block, orders

STEPS, T, N = 20, 3, 4
ALPHA, BETA, GAMMA = 0.12, 0.15, 0.08
NAMES = ("inner", "hvp", "cross", "outer")
_LISTS = orders(400)[0], orders(400, seed=8)[0], orders(400, seed=9)[0], orders(400)[1]
LISTS = dict(zip(NAMES, _LISTS, strict=True))
ROWS = {f"{name}_batch_size": bx.Blocks(SIZE, order=LISTS[name]) for name in NAMES}
LEVELS = {name: ROWS[name] for name in ("inner_batch_size", "outer_batch_size")}
TWO = {"outer_step_size": GAMMA, "inner_step_size": ALPHA, "inner_steps": T}
CG_TWO = TWO | {"adjoint_steps": N}
THREE = CG_TWO | {"adjoint_step_size": BETA}


class Rows:
    """The lists of batches, each read from its start."""

    def __init__(self):
        self._lists = {name: itertools.cycle(LISTS[name]) for name in NAMES}

    def __call__(self, oracle):
        return block(next(self._lists[oracle]))


class AllRows:
    def __call__(self, oracle):
        return ALL


def sgd(sums, x, y, rows, num=T, steps=lambda t: ALPHA):
    for t in range(num):
        y = y - steps(t) * sums.residual(x, y, rows("inner"))
    return y


def richardson(sums, v, z, rows, num=N, steps=lambda n: BETA):
    for n in range(num):
        z = z - steps(n) * (sums.product(z, rows("hvp")) + v)
    return z


def conjugate_gradient(sums, v, z, rows, num=N):
    """On one batch for all products."""
    b = rows("hvp")
    r = -(v + sums.product(z, b))
    p = r
    for _ in range(num):
        Hp = sums.product(p, b)
        a = (r @ r) / (p @ Hp)
        z, new = z + a * p, r - a * Hp
        p, r = new + (new @ new) / (r @ r) * p, new
    return z


def fixed_point(sums, v, rows):
    w = np.zeros(DY)
    for _ in range(N):
        w = w - ALPHA * sums.product(w, rows("hvp")) + v
    return -ALPHA * w


def neumann(sums, v, rows):
    term = total = v
    for _ in range(N):
        term = term - BETA * sums.product(term, rows("hvp"))
        total = total + term
    return -BETA * total


def exact(sums, v):
    H = np.stack([sums.product(e) for e in np.eye(DY)], axis=1)
    return np.linalg.solve(H, -v)


def implicit(
    sums, adjoint, inner=sgd, rows=None, warm_y=True, warm_z=True, x_first=False, gamma=None
):
    """y, then f's two gradients on one batch, then z, then J z on another batch."""
    rows = rows or Rows()
    gamma = gamma or (lambda k: GAMMA)
    x, y, z = sums.x0, sums.y0, np.zeros(DY)
    for k in range(STEPS):
        if not (x_first and k == 0):
            start = y if warm_y else sums.y0
            of_k = {"k": k - 1 if x_first else k} if inner is not sgd else {}
            y = inner(sums, x, start, rows, **of_k)
        b = rows("outer")
        u, v = sums.outer_x(x, b), sums.outer_y(y, b)
        z = adjoint(sums, v, z if warm_z else np.zeros(DY), rows, k)
        x = x - gamma(k) * (u + sums.cross(z, rows("cross")))
        yield x, y, z


def averaged(iterates, sums, delta):
    mean = sums.x0
    for x, y, z in iterates:
        mean = (1 - delta) * mean + delta * x
        yield mean, y, z


def unrolled(sums, last=T):
    """The steps on y and back, on the same batches."""
    rows, x, y = Rows(), sums.x0, sums.y0
    for _ in range(STEPS):
        seen = []
        for _ in range(T):
            seen.append(rows("inner"))
            y = y - ALPHA * sums.residual(x, y, seen[-1])
        b = rows("outer")
        psi, p = sums.outer_x(x, b), sums.outer_y(y, b)
        for b in reversed(seen[T - last :]):
            psi = psi - ALPHA * sums.cross(p, b)
            p = p - ALPHA * sums.product(p, b)
        x = x - GAMMA * psi
        yield x, y


def sag(sums, x, y, rows, k):
    """A table of zeros at every solve."""
    table = np.zeros((SLOTS, DY))
    for _ in range(T):
        b = rows("inner")
        table[b.start // SIZE] = sums.residual(x, y, b)
        y = y - ALPHA * table.mean(axis=0)
    return y


def nesterov(gradient, u, num, step, mu):
    q = (1 - np.sqrt(step * mu)) / (1 + np.sqrt(step * mu))
    w = u
    for _ in range(num):
        new = w - step * gradient(w)
        w, u = new + q * (new - u), new
    return u


MU = 0.2


def accelerated_y(sums, x, y, rows, k):
    return nesterov(lambda w: sums.residual(x, w, rows("inner")), y, T, ALPHA, MU)


def accelerated_z(sums, v, z, rows, k):
    return nesterov(lambda w: sums.product(w, rows("hvp")) + v, z, N, BETA, MU)


def accbio(sums, a=GAMMA, mu=0.5):
    """AccBiO's three sequences; what is shown is z_k of the paper."""
    tau, eps = np.sqrt(a * mu) / 2, np.sqrt(a * mu) / (np.sqrt(a * mu) + 2)
    L = 1 / ALPHA
    lam = 4 / (np.sqrt(L) + np.sqrt(MU)) ** 2
    theta = max((1 - np.sqrt(lam * MU)) ** 2, (1 - np.sqrt(lam * L)) ** 2)
    x = shown = sums.x0
    for _ in range(STEPS):
        there = eps * x + (1 - eps) * shown
        y = nesterov(lambda w, at=there: sums.residual(at, w), sums.y0, T, ALPHA, MU)
        v, before = np.zeros(DY), np.zeros(DY)
        for _ in range(N):
            gradient = sums.product(v) + sums.outer_y(y)
            v, before = v - lam * gradient + theta * (v - before), v
        G = sums.outer_x(there) + sums.cross(v)
        x = tau * there + (1 - tau) * x - np.sqrt(a / mu) * G
        shown = there - a * G
        yield shown, y, v


LENGTHS = [2, 0, 3, 1, 3]


def random_term(sums, v, z, rows, k):
    """hia_b with b = N and the given p."""
    z = -BETA * N * v
    for _ in range(LENGTHS[k % len(LENGTHS)]):
        z = z - BETA * sums.product(z, rows("hvp"))
    return z


def power(scale, exponent):
    """s k^-p with k from 1, as the library writes it and as NumPy does."""
    library = bx.schedules.polynomial(scale, exponent)
    return library, lambda k: scale * (k + 1) ** -exponent


def several(schedule, num):
    """Steps of y whose size belongs to the outer step."""

    def inner(sums, x, y, rows, k):
        return sgd(sums, x, y, rows, num(k), lambda t: schedule(k))

    return inner


def growing(k):
    return int(np.ceil(np.sqrt(k + 1)))


def ba_steps(k):
    return int(np.ceil((k + 1) ** 0.25 / 2 - 1e-12))


def inner_x(sums, x, y, b=ALL):
    a, c = sums.a[b], sums.b[b]
    return -c.T @ (a @ y - c @ x) / len(a)


POWERS = {name: power(0.1, p / 7) for name, p in zip("abcd", (5, 4, 5, 6), strict=True)}
START = 1.5


def f2sa(sums):
    a, b, c, d = (POWERS[name][1] for name in "abcd")
    for_w, for_y, for_x = Rows(), Rows(), Rows()
    x, y, w, lam = sums.x0, sums.y0, sums.y0, START
    for k in range(STEPS):
        for _ in range(T):
            f_y = sums.outer_y(y, for_y("outer"))
            y = y - a(k) * (f_y + lam * sums.residual(x, y, for_y("inner")))
            w = w - b(k) * sums.residual(x, w, for_w("inner"))
        gap = inner_x(sums, x, y, for_x("cross")) - inner_x(sums, x, w, for_x("cross"))
        x = x - c(k) * (sums.outer_x(x, for_x("outer")) + lam * gap)
        lam = lam + d(k)
        yield x, y


def bome(sums, eta=0.5):
    x, y = sums.x0, sums.y0
    for _ in range(STEPS):
        hat = sgd(sums, x, y, AllRows())
        gap_x = inner_x(sums, x, y) - inner_x(sums, x, hat)
        gap = np.concatenate([gap_x, sums.residual(x, y)])
        f = np.concatenate([sums.outer_x(x), sums.outer_y(y)])
        lam = max(0, (eta * gap @ gap - f @ gap) / (gap @ gap))
        moved = f + lam * gap
        x, y = x - GAMMA * moved[: len(x)], y - BETA * moved[len(x) :]
        yield x, y


KEY, Q, M = jax.random.key(5), 6, 0.05


def pzobo(sums):
    """With the directions that the key of each outer step gives."""
    x, y, rows = sums.x0, sums.y0, Rows()
    for k in range(STEPS):
        key = jax.random.split(jax.random.fold_in(KEY, k), 3)[2]
        directions = np.asarray(jax.random.normal(key, (Q, len(x))))
        seen = [rows("inner") for _ in range(T)]
        solve = lambda at, start=y, seen=seen: sgd(sums, at, start, Given(seen))
        y, ends = solve(x), [solve(x + M * u) for u in directions]
        b = rows("outer")
        f_y = sums.outer_y(y, b)
        psi = sums.outer_x(x, b)
        for u, end in zip(directions, ends, strict=True):
            psi = psi + (end - y) @ f_y / M * u / Q
        x = x - GAMMA * psi
        yield x, y


class Given:
    def __init__(self, seen):
        self._seen = iter(seen)

    def __call__(self, oracle):
        return next(self._seen)


ROOT, TTSA_X, TTSA_Y = power(ALPHA, 0.5), power(GAMMA, 3 / 5), power(ALPHA, 2 / 5)
CG = lambda s, v, z, rows, k: conjugate_gradient(s, v, z, rows)
GD = lambda s, v, z, rows, k: richardson(s, v, z, rows)
SID_STEPS = bx.schedules.decreasing(3.0, 25.0), lambda i: 3 / (25 + i)
ADJOINT_OF = {
    "amigo_gd": GD,
    "aid_gd": GD,
    "aid_fp": lambda s, v, z, rows, k: fixed_point(s, v, rows),
    "aid_n": lambda s, v, z, rows, k: neumann(s, v, rows),
}
bxa = bx.algorithms


def sid(sums):
    rows = Rows()
    x, y = sums.x0, sums.y0
    for _ in range(STEPS):
        y = sgd(sums, x, sums.y0, rows, T, SID_STEPS[1])
        z = richardson(sums, sums.outer_y(y), np.zeros(DY), rows, N, SID_STEPS[1])
        x = x - GAMMA * (sums.outer_x(x) + sums.cross(z, rows("cross")))
        yield x, y, z


def assert_calls(name, history, skipped=lambda k: k == 0, **letters):
    """The formulas of the table of all presets, at outer steps after the first.

    A letter stands for a number, or for a function of k.
    """
    formulas = dict(zip(ORACLES, FACTS[name].calls, strict=True))
    for oracle, formula in formulas.items():
        calls = np.diff(history[oracle], prepend=0)
        for k in range(len(calls)):
            values = {x: v(k) if callable(v) else v for x, v in letters.items()}
            if not skipped(k):
                assert calls[k] == eval(formula, {}, values), (oracle, k)


# Of each preset: how it is made, and its transcription.
PRESETS = {
    "accbio": (
        lambda: bxa.accbio(
            outer_step_size=GAMMA,
            outer_strong_convexity=0.5,
            inner_strong_convexity=MU,
            inner_step_size=ALPHA,
            inner_steps=T,
            adjoint_steps=N,
        ),
        accbio,
    ),
    "aid_bio": (lambda: bxa.aid_bio(**CG_TWO), lambda s: implicit(s, CG, rows=AllRows())),
    "aid_cg": (
        lambda: bxa.aid_cg(**CG_TWO, **ROWS),
        lambda s: implicit(s, CG, warm_z=False),
    ),
    "aid_cg_ws": (
        lambda: bxa.aid_cg_ws(**CG_TWO, **ROWS),
        lambda s: implicit(s, CG, warm_y=False),
    ),
    "aid_fp": (
        lambda: bxa.aid_fp(**CG_TWO, **ROWS),
        lambda s: implicit(s, ADJOINT_OF["aid_fp"], warm_z=False),
    ),
    "aid_gd": (lambda: bxa.aid_gd(**THREE, **ROWS), lambda s: implicit(s, GD, warm_z=False)),
    "aid_n": (lambda: bxa.aid_n(**THREE, **ROWS), lambda s: implicit(s, ADJOINT_OF["aid_n"])),
    "amigo_accelerated": (
        lambda: bxa.amigo_accelerated(**THREE, inner_strong_convexity=MU, **ROWS),
        lambda s: implicit(s, accelerated_z, accelerated_y),
    ),
    "amigo_cg": (lambda: bxa.amigo_cg(**CG_TWO, **ROWS), lambda s: implicit(s, CG)),
    "amigo_gd": (
        lambda: bxa.amigo_gd(**THREE, **ROWS, averaging=0.3),
        lambda s: averaged(implicit(s, GD), s, 0.3),
    ),
    "amigo_sag": (lambda: bxa.amigo_sag(**THREE, **ROWS), lambda s: implicit(s, GD, sag)),
    "ba": (
        lambda: bxa.ba(outer_step_size=GAMMA, inner_step_size=ALPHA),
        lambda s: implicit(
            s,
            lambda s, v, z, rows, k: exact(s, v),
            several(lambda k: ALPHA, ba_steps),
            rows=AllRows(),
        ),
    ),
    "bome": (lambda: bxa.bome(**TWO, penalised_step_size=BETA), bome),
    "bsa": (
        lambda: bxa.bsa(
            outer_step_size=ROOT[0],
            inner_step_size=ROOT[0].outer(),
            adjoint_step_size=BETA,
            adjoint_steps=N,
            lengths=LENGTHS,
            **ROWS,
        ),
        lambda s: implicit(
            s, random_term, several(ROOT[1], growing), x_first=True, gamma=ROOT[1]
        ),
    ),
    "f2sa": (
        lambda: bxa.f2sa(
            outer_step_size=POWERS["c"][0],
            penalised_step_size=POWERS["a"][0].outer(),
            inner_step_size=POWERS["b"][0].outer(),
            inner_steps=T,
            multiplier=START,
            multiplier_growth=POWERS["d"][0],
            **{name: rows for name, rows in ROWS.items() if not name.startswith("hvp")},
        ),
        f2sa,
    ),
    "itd": (lambda: bxa.itd(**TWO, **LEVELS), unrolled),
    "pzobo": (
        lambda: bxa.pzobo(**TWO, **LEVELS, num_directions=Q, distance=M),
        pzobo,
    ),
    "reverse": (lambda: bxa.reverse(**TWO, **LEVELS, last=2), lambda s: unrolled(s, 2)),
    "sid": (
        lambda: bxa.sid(
            outer_step_size=GAMMA,
            inner_step_size=SID_STEPS[0],
            inner_steps=T,
            adjoint_steps=N,
            **{name: rows for name, rows in ROWS.items() if not name.startswith("outer")},
        ),
        sid,
    ),
    "stocbio": (
        lambda: bxa.stocbio(**THREE, **ROWS),
        lambda s: implicit(s, ADJOINT_OF["aid_n"]),
    ),
    "ttsa": (
        lambda: bxa.ttsa(
            outer_step_size=TTSA_X[0],
            inner_step_size=TTSA_Y[0].outer(),
            adjoint_step_size=BETA,
            adjoint_steps=N,
            lengths=LENGTHS,
            **ROWS,
        ),
        lambda s: implicit(
            s, random_term, several(TTSA_Y[1], lambda k: 1), x_first=True, gamma=TTSA_X[1]
        ),
    ),
}
