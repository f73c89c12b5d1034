"""Who reaches what at which cost, on the coupled quadratic: a table preset x (cost, error).

    python benchmarks/coupled_quadratic.py [--seeds 0 1 2]

dx = 200, dy = 100, kappa_g = 10, rho = 0.01, N = 10, both inner steps 1 / L_g, the outer
step 1 / the largest eigenvalue of the outer Hessian, 2,000 outer steps, float64. The error
is (l(x) - l*) / (l(0) - l*), as a quadratic form in x - x*.
"""

import argparse

import jax
import jax.numpy as jnp

import bilevax as bx

PRESETS = ("amigo_cg", "amigo_gd", "aid_cg", "aid_gd", "aid_fp", "aid_n", "aid_cg_ws")
NEED_A_STEP = ("amigo_gd", "aid_gd", "aid_n")


def run(q, name: str, inner_steps: int, gamma: float):
    steps = {"adjoint_step_size": 1.0} if name in NEED_A_STEP else {}
    algorithm = getattr(bx.algorithms, name)(
        outer_step_size=gamma, inner_step_size=1.0, inner_steps=inner_steps, **steps
    )
    x0, y0 = jnp.zeros(200), jnp.zeros(100)
    solution = bx.minimize(q.problem, algorithm, x0, y0, num_steps=2000, record_every=500)
    return solution.cost.total, float(q.gap(solution.x) / q.gap(x0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    jax.config.update("jax_enable_x64", True)
    print(f"{'preset':10} {'T':>4} {'calls':>8}   relative error, seeds {seeds}")
    for inner_steps in (1, 10, 100):
        for name in PRESETS:
            results = []
            for seed in seeds:
                q = bx.problems.quadratic(
                    200, 100, inner_condition=10.0, coupling=0.01, seed=seed
                )
                gamma = 1 / float(jnp.linalg.eigvalsh(q.hessian())[-1])
                results.append(run(q, name, inner_steps, gamma))
            errors = "  ".join(f"{error:.1e}" for _, error in results)
            print(f"{name:10} {inner_steps:4d} {results[0][0]:8d}   {errors}")


if __name__ == "__main__":
    main()
