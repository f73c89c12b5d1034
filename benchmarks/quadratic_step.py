"""One AmIGO-CG outer step against the matrix products it needs, and against PyTorch.

Quadratic with dx = 2000, dy = 1000, T = N = 10, float32. The bare loop does, for each
outer step, 10 products `A_g y`, one `B_g x`, 11 `A_g p`, one `A_f x` and one `z @ B_g`,
chained so that none can be left out. That ours does as many is checked by its counts.

PyTorch, where it is installed, runs the same algorithm written as users of double
backward write it, eagerly; that it computes the same x is checked.
"""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx
from bilevax._run.loop import chunk

T = N = 10
STEPS = 40
INNER_STEP, OUTER_STEP, COUPLING = 1.0, 0.01, 0.01


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


def torch_run(q, x, y, steps: int):
    """AmIGO-CG in eager PyTorch, every product by automatic differentiation."""
    import torch

    A_f, A_g, B_g, C_f = (torch.tensor(np.asarray(a)) for a in (q.A_f, q.A_g, q.B_g, q.C_f))
    outer = lambda x, y: x @ (A_f @ x) / 2 + y @ C_f + COUPLING * (y @ y) / 2
    inner = lambda x, y: y @ (A_g @ y) / 2 + y @ (B_g @ x)
    grad = torch.autograd.grad
    x, y = torch.tensor(np.asarray(x)), torch.tensor(np.asarray(y))
    z = torch.zeros_like(y)
    for _ in range(steps):
        for _ in range(T):
            y = y.detach().requires_grad_()
            y = y - INNER_STEP * grad(inner(x, y), y)[0]
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        f_x, f_y = grad(outer(x, y), (x, y))
        (g_y,) = grad(inner(x, y), y, create_graph=True)
        hvp = lambda v, g_y=g_y, y=y: grad(g_y, y, v, retain_graph=True)[0]
        r = -(f_y + hvp(z))
        p, square = r, r @ r
        for _ in range(N):
            Hp = hvp(p)
            a = square / (p @ Hp)
            z, r = z + a * p, r - a * Hp
            p, square = r + (r @ r / square) * p, r @ r
        x = x - OUTER_STEP * (f_x + grad(g_y, x, z)[0])
    return x.detach().numpy()


def measure() -> list[Row]:
    # Coupled and ill-conditioned, so that conjugate gradient never stops early.
    q = bx.problems.quadratic(
        2000, 1000, inner_condition=1e4, coupling=COUPLING, dtype=jnp.float32
    )
    x, y = jnp.ones(2000), jnp.ones(1000)
    algorithm = bx.algorithms.amigo_cg(
        outer_step_size=OUTER_STEP,
        inner_step_size=INNER_STEP,
        inner_steps=T,
        adjoint_steps=N,
    )
    state = bx.minimize(q.problem, algorithm, x, y, num_steps=1).state.loop

    def ours():
        limits = jnp.int32(STEPS), state.step + STEPS
        return chunk(
            q.problem, algorithm, None, jnp.float32(-jnp.inf), jnp.int32(1), state, *limits
        )

    cost = jax.device_get(ours()[1]).cost
    assert (cost.inner_gradient, cost.hvp) == (STEPS * T, STEPS * (N + 1)), cost
    jobs = {"ours": ours, "bare": lambda: bare(q.A_g, q.B_g, q.A_f, x, y, y)}
    seconds = interleaved(jobs)
    ratio = seconds["ours"] / seconds["bare"]
    name, job = "quadratic 2000 x 1000", f"AmIGO-CG step, T = N = {T}"
    rows = [Row(name, job, "bare products", seconds["ours"] / STEPS, ratio, 1.3)]
    if importlib.util.find_spec("torch"):
        theirs = torch_run(q, x, y, 3)
        expected = bx.minimize(q.problem, algorithm, x, y, num_steps=3).x
        np.testing.assert_allclose(theirs, expected, rtol=1e-3, atol=1e-3)
        jobs = {"ours": ours, "torch": lambda: torch_run(q, x, y, STEPS)}
        seconds = interleaved(jobs, 5)
        ratio = seconds["torch"] / seconds["ours"]
        peer = "eager PyTorch, how many times slower"
        rows.append(Row(name, job, peer, seconds["ours"] / STEPS, ratio, larger=True))
    return rows
