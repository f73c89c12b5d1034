"""One AmIGO-CG outer step against a bare loop of the matrix products it needs.

    python benchmarks/quadratic_step.py [--out FILE]

Quadratic with dx = 2000, dy = 1000, T = N = 10, float32. The bare loop does, for each
outer step, 10 products `A_g y`, one `B_g x`, 11 `A_g p`, one `A_f x` and one `z @ B_g`,
chained so that none can be left out. That ours does as many is checked by its counts.
"""

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
from _timing import interleaved

import bilevax as bx
from bilevax._loop import chunk

T = N = 10
STEPS = 40


@jax.jit
def bare(A_g, B_g, A_f, x, y, z):
    def step(carry, _):
        x, y, z = carry
        bx_ = B_g @ x
        y = jax.lax.fori_loop(0, T, lambda _, y: 0.5 * (A_g @ y + bx_), y)
        z = jax.lax.fori_loop(0, N + 1, lambda _, z: A_g @ z + 1e-3 * y, z)
        x = 0.5 * (A_f @ x) + z @ B_g
        x = x / (1 + jnp.max(jnp.abs(x)))
        return (x, y, z), None

    return jax.lax.scan(step, (x, y, z), None, length=STEPS)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path)
    out = parser.parse_args().out

    # Coupled and ill-conditioned, so that conjugate gradient never stops early.
    q = bx.problems.quadratic(2000, 1000, inner_condition=1e4, coupling=0.01, dtype=jnp.float32)
    x, y = jnp.ones(2000), jnp.ones(1000)
    algorithm = bx.algorithms.amigo_cg(
        outer_step_size=0.01, inner_step_size=1.0, inner_steps=T, adjoint_steps=N
    )
    state = bx.minimize(q.problem, algorithm, x, y, num_steps=1).state.loop

    def ours():
        limits = jnp.int32(STEPS), state.step + STEPS
        carry, _ = chunk(
            q.problem, algorithm, None, jnp.float32(-jnp.inf), jnp.int32(1), state, *limits
        )
        return carry

    cost = ours().cost.on_host()
    assert (cost.inner_gradient, cost.hvp) == (STEPS * T, STEPS * (N + 1)), cost
    seconds = interleaved(
        {"amigo_cg": ours, "bare": lambda: bare(q.A_g, q.B_g, q.A_f, x, y, y)}
    )
    ratio = seconds["amigo_cg"] / seconds["bare"]
    row = {
        "benchmark": "quadratic_step",
        "milliseconds a step": 1e3 * seconds["amigo_cg"] / STEPS,
        "bare milliseconds a step": 1e3 * seconds["bare"] / STEPS,
        "ratio": ratio,
        "target": 1.3,
    }
    for name, value in row.items():
        print(f"{name:28} {value if isinstance(value, str) else f'{value:.3f}'}")
    if out:
        out.write_text(json.dumps(row, indent=2) + "\n")


if __name__ == "__main__":
    main()
