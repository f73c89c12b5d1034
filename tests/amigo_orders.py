"""The AmIGO paper's rates and orders against runs: Prop. 11 and appendices A.4 and A.5.

    PYTHONPATH=src:tests python tests/amigo_orders.py

prints the table of all statements: how many instances, and the largest lhs / rhs.
"""

import numpy as np

from amigo_model import Model, squares
from amigo_statements import STATEMENTS, log_uniform, over, statement
from bilevax.theory import amigo


def nesterov(H):
    """Steps of size 1 at smoothness 1."""
    root = min(H) ** 0.5

    def step(y, w):
        ahead = w - H * w
        return ahead, ahead + (1 - root) / (1 + root) * (ahead - y)

    return step


@statement("A.5.1: Nesterov, kappa up to 1e4")
def accelerated(seeds=range(10)):
    def of(seed):
        rng = np.random.default_rng(seed)
        kappa, start = log_uniform(rng, 2, 1e4), rng.standard_normal(6)
        H = np.r_[1 / kappa, rng.uniform(1 / kappa, 1, 4), 1.0]
        (y, w), step, errors = (start, start), nesterov(H), []
        for _ in range(400):
            errors.append(squares(y))
            y, w = step(y, w)
        bound = amigo.accelerated_mse(
            steps=np.arange(400),
            smoothness=1.0,
            strong_convexity=1 / kappa,
            initial_mse=start @ start,
        )
        return (np.array(errors) / bound)[bound > 1e-20]

    return over(seeds, of)


@statement("A.5.2: SAG, n = 20, T = 8000")
def sag(seeds=range(3), runs=20):
    def of(seed):
        rng = np.random.default_rng(seed)
        a, b = rng.uniform(0.2, 1, (20, 3)), rng.standard_normal((20, 3))
        mean, star = a.mean(0), b.mean(0) / a.mean(0)
        y, table, ratios, rows = (
            np.zeros((runs, 3)),
            np.zeros((20, runs, 3)),
            [],
            np.arange(runs),
        )
        total = table.sum(0)
        for t in range(8001):
            if t in (0, 10, 100, 1000, 8000):
                bound = amigo.sag_mse(
                    steps=t, num_rows=20, smoothness=1.0, strong_convexity=float(min(mean)),
                    noise_at_solution=np.mean(squares(a * star - b)), initial_mse=star @ star,
                )  # fmt: skip
                ratios.append(np.mean(squares(y - star)) / bound)
            i = rng.integers(20, size=runs)
            new = a[i] * y - b[i]
            total, table[i, rows] = total + new - table[i, rows], new
            y = y - total / 20 / 40
        return ratios

    return over(seeds, of)


def unit_constants(condition, third=0.0):
    """Those of 1 but for mu_g and M_g."""
    return amigo.Constants(
        strong_convexity=1 / condition, smoothness=1.0, cross_smoothness=1.0,
        derivative_lipschitz=third, outer_smoothness=1.0, outer_lipschitz=1.0,
        bilevel_smoothness=1.0, bilevel_strong_convexity=0.1,
    )  # fmt: skip


@statement("Prop. 10", "T / kappa_g <= 4 ln kappa_g + c", "N / kappa_g <= 32 ln kappa_g + c")
def growth():
    kappas = np.geomspace(5, 5e6, 13)
    counts = np.array([amigo.steps(constants=unit_constants(k))[-2:] for k in kappas])
    shares = counts / kappas[:, None]
    return np.ravel((shares[1:] - shares[0]) / (np.log(kappas[1:, None] / 5) * [4, 32]))


@statement("Prop. 6 and A.4.2, orders in kappa_g", "L_y", "L_z", "L_psi", "L")
def orders():
    names = ("solution", "adjoint", "hypergradient")
    ratios = []
    # With a constant Hessian, M_g = 0, the last is 2 in place of 3.
    for third, expected in ((1.0, (1, 2, 2, 3)), (0.0, (1, 1, 1, 2))):
        cs = [unit_constants(k, third) for k in (1e5, 1e6)]
        cs = [amigo.Constants(**vars(c) | {"bilevel_smoothness": None}) for c in cs]
        found = np.log10([
            [*(getattr(c, f"{n}_lipschitz") for n in names), c.gradient_lipschitz] for c in cs
        ])  # fmt: skip
        ratios += list((found[1] - found[0]) / expected)
    return np.array(ratios)


@statement("Prop. 11: the product of 1 - 8 / (3 (i + k_a))")
def prop_11_product():
    starts, k = np.array([[35.0], [100.0], [1e4]]), np.arange(1, 20_001)
    logs = np.cumsum(np.log1p(-8 / (3 * (k - 1 + starts))), axis=1)
    return np.ravel(np.exp(logs - 8 / 3 * np.log(starts / (k + starts))))


