"""g1, g2 and g3 of entropic transport against bare iterations of Sinkhorn.

The sizes of Ablin et al. (2020), Fig. A.3: pairs of histograms of 500 and 1000 points,
epsilon 1, kernel domain, the gradient in the histogram of 500. A bare iteration is two
products with K and two divisions, on all pairs at once. Sinkhorn here works on potentials,
and takes logarithms and exponentials beside; g3 factorises a 1500 x 1500 matrix a pair.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _timing import Row, interleaved

import bilevax as bx

_SIZE, _OTHER, _PAIRS, _IMPLICIT_PAIRS = 500, 1000, 100, 4
_STEPS = (10, 100)


@eqx.filter_jit
def _bare(kernel, xs, others, num):
    def sweep(_, state):
        u, _ = state
        v = others / (u @ kernel)
        return xs / (v @ kernel.T), v

    start = jnp.ones_like(xs), jnp.ones_like(others)
    return jax.lax.fori_loop(0, num, sweep, start)


@eqx.filter_jit
def _gradients(estimator, cost, xs, others):
    def one(x, other):
        transport = bx.problems.EntropicTransport(cost, other, 1.0, domain="kernel")
        return bx.hypergradient(transport.problem, estimator, x, transport.y0()).gradient

    return jax.vmap(one)(xs, others)


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    random = np.random.RandomState(0)
    cost = jnp.asarray(np.sum((random.randn(_SIZE, 1, 2) - random.randn(_OTHER, 2)) ** 2, -1))
    draw = lambda size: jnp.asarray(random.dirichlet(np.full(size, 5.0), _PAIRS))
    xs, others, kernel = draw(_SIZE), draw(_OTHER), jnp.exp(-cost)
    rows = []
    for t in _STEPS:
        few = slice(_IMPLICIT_PAIRS)
        jobs = {
            "bare": lambda t=t: _bare(kernel, xs, others, jnp.asarray(t)),
            "g1": _job(bx.Analytic(bx.Sinkhorn(t)), cost, xs, others),
            "g2": _job(bx.Unrolled(bx.Sinkhorn(t)), cost, xs, others),
            "bare, few": lambda t=t, few=few: _bare(
                kernel, xs[few], others[few], jnp.asarray(t)
            ),
            "g3": _job(bx.Implicit(bx.Sinkhorn(t), bx.Direct()), cost, xs[few], others[few]),
        }
        seconds = interleaved(jobs, repeats=5)
        for name, against, pairs in (
            ("g1", "bare", _PAIRS),
            ("g2", "bare", _PAIRS),
            ("g3", "bare, few", _IMPLICIT_PAIRS),
        ):
            row = seconds[name], seconds[name] / seconds[against]
            rows.append(
                Row("transport", f"{name}, {pairs} pairs, t = {t}", f"{t} bare sweeps", *row)
            )
    jax.config.update("jax_enable_x64", False)
    return rows


def _job(estimator, *arguments):
    return lambda: _gradients(estimator, *arguments)
