"""The mean of twenty drawings, as transport sees it.

    python examples/barycentre.py [--seed 0] [--output FOLDER]

Each drawing is two nested ellipses, somewhere on 40 x 40 pixels. The mean of the pixels is a
blur, and the Wasserstein barycentre two nested ellipses: it moves ink instead of mixing it.
It is found by mirror descent with the analytic gradient, which is the potential that
Sinkhorn's algorithm ends with. The drawings are those of Cuturi and Doucet (ICML 2014).
"""

import argparse
import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import bilevax as bx

SIDE, DRAWINGS, STEPS, SHOWN = 40, 20, 200, 4
EPSILON = 0.003  # in squared widths of the picture: what transport blurs


def drawings(seed: int) -> np.ndarray:
    """One drawing a row: ink of sum 1, with a little in every pixel."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)

    def ring(centre, axes):
        radius = np.hypot((rows - centre[0]) / axes[0], (columns - centre[1]) / axes[1])
        return np.abs(radius - 1) * axes.min() < 0.7 / SIDE

    pictures = np.full((DRAWINGS, SIDE, SIDE), 1e-4)
    for picture in pictures:
        centre, axes = random.uniform(0.35, 0.65, 2), random.uniform(0.15, 0.33, 2)
        for size in (1.0, random.uniform(0.4, 0.6)):
            picture += ring(centre, size * axes)
    flat = pictures.reshape(DRAWINGS, -1)
    return flat / flat.sum(axis=1, keepdims=True)


def barycentre(rows: np.ndarray) -> bx.Solution:
    """Mirror descent from the uniform histogram, on warm-started potentials."""
    pixels = np.mgrid[:SIDE, :SIDE].reshape(2, -1).T / (SIDE - 1)
    cost = np.sum((pixels[:, None] - pixels) ** 2, axis=-1)
    transport = bx.problems.EntropicTransport(cost, rows, EPSILON, domain="kernel")
    step = 1 / (2 * DRAWINGS * EPSILON)
    return bx.minimize(
        bx.problems.wasserstein_barycentre(transport),
        bx.Algorithm(bx.Analytic(bx.Sinkhorn(5)), *bx.mirror_descent(step)),
        jnp.full(SIDE**2, 1 / SIDE**2),
        transport.y0(),
        num_steps=STEPS,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("results"))
    arguments = parser.parse_args()
    # exp(-cost / epsilon) is below what float32 can hold.
    jax.config.update("jax_enable_x64", True)
    rows, started = drawings(arguments.seed), time.perf_counter()
    solution = barycentre(rows)
    print(bx.Result[solution.result] or "The run succeeded.")
    panels = {f"drawing {i + 1}": row for i, row in enumerate(rows[:SHOWN])}
    panels |= {"mean of pixels": rows.mean(axis=0), "barycentre": np.asarray(solution.x)}
    figure, all_axes = plt.subplots(1, len(panels), figsize=(10, 2), layout="constrained")
    for axes, (title, picture) in zip(all_axes, panels.items(), strict=True):
        axes.imshow(picture.reshape(SIDE, SIDE), cmap="gray_r")
        axes.set(title=title, xticks=[], yticks=[])
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "barycentre.png"
    figure.savefig(path, dpi=150)
    print(f"{time.perf_counter() - started:.1f} s. Written: {path}")


if __name__ == "__main__":
    main()
