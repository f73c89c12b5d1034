"""The AmIGO paper's inequalities on random instances: how near each comes to its bound."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from amigo_model import Model, run, squares
from bilevax.theory import amigo

STATEMENTS = {}
TINY = 1e-25  # below which all is rounding
spectral = lambda matrix: np.linalg.norm(matrix, 2)
log_uniform = lambda rng, low, high: float(np.exp(rng.uniform(np.log(low), np.log(high))))


class Statement(NamedTuple):
    """Inequalities, and a function that returns lhs / rhs: of each part in turn, instance
    by instance."""

    name: str
    parts: tuple[str, ...]
    ratios: Callable[[], np.ndarray]

    def largest(self):
        """By part, and as often as there are instances of each."""
        found = np.reshape(self.ratios(), (-1, len(self.parts)))
        assert np.all(np.isfinite(found))
        return dict(zip(self.parts, found.max(axis=0), strict=True)), len(found)


def statement(name, *parts):
    """Keeps a function that returns the ratios of a statement."""

    def keep(function):
        STATEMENTS[name] = Statement(name, parts or ("",), function)
        return function

    return keep


def over(seeds, *pools):
    """The ratios of all seeds together."""
    found = [function(seed) for seed in seeds for function in pools]
    return np.concatenate([np.ravel(ratios) for ratios in found])


def random_constants(rng, condition=(1, 1e4), noise=True):
    """Any constants that are allowed, over several decades."""
    of = lambda: log_uniform(rng, 1e-2, 1e2)
    L_g, kappa = of(), log_uniform(rng, *condition)
    drawn = {}
    if noise and rng.integers(2):
        drawn = {f"{n}_variance": of() for n in ("inner", "cross", "outer")}
        drawn["hvp_variance"] = rng.uniform() * L_g**2 / kappa
    known = amigo.Constants(
        strong_convexity=L_g / kappa,
        smoothness=L_g,
        cross_smoothness=of(),
        derivative_lipschitz=of() * rng.integers(2),
        outer_smoothness=of(),
        outer_lipschitz=of(),
        **drawn,
    )
    mu = known.gradient_lipschitz / log_uniform(rng, 1, 1e4) if rng.integers(2) else None
    fields = {name: value for name, value in vars(known).items() if value is not None}
    return amigo.Constants(**fields | {"bilevel_strong_convexity": mu})


class Smooth:
    """A problem whose inner Hessian changes, with its Assumptions 1 to 3.

    g = y'A y / 2 + y'B x + c sum log cosh(P y + Q x), f = sum log cosh(R y + S x).
    """

    def __init__(self, seed, dim=3):
        rng = np.random.default_rng(seed)
        self.dim, self.weight = dim, log_uniform(rng, 0.1, 1)
        root = rng.standard_normal((dim, dim))
        self.A = root @ root.T + log_uniform(rng, 0.1, 1) * np.eye(dim)
        self.B, self.P, self.Q, self.R, self.S = rng.standard_normal((5, dim, dim)) / 2
        values = np.linalg.eigvalsh(self.A)
        p, q, r, both = map(spectral, (self.P, self.Q, self.R, np.hstack((self.R, self.S))))
        longest = np.max(np.linalg.norm(np.hstack((self.P, self.Q)), axis=1))
        third = 4 / 3**1.5  # of log cosh
        self.constants = amigo.Constants(
            strong_convexity=values[0],
            smoothness=values[-1] + self.weight * p**2,
            cross_smoothness=spectral(self.B) + self.weight * p * q,
            derivative_lipschitz=self.weight * p * max(p, q) * third * longest,
            outer_smoothness=both**2,
            outer_lipschitz=r * dim**0.5,
        )

    def inner_gradient(self, x, y):
        return self.A @ y + self.B @ x + self.weight * self.P.T @ np.tanh(self.arg(x, y))

    def arg(self, x, y):
        return self.P @ y + self.Q @ x

    def second(self, x, y):
        """H, and J as a dx x dy matrix."""
        bend = self.weight / np.cosh(self.arg(x, y))[:, None] ** 2
        return self.A + self.P.T @ (bend * self.P), (self.B + self.P.T @ (bend * self.Q)).T

    def outer_gradient(self, x, y):
        t = np.tanh(self.R @ y + self.S @ x)
        return self.S.T @ t, self.R.T @ t

    def y_star(self, x):
        y = np.zeros(self.dim)
        for _ in range(30):
            y = y - np.linalg.solve(self.second(x, y)[0], self.inner_gradient(x, y))
        return y

    def z_star(self, x, y):
        return -np.linalg.solve(self.second(x, y)[0], self.outer_gradient(x, y)[1])

    def psi(self, x, y, z):
        return self.outer_gradient(x, y)[0] + self.second(x, y)[1] @ z

    def gradient(self, x):
        y = self.y_star(x)
        return self.psi(x, y, self.z_star(x, y))


@statement("Prop. 6", "y*", "z*", "grad l", "Psi", "|z*|")
def prop_6(seeds=range(20)):
    def of(seed):
        p, rng, norm, ratios = Smooth(seed), np.random.default_rng(seed), np.linalg.norm, []
        c = p.constants
        for distance in (1e-3, 1.0, 10.0):
            x, y, z = rng.standard_normal((3, p.dim))
            dx, dy = distance * rng.standard_normal((2, p.dim))
            star = p.y_star(x)
            both = norm(dx) + norm(dy)
            far = norm(y - star) + norm(z - p.z_star(x, y))
            ratios += [
                norm(p.y_star(x + dx) - star) / (c.solution_lipschitz * norm(dx)),
                norm(p.z_star(x + dx, y + dy) - p.z_star(x, y)) / (c.adjoint_lipschitz * both),
                norm(p.gradient(x + dx) - p.gradient(x)) / (c.gradient_lipschitz * norm(dx)),
                norm(p.psi(x, y, z) - p.gradient(x)) / (c.hypergradient_lipschitz * far),
                norm(p.z_star(x, star)) / c.adjoint_bound,
            ]
        return ratios

    return over(seeds, of)


@statement("Prop. 7, deterministic", "y", "z")
def prop_7_deterministic(seeds=range(20)):
    def of(seed):
        p, rng, ratios = Smooth(seed), np.random.default_rng(seed), []
        (x, start, z0), c = 3 * rng.standard_normal((3, p.dim)), p.constants
        for n in (1, 5, 30):
            left, y, z = (
                amigo.contractions(constants=c, inner_steps=n, adjoint_steps=n),
                start,
                z0,
            )
            for _ in range(n):
                y = y - p.inner_gradient(x, y) / c.smoothness
            H, v = p.second(x, y)[0], p.outer_gradient(x, y)[1]
            for _ in range(n):
                z = z - (H @ z + v) / (2 * c.smoothness)
            star, adjoint = p.y_star(x), p.z_star(x, y)
            bounds = left.inner * squares(start - star), left.adjoint * squares(z0 - adjoint)
            ratios += [squares(y - star) / bounds[0], squares(z - adjoint) / bounds[1]]
        return ratios

    return over(seeds, of)


@functools.cache
def solves(seed, runs=2000, T=20, N=40):
    """One outer step with much noise, at beta as long as it may be."""
    model = Model.random(seed, condition=4.0, noise=1.0, dim=4)
    c = model.constants
    beta = amigo.longest_adjoint_step(constants=c)
    steps = (1 / c.gradient_lipschitz, 1 / c.smoothness, beta, T, N)
    found = run(model, steps, 1, runs=runs, seed=seed)
    left = amigo.contractions(
        constants=c, inner_steps=T, adjoint_steps=N, adjoint_step_size=beta
    )
    return c, left, found


@statement("Prop. 7, with noise", "y", "z", "mean of z", "spread of z")
def prop_7(seeds=range(5), runs=2000):
    def of(seed):
        c, left, found = solves(seed, runs)
        mse = {"inner_mse": found.inner_mse, "adjoint_mse": found.adjoint_mse}
        bounds = amigo.solve_errors(constants=c, contractions=left, **mse)
        seen = found.solved, found.adjoint_solved, found.adjoint_bias, found.adjoint_spread
        return [value / bound for value, bound in zip(seen, bounds, strict=True)]

    return over(seeds, of)


@statement("Prop. 4", "bias", "variance")
def prop_4(seeds=range(5), runs=2000):
    def of(seed):
        c, left, found = solves(seed, runs)
        mse = {"inner_mse": found.inner_mse, "adjoint_mse": found.adjoint_mse}
        bounds = amigo.hypergradient_errors(constants=c, contractions=left, **mse)
        return found.bias / bounds.bias, found.variance / bounds.variance

    return over(seeds, of)


@statement("Lemma 1: averages, u = 0 and u = 1")
def lemma_1(seeds=range(50)):
    """On l = |x| with x at random; energies are what the lemma lets them be at most."""

    def of(seed, u):
        rng = np.random.default_rng(seed)
        x, average, gamma, noise = rng.standard_normal(), None, 1.0, 0.0
        start, before, ratios = rng.uniform(0, 2), abs(x), []
        average, energy, first = x, start, start + abs(x)
        for _ in range(30):
            delta, x = rng.uniform(0.01, 0.9), rng.standard_normal()
            allowed = (1 - delta) * (energy + (1 - u) * before) - (1 - u + u * delta) * abs(x)
            added = max(0, -allowed) + rng.exponential(0.1)
            energy, before = allowed + added, abs(x)
            average = u * (1 - delta) * average + (1 - u * (1 - delta)) * x
            gamma, noise = gamma * (1 - delta), noise * (1 - delta) + added
            ratios.append((abs(average) + energy) / (gamma * first + noise))
        return ratios

    return over(seeds, lambda seed: of(seed, 0), lambda seed: of(seed, 1))


@statement("Lemma 2: a step with noise contracts")
def lemma_2(seeds=range(100)):
    def of(seed):
        rng = np.random.default_rng(seed)
        A, S = (r @ r.T for r in rng.standard_normal((2, 4, 4)) / rng.uniform(0.3, 3))
        (mu, *_, L), variance = np.linalg.eigvalsh(A), spectral(S)
        beta = rng.uniform(0.3, 1) * min(1 / (2 * L), mu / (mu**2 + variance))
        step = np.eye(4) - beta * A
        return spectral(step @ step + beta**2 * S) / (1 - beta * mu)

    return over(seeds, of)


@statement("Lemma 3: n b^2 (1 - b)^(n - 1) <= (1 - b / 2)^(n - 1)")
def lemma_3():
    b, n = np.linspace(0, 1, 1000, endpoint=False)[:, None], np.unique(np.geomspace(1, 1e5, 80))
    return np.ravel(n * b**2 * ((1 - b) / (1 - b / 2)) ** (n - 1))


@statement("Prop. 2, convex: u = 0 and u = 1")
def prop_2_convex(seeds=range(300)):
    """l = x'D x / 2, and psi = gradient + bias +- noise, whose two values are all there are."""

    def of(seed):
        rng = np.random.default_rng(seed)
        D = np.array([log_uniform(rng, 1e-2, 1), rng.uniform(0.1, 1), 1.0])
        mu, gamma, u, rho = min(D), rng.uniform(0.01, 1), seed % 2, rng.uniform(0.05, 1.95)
        eta0 = log_uniform(rng, mu, 1 / gamma)
        eta = amigo.outer_sequence(
            step_sizes=np.array([gamma]), eta=eta0, bilevel_strong_convexity=mu
        )
        x, bias, noise = rng.standard_normal((3, 3)) * rng.exponential(size=(3, 1))
        value, energy = (lambda x: D @ x**2 / 2), lambda x, e: e / 2 * x @ x
        start = energy(x, eta[0]) + (1 - u) * value(x)
        ahead = [x - gamma * (D * x + bias + s * noise) for s in (-1, 1)]
        delta = eta[1] * gamma
        kept = 1 - u + u * delta
        lhs = np.mean([kept * value(a) + energy(a, eta[1]) for a in ahead])
        known = {"delta": delta, "step_size": gamma, "rho": rho, "averaged": bool(u)}
        return lhs / amigo.outer_bound(
            energy=start, bias=bias @ bias, variance=noise @ noise, **known
        )

    return over(seeds, of)


