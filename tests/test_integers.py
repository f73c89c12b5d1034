"""Random integers are those of `jax.random.randint`, whatever they are drawn for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bilevax._core.integers import uniform_integers

SHAPES = [(), (3,), (10, 64)]


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("num", [0, 1, 2, 7, 20_032, 2**31 - 1])
def test_they_are_those_of_jax(num, x64):
    with jax.enable_x64(x64):
        for shape in SHAPES:
            key = jax.random.key(num % 1000)
            ours, theirs = (
                uniform_integers(key, shape, num),
                jax.random.randint(key, shape, 0, num),
            )
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


def test_many_keys_and_a_number_that_is_traced():
    draw = lambda of: jax.jit(jax.vmap(lambda key, num: of(key, num), in_axes=(0, 0)))
    keys, nums = jax.random.split(jax.random.key(1), 5), jnp.arange(1, 6) * 99
    ours = draw(lambda key, num: uniform_integers(key, (4,), num))(keys, nums)
    theirs = draw(lambda key, num: jax.random.randint(key, (4,), 0, num))(keys, nums)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("key", [jax.random.PRNGKey(4), jax.random.key(4, impl="rbg")])
def test_other_kinds_of_keys(key):
    theirs = jax.random.randint(key, (5,), 0, 99)
    np.testing.assert_array_equal(uniform_integers(key, (5,), 99), theirs)