@statement("Prop. 11", "k from the bound <= sqrt 2 k", ">= k", "k N <= C", "not convex")
def prop_11(seeds=range(200)):
    def of(seed):
        rng = np.random.default_rng(seed)
        kappa, outer, eps = (log_uniform(rng, *of) for of in ((1, 1e3), (1, 1e3), (1e-8, 0.1)))
        mu_g = 1 / kappa
        mu = mu_g**-3 / outer
        plan = amigo.ttsa_plan(accuracy=eps, inner_condition=kappa, outer_condition=outer)
        k = (mu_g**-6 * mu ** (-1 / 3) * (1 + mu**-2) / eps) ** 1.5
        other = amigo.ttsa_plan(accuracy=eps, inner_condition=kappa)
        shares = [p.outer_steps * p.adjoint_steps / p.cost for p in (plan, other)]
        return [k / (2**0.5 * plan.outer_steps), plan.outer_steps / k, *shares]

    return over(seeds, of)


@statement("Prop. 11: TTSA, E|x - x*|^2 k^(2/3) against its value at k = 100")
def ttsa(seeds=range(2), runs=200, num_steps=2000):
    def of(seed):
        model, rng = Model.random(seed, noise=1.0), np.random.default_rng(seed)
        c, d, found = model.constants, len(model.A), []
        x, y, size = np.full((runs, d), 2.0), np.zeros((runs, d)), (runs, d)
        draw = lambda variance: np.sqrt(variance / d) * rng.standard_normal(size)
        for k in range(num_steps):
            found.append(np.mean(squares(x - model.x_star)))
            y = y - (k + 10) ** (-2 / 3) * (
                model.A * y + x @ model.B.T + draw(c.inner_variance)
            )
            v, p = model.f_y(y) + draw(c.outer_variance), rng.integers(0, 10, (runs, 1))
            z = -10 * (1 - model.A) ** p * v  # hia_b with eta = 1, b = 10
            x = x - 4 / (k + 40) * (model.a * x + z @ model.B)
        scaled = np.array(found)[100:] * np.arange(100, num_steps) ** (2 / 3)
        return scaled[1:] / scaled[0]

    return over(seeds, of)


def heavy_ball(H):
    """With the step and momentum of AccBiO's adjoint."""
    low, high = min(H) ** 0.5, max(H) ** 0.5
    step_size = 4 / (high + low) ** 2
    factors = [(1 - step_size**0.5 * root) ** 2 for root in (low, high)]
    return lambda z, before: (z - step_size * H * z + max(factors) * (z - before), z)


def three_sequences(H):
    """AccBiO's outer loop at a = 1 / (2L), with exact hypergradients."""
    mu, a = min(H), 1 / (2 * max(H))
    tau, b = (a * mu) ** 0.5 / 2, (a / mu) ** 0.5
    e = 2 * tau / (2 * tau + 2)

    def step(x, other):
        mixed = e * x + (1 - e) * other
        return tau * mixed + (1 - tau) * x - b * H * mixed, mixed - a * H * mixed

    return step


@statement("A.4.2, AccBiO", "k <= twice its order", "T", "N")
def accbio():
    """On quadratics with spectra in [1 / kappa, 1], to 1e-8 of the squared error at first."""
    ratios = []
    for kappa in np.geomspace(10, 1e4, 4):
        H, start = np.geomspace(1 / kappa, 1, 20), np.ones(20)
        known = {"inner_condition": kappa, "outer_condition": kappa}
        _, *counts = amigo.accbio_plan(accuracy=1e-8, **known)
        for make, order in zip((three_sequences, nesterov, heavy_ball), counts, strict=False):
            u, other, count, step = start, start, 0, make(H)
            while max(squares(u), squares(other)) > 1e-8 * squares(start):
                (u, other), count = step(u, other), count + 1
            ratios.append(count / (2 * order))
    return np.array(ratios)


@statement("Eq. 8", "Cor. 3 <= k (T + N + 2)", "<= 4 Cor. 3", "Cor. 1", "4 Cor. 1")
def corollaries(seeds=range(100)):
    def of(seed):
        rng = np.random.default_rng(seed)
        known = {"accuracy": log_uniform(rng, 1e-8, 0.1)}
        known["inner_condition"] = log_uniform(rng, 1, 1e6)
        ratios = []
        for outer in (None, log_uniform(rng, 1, 1e6)):
            cost, *counts = amigo.amigo_plan(**known, outer_condition=outer)
            names = "outer_steps", "inner_steps", "adjoint_steps"
            full = amigo.paper_cost(**dict(zip(names, counts[:3], strict=True)))
            ratios += [cost / full, full / (4 * cost)]
        return ratios

    return over(seeds, of)


def main():
    print(f"{'statement':72} {'instances':>9} {'largest lhs / rhs':>18}")
    for name, kept in STATEMENTS.items():
        largest, instances = kept.largest()
        for part, ratio in largest.items():
            print(f"{name + (': ' + part if part else ''):72} {instances:9d} {ratio:18.3g}")


if __name__ == "__main__":
    main()