@statement("Prop. 2, not convex")
def prop_2(seeds=range(300)):
    """l = sum cos(w x), L = w^2: F + E^x is l(x_k) - l(x_{k-1}) + E^x_{k-1}."""

    def of(seed):
        rng = np.random.default_rng(seed)
        w = log_uniform(rng, 0.1, 10)
        L, rho = w**2, rng.uniform(0.05, 1.95)
        gamma = rng.uniform(0.01, 1) / L
        x, bias, noise = rng.standard_normal((3, 3)) * rng.exponential(size=(3, 1)) * w
        value, gradient = np.sum(np.cos(w * x)), -w * np.sin(w * x)
        ahead = [x - gamma * (gradient + bias + s * noise) for s in (-1, 1)]
        change = np.mean([np.sum(np.cos(w * a)) for a in ahead]) - value
        energy = gradient @ gradient / (2 * L)
        known = {"delta": gamma * L, "step_size": gamma, "rho": rho, "convex": False}
        rhs = amigo.outer_bound(
            energy=energy, bias=bias @ bias, variance=noise @ noise, **known
        )
        return 1 + (change + energy - rhs) / energy  # both sides may be negative

    return over(seeds, of)


# A convex run that is averaged, one that is not, and one that is not convex.
RUNS = {"convex, u = 1": (True, True), "convex, u = 0": (True, False), "other": (False, False)}


