"""Parts of a program that are computations of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bilevax._core.in_order import in_order

A = np.random.default_rng(0).standard_normal((5, 5))


def work(x):
    """Several operations; `jnp.where` is a function of its own to JAX."""
    return jnp.where(x > 0, jnp.asarray(A) @ x, -x), {"sum": jnp.sum(x), "yes": True}


def in_loop(function):
    return lambda x: jax.lax.fori_loop(0, 3, lambda _, x: jnp.tanh(function(x)[0]), x)


def test_equal():
    x = A[0]
    expected, found = work(x), in_order(work)(x)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-14)
    jax.tree.map(close, found, expected)


TRANSFORMS = {
    "jit": (jax.jit, A[0]),
    "vmap": (jax.vmap, A),
    "vmap of jit": (lambda f: jax.vmap(jax.jit(f)), A),
    "jvp": (lambda f: lambda x: jax.jvp(f, (x,), (x + 1,))[1], A[0]),
    "vmap of vjp": (lambda f: jax.vmap(lambda x: jax.vjp(f, x)[1](x)[0]), A),
    "jacobian": (jax.jacobian, A[0]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("around", [in_loop, lambda f: lambda x: f(x)[0]], ids=["loop", "bare"])
def test_transformed(name, around):
    transform, x = TRANSFORMS[name]
    expected, found = (transform(around(f))(x) for f in (work, in_order(work)))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def parts(function) -> int:
    """The computations that the compiled program keeps apart."""
    program = jax.jit(function).lower(A[0]).compile().as_text()
    return sum(" call(" in line and "inlineable" in line for line in program.splitlines())


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="parts are for CPUs")
def test_stands_apart_in_the_compiled_program():
    assert parts(in_loop(work)) == 0
    assert parts(in_loop(in_order(work))) == 1, "and what it calls is merged with it"


def test_elsewhere_it_is_the_function_itself(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert parts(in_loop(in_order(work))) == 0
