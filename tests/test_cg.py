"""Conjugate gradient at any scale, and what it says of matrices that are not positive."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bilevax as bx
from bilevax.solvers._equation import AdjointEquation
from doubles import Counted, Counter


@jax.jit
@jax.vmap
def solve(H, b):
    """H z = -b from zero, in many more products than there are directions."""
    problem = bx.BilevelProblem(outer=lambda x, y: b @ y, inner=lambda x, y: y @ H @ y / 2)
    estimator = bx.Implicit(bx.GradientDescent(1e-30, 1), bx.CG(15))
    h = bx.hypergradient(problem, estimator, jnp.zeros((), b.dtype), jnp.zeros_like(b))
    return h.adjoint, h.result


def names(results):
    """Those of the codes, one a system."""
    codes = ("successful", "indefinite", "singular", "adjoint_nonfinite")
    told = {code: np.asarray(results == getattr(bx.Result, code)) for code in codes}
    return [next(code for code in codes if told[code][i]) for i in range(len(told[codes[0]]))]


def rotation(seed, size):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def test_every_scale_of_float32():
    """Beside dense solves in float64, wherever the solution is a number of float32."""
    exponents = (-20, -10, 0, 10, 20)
    Q, b = rotation(0, 4), np.random.default_rng(1).normal(size=4)
    unit = (Q * np.array([1.0, 5.0, 20.0, 100.0])) @ Q.T
    scales = [(10.0**i, 10.0**j) for i in exponents for j in exponents if abs(j - i) < 36]
    Hs = np.float32([s * unit for s, _ in scales])
    bs = np.float32([s * b for _, s in scales])
    zs, results = solve(Hs, bs)
    assert names(results) == ["successful"] * len(scales)
    for H, b, z in zip(Hs.astype(float), bs.astype(float), np.asarray(zs), strict=True):
        exact = -np.linalg.solve(H, b)
        assert np.linalg.norm(z - exact) < 1e-4 * np.linalg.norm(exact)


SADDLE = np.diag([1.0, -1.0, 1.0])
SWAP = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
FAINT = np.diag([1.0, 0.0, 0.0]) + 1e-5 * np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]])
FLAT = np.diag([1.0, 0.0, 2.0])
PAIR = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
# The matrix, its right-hand side, and what is true of it on the directions that it opens.
NAMED = [
    (SADDLE, (1, 1, 0), "indefinite"),  # p^T H p = 0 at once
    (SADDLE, (1, -1, 0), "indefinite"),
    (SADDLE, (1, 1, 1), "indefinite"),
    (SADDLE, (1, 0, 0), "successful"),
    (SADDLE, (0, 1, 0), "indefinite"),
    (SWAP, (1, 0, 0), "indefinite"),
    (SWAP, (1, 1, 0), "successful"),
    (SWAP, (1, -1, 0), "indefinite"),
    (FAINT, (1, 1, 0), "indefinite"),
    (-np.eye(3), (1, 1, 1), "indefinite"),
    (FLAT, (1, 1, 0), "singular"),
    (FLAT, (1, 1, 1), "singular"),
    (FLAT, (0, 1, 0), "singular"),
    (FLAT, (1, 0, 1), "successful"),
    (PAIR, (1, 0, 0), "singular"),
    (PAIR, (1, 1, 1), "successful"),
    (np.zeros((3, 3)), (1, 2, 3), "singular"),
    (np.diag([1e6, 1.0, 2.0]), (1, 1, 1), "successful"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saddles_and_kernels_are_told_apart(dtype):
    cases = [(s * H, b, name) for s in (1e-20, 1.0, 1e20) for H, b, name in NAMED]
    Hs, bs = (np.array([case[i] for case in cases], dtype) for i in (0, 1))
    zs, results = solve(Hs, bs)
    assert names(results) == [name for *_, name in cases]
    assert np.all(np.isfinite(zs))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rotated_matrices(dtype):
    """Neither zeros nor signs are in the entries; rounding makes the kernel curved."""
    random, cases = np.random.default_rng(0), []
    for seed in range(40):
        Q, b = rotation(seed, 4), random.normal(size=4)
        for smallest, name in ((-0.3, "indefinite"), (0.0, "singular"), (0.3, "successful")):
            values = np.array([smallest, *random.uniform(0.3, 2.0, 3)])
            H = (Q * values) @ Q.T
            cases.append(((H + H.T) / 2, b, name))
    Hs, bs = (np.array([case[i] for case in cases], dtype) for i in (0, 1))
    zs, results = solve(Hs, bs)
    assert names(results) == [name for *_, name in cases]
    good = np.asarray(results == bx.Result.successful)
    residual = np.einsum("kij,kj->ki", Hs, zs)[good] + bs[good]
    assert np.abs(residual).max() < 100 * np.finfo(dtype).eps


def test_all_products_are_counted():
    """Also those that confirm a small curvature, or look across it."""
    counter = Counter()

    @jax.jit
    def run(H, b):
        plain = bx.BilevelProblem(outer=lambda x, y: b @ y, inner=lambda x, y: y @ H @ y / 2)
        problem: Any = Counted(plain, counter)  # pyright: ignore[reportCallIssue]
        estimator = bx.Implicit(bx.GradientDescent(1e-30, 1), bx.CG(9))
        state = estimator.init(problem, jnp.zeros(()), jnp.zeros(3))
        _, _, cost, result = estimator(problem, jnp.zeros(()), state, jax.random.key(0))
        return cost.hvp, result

    extra = {}
    for name, H, b in (
        ("saddle", SADDLE, (1, 1, 0)),
        ("down", -np.eye(3), (1, 1, 1)),
        ("flat", FLAT, (0, 1, 0)),
        ("rounded", FLAT + 1e-17, (1, 1, 1)),
        ("stiff", np.diag([1e17, 1.0, 2.0]), (1, 1, 1)),
    ):
        counter.calls.clear()
        told, _ = run(jnp.asarray(H, float), jnp.asarray(b, float))
        jax.effects_barrier()
        extra[name] = int(told)
        assert told == counter.calls["hvp"], name
    # The first residual, the product along p, and the one across.
    assert [extra[name] for name in ("saddle", "down", "flat")] == [3, 3, 3]
    assert extra["stiff"] > 4


def test_an_unknown_of_several_arrays_is_one_vector():
    """Warm-started, over several outer steps; a preconditioner is given trees."""
    rng = np.random.default_rng(0)
    root, B, c = rng.normal(size=(9, 9)), rng.normal(size=(9, 3)), rng.normal(size=9)
    H = root @ root.T + np.eye(9)
    inverse = jnp.asarray(1 / np.diag(H))
    flat = bx.BilevelProblem(
        outer=lambda x, y: c @ y + x @ x / 2 + jnp.sum(y**3) / 9,
        inner=lambda x, y: y @ H @ y / 2 - y @ (B @ x),
    )
    join = lambda tree: jnp.concatenate([tree["a"].ravel(), tree["b"]])
    split = lambda y: {"a": y[:6].reshape(2, 3), "b": y[6:]}
    several = bx.BilevelProblem(
        outer=lambda x, tree: flat.outer(x, join(tree)),
        inner=lambda x, tree: flat.inner(x, join(tree)),
    )
    y0 = jnp.asarray(rng.normal(size=9))
    for one, many in (
        (None, None),
        (lambda x, y, r: inverse * r, lambda x, y, r: split(inverse * join(r))),
    ):
        runs = []
        for problem, y, preconditioner in ((flat, y0, one), (several, split(y0), many)):
            estimator = bx.Implicit(
                bx.GradientDescent(0.02, 3), bx.CG(4, preconditioner=preconditioner)
            )
            algorithm = bx.Algorithm(estimator, 0.05)
            runs.append(bx.minimize(problem, algorithm, jnp.ones(3), y, num_steps=12))
        a, b = runs
        np.testing.assert_allclose(b.x, a.x, rtol=1e-12)
        np.testing.assert_allclose(join(b.adjoint), a.adjoint, rtol=1e-12)
        assert a.cost == b.cost and b.adjoint["a"].shape == (2, 3)


def test_before_the_first_solve_nothing_is_nan(x32):
    """The zeros that a state starts with are known to the compiler, which may reorder them."""
    problem = bx.BilevelProblem(lambda x, y: jnp.sum(y**2), lambda x, y: jnp.sum((y - x) ** 2))

    @jax.jit
    def start():
        zeros = jnp.zeros(3)
        return bx.CG(2).init(AdjointEquation(problem, zeros, zeros, zeros), zeros).method

    numbers = [
        leaf for leaf in jax.tree.leaves(start()) if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in numbers)
