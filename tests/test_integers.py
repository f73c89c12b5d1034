"""Random integers are those of `jax.random.randint`, whatever they are drawn for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bilevax._core.integers import Draw, all_drawn, uniform_integers
from bilevax._core.keys import fold_in, split, split_each

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


@pytest.mark.parametrize("x64", [False, True])
def test_keys_are_split_and_folded_as_jaxs(x64):
    with jax.enable_x64(x64):
        key, kinds = jax.random.key(6), [jax.random.key(6, impl="rbg"), jax.random.PRNGKey(6)]
        data = jax.random.key_data
        for one in (key, *kinds):
            np.testing.assert_array_equal(data(split(one, 3)), data(jax.random.split(one, 3)))
            for number in (2**32 - 1, jnp.int32(-1)):
                ours, theirs = fold_in(one, number), jax.random.fold_in(one, number)
                np.testing.assert_array_equal(data(ours), data(theirs))
        many = jax.random.split(key, 4)
        theirs = jax.vmap(lambda one: jax.random.split(one, 3), out_axes=1)(many)
        np.testing.assert_array_equal(data(split_each(many, 3)), data(theirs))
        steps = jnp.arange(5, dtype=jnp.int32)
        each = jax.vmap(lambda one: jax.vmap(lambda i: jax.random.fold_in(one, i))(steps))
        np.testing.assert_array_equal(data(fold_in(many[:, None], steps)), data(each(many)))


@pytest.mark.parametrize("x64", [False, True])
def test_draws_of_many_sizes_at_once(x64):
    with jax.enable_x64(x64):
        keys = jax.random.split(jax.random.key(7), 6)
        shapes, nums = [(1, 4), (3, 4), (2, 5)], [9, 2**31 - 1, 77]
        draws = [Draw.of(keys, shape, num) for shape, num in zip(shapes, nums, strict=True)]
        draws.append(Draw.of(keys, (1, 4), 8).reshape(2, 3, 4))
        *drawn, apart = all_drawn(draws)
        for ours, shape, num in zip(drawn, shapes, nums, strict=True):
            theirs = [jax.random.randint(key, shape, 0, num) for key in keys]
            np.testing.assert_array_equal(ours, theirs)
        assert apart.shape == (2, 3, 4)
        np.testing.assert_array_equal(apart[1, 2], jax.random.randint(keys[5], 4, 0, 8))