@functools.cache
def short_solves(seed, kind, num_steps=25):
    """Runs with few steps in each solve, for what holds whatever T and N are."""
    (convex, averaged), rng = RUNS[kind], np.random.default_rng(seed)
    model = Model.random(seed, convex=convex, noise=0.3 * (seed % 2))
    c, (T, N) = model.constants, map(int, rng.integers(1, 12, 2))
    steps = (1 / c.gradient_lipschitz, 1 / c.smoothness, 1 / (2 * c.smoothness), T, N)
    left = amigo.contractions(constants=c, inner_steps=T, adjoint_steps=N)
    return (
        c,
        left,
        averaged,
        run(model, steps, num_steps, averaged=averaged, runs=400, seed=seed),
    )


@statement("Prop. 12", "increment of x", "of y")
def prop_12(seeds=range(4)):
    def of(seed, kind):
        c, left, averaged, found = short_solves(seed, kind)
        zeta = amigo.gradient_ratio(constants=c, averaged=averaged)
        squared = found.variance + 2 * found.bias + 2 * zeta * found.outer
        moved = found.moved / (squared / c.gradient_lipschitz**2 + TINY)
        followed = found.followed / (4 * found.inner_mse + 2 * left.inner_noise + TINY)
        return np.stack((moved, followed), axis=-1)

    return over(seeds, *(functools.partial(of, kind=kind) for kind in RUNS))


