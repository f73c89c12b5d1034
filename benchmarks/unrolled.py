"""Time, memory and compile time of the estimators as the inner loop grows.

    python benchmarks/unrolled.py [--out FILE]

The value function of a regularised logistic loss, n = 50 rows, m = 100 numbers in y,
float64, T gradient steps. Memory is what the compiled program needs beside its arguments
and results; times are medians, as ratios to the analytic estimator's.
"""

import argparse
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from _timing import interleaved

import bilevax as bx

STEPS = (64, 256, 1024, 4096)


def logistic(n: int = 50, m: int = 100, seed: int = 9, weight: float = 0.02):
    rng = np.random.RandomState(seed)
    D, x = jnp.asarray(rng.randn(n, m)), jnp.asarray(rng.randn(n))

    def loss(x, y, rows):
        return jnp.mean(jnp.logaddexp(0, -x * (rows @ y))) + weight * jnp.sum(y**2) / 2

    step = 1 / (np.linalg.norm(np.asarray(x)[:, None] * D, 2) ** 2 / (4 * n) + weight)
    return loss, D, x, jnp.zeros(m), step


def estimators(step: float, num: int):
    inner = bx.GradientDescent(step, num)
    return {
        "analytic": bx.Analytic(inner),
        "automatic": bx.Unrolled(inner),
        "checkpoint sqrt": bx.Unrolled(inner, checkpoint="sqrt"),
        "checkpoint step": bx.Unrolled(inner, checkpoint="step"),
        "last sqrt(T)": bx.Unrolled(inner, last=int(num**0.5)),
        "forward": bx.Unrolled(inner, mode="forward"),
        "implicit": bx.Implicit(inner, bx.Direct()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path)
    out = parser.parse_args().out
    jax.config.update("jax_enable_x64", True)
    loss, D, x, y, step = logistic()
    rows = []
    columns = f"{'ms':>8} {'ratio':>6} {'temporary kB':>13} {'compile s':>10}"
    print(f"{'T':>5} {'estimator':16} {columns}")
    for num in STEPS:
        jobs, memory, compile_seconds = {}, {}, {}
        for name, estimator in estimators(step, num).items():
            program = jax.jit(
                lambda D, x, estimator=estimator: (
                    bx.hypergradient(bx.MinProblem(loss, D), estimator, x, y).gradient
                )
            )
            start = time.perf_counter()
            compiled = program.lower(D, x).compile()
            compile_seconds[name] = time.perf_counter() - start
            memory[name] = compiled.memory_analysis().temp_size_in_bytes
            jobs[name] = lambda compiled=compiled: compiled(D, x)
        seconds = interleaved(jobs, repeats=7)
        for name in jobs:
            row = {
                "T": num,
                "estimator": name,
                "milliseconds": 1e3 * seconds[name],
                "ratio to analytic": seconds[name] / seconds["analytic"],
                "temporary bytes": memory[name],
                "compile seconds": compile_seconds[name],
            }
            rows.append(row)
            print(
                f"{num:5d} {name:16} {row['milliseconds']:8.2f} "
                f"{row['ratio to analytic']:6.2f} {memory[name] / 1e3:13.1f} "
                f"{compile_seconds[name]:10.2f}"
            )
    print("growth of the temporary memory in T, as an exponent:")
    for name in estimators(step, 2):
        sizes = [row["temporary bytes"] for row in rows if row["estimator"] == name]
        exponent = np.polyfit(np.log(STEPS), np.log(sizes), 1)[0]
        print(f"      {name:16} {exponent:6.2f}")
    if out:
        out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