@statement("Props. 5 and 8", "E^y", "E^z")
def prop_8(seeds=range(4)):
    def of(seed, kind):
        c, left, averaged, found = short_solves(seed, kind)
        names = {"outer_energy": "outer"} | {
            n: n for n in ("inner_mse", "adjoint_mse", "bias", "variance")
        }
        known = {name: found[own][:-1] for name, own in names.items()}
        known |= {"constants": c, "contractions": left, "averaged": averaged}
        ratios = []
        for r, theta in ((1.0, 1.0), (0.3, 0.1)):
            bounds = amigo.inner_bounds(
                step_size=1 / c.gradient_lipschitz, r=r, theta=theta, **known
            )
            seen = found.inner_mse[1:], found.adjoint_mse[1:]
            ratios.append(
                np.stack([s / (b + TINY) for s, b in zip(seen, bounds, strict=True)], -1)
            )
        return ratios

    return over(seeds, *(functools.partial(of, kind=kind) for kind in RUNS))


@statement("Prop. 9: the total energy from step to step")
def prop_9(seeds=range(4)):
    def of(seed, kind):
        c, left, averaged, found = short_solves(seed, kind)
        step = amigo.energy_step(constants=c, contractions=left, averaged=averaged)
        bound = max(step[:3]) * found.energy[:-1] + step.noise
        return (found.F + found.energy[1:]) / (bound + TINY)

    return over(seeds, *(functools.partial(of, kind=kind) for kind in RUNS))


@functools.cache
def prescribed(seed):
    """Random constants, and an outer step with the T and N of Prop. 10."""
    c = random_constants(np.random.default_rng(seed))
    steps = amigo.steps(constants=c)
    left = amigo.contractions(
        constants=c, inner_steps=steps.inner_steps, adjoint_steps=steps.adjoint_steps
    )
    return c, amigo.energy_step(constants=c, contractions=left, averaged=c.is_averaged)


@statement("Props. 10 and 13: delta / 2 <= 1 - max A")
def prop_10(seeds=range(200)):
    def of(seed):
        c, step = prescribed(seed)
        return c.delta / 2 / (1 - max(step[:3]))

    return over(seeds, of)


@statement("Props. 10 and 13: V^tot <= gamma delta W^2")
def prop_10_noise(seeds=range(200)):
    def of(seed):
        c, step = prescribed(seed)
        if c.is_deterministic:
            return []
        return (
            step.noise * c.gradient_lipschitz / c.delta / amigo.effective_variance(constants=c)
        )

    return over(seeds, of)


@functools.cache
def guaranteed(seed, convex, noise, true=True, num_steps=30, runs=200):
    """A run with the steps of Prop. 10."""
    model = Model.random(seed, convex=convex, noise=noise, true=true)
    steps, averaged = amigo.steps(constants=model.constants), model.constants.is_averaged
    return model, run(model, steps, num_steps, averaged=averaged, runs=runs, seed=seed)


@statement("Theorem 1, deterministic, convex (24)")
def theorem_1(seeds=range(3)):
    def of(seed, true):
        model, found = guaranteed(seed, True, 0.0, true, runs=1)
        k = np.arange(1, len(found.energy))
        return found.energy[1:] / amigo.energy_bound(
            constants=model.constants, outer_steps=k, initial_energy=found.energy[0]
        )

    return over(seeds, lambda seed: of(seed, True), lambda seed: of(seed, False))


@statement("Theorem 1, with noise, convex, averages")
def theorem_1_noise(seeds=range(3)):
    def of(seed):
        model, found = guaranteed(seed, True, 0.1)
        bound = amigo.energy_bound(
            constants=model.constants,
            outer_steps=np.arange(1, len(found.energy)),
            initial_energy=found.energy[0],
            initial_gap=found.gap[0],
        )
        return (found.shown + found.energy)[1:] / bound

    return over(seeds, of)


def _means(seed, noise):
    model, found = guaranteed(seed, False, noise, runs=200 if noise else 1)
    k = np.arange(1, len(found.energy))
    bound = amigo.mean_energy_bound(
        constants=model.constants,
        outer_steps=k,
        initial_gap=found.gap[0],
        inner_mse=found.inner_mse[0],
        adjoint_mse=found.adjoint_mse[0],
    )
    return np.cumsum(found.energy[1:]) / k / bound


@statement("Theorem 1, deterministic, not convex")
def theorem_1_other(seeds=range(3)):
    return over(seeds, lambda seed: _means(seed, 0.0))


@statement("Theorem 1, with noise, not convex")
def theorem_1_other_noise(seeds=range(3)):
    return over(seeds, lambda seed: _means(seed, 0.1))


@statement("Props. 15 and 14", "mse", "mean", "spread", "5 standard errors of the mean")
def prop_15(seeds=range(10), runs=2000):
    def of(seed):
        rng = np.random.default_rng(seed)
        mu, variance, s_b = rng.uniform(0.1, 1), rng.uniform(0, 1), rng.uniform(0, 1)
        A, b, z0 = np.r_[mu, rng.uniform(mu, 1, 2), 1.0], *rng.standard_normal((2, 4))
        beta, star, ratios = min(0.5, mu / (mu**2 + variance)), -b / A, []
        z = np.tile(z0, (runs, 1))
        drawn = b + rng.standard_normal(z.shape) * (s_b / 4) ** 0.5
        for n in range(1, 51):
            signs = rng.integers(0, 2, z.shape) * 2 - 1
            z = z - beta * ((A + variance**0.5 * signs) * z + drawn)
            mean = star + (1 - beta * A) ** n * (z0 - star)
            seen = np.mean(squares(z - star)), squares(mean - star), np.mean(squares(z - mean))
            bounds = amigo.linear_system_errors(
                steps=n, step_size=beta, smoothness=1.0, strong_convexity=mu,
                matrix_variance=variance, vector_variance=s_b,
                solution_norm=np.linalg.norm(star), initial_mse=squares(z0 - star),
            )  # fmt: skip
            ratios += [value / bound for value, bound in zip(seen, bounds, strict=True)]
            # Prop. 14: given b, the mean is the noiseless iterate on that b.
            away = z - (-drawn / A + (1 - beta * A) ** n * (z0 + drawn / A))
            error = np.abs(away.mean(0)) / (5 * away.std(0) / runs**0.5 + 1e-12)
            ratios.append(error.max())
        return ratios

    return over(seeds, of)


@statement("4.1", "eta_k <= eta_(k-1)", "mu <= eta_k")
def sequence(seeds=range(100)):
    def of(seed):
        rng = np.random.default_rng(seed)
        mu, gamma = log_uniform(rng, 1e-3, 1), np.sort(rng.uniform(0, 1, 50))[::-1]
        start = log_uniform(rng, mu, 1 / gamma[0])
        eta = amigo.outer_sequence(step_sizes=gamma, eta=start, bilevel_strong_convexity=mu)
        delta = eta[1:] * gamma
        np.testing.assert_allclose(eta[1:], (1 - delta) * eta[:-1] + mu * delta, rtol=1e-12)
        return np.stack((eta[1:] / eta[:-1], mu / eta[1:]), axis=-1)

    return over(seeds, of)
