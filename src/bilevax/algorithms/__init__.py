"""Published methods as presets: a reference, defaults, and one expression each.

Arguments that presets share, keyword-only:

- `outer_step_size`: $\\gamma$, a float, a schedule of the outer step k, or an optax
  transformation; always to be given;
- `inner_step_size`: $\\alpha$, and `adjoint_step_size`: $\\beta$ (or $\\eta$), floats or
  schedules; left out, 1 / smoothness of the inner problem, measured where a run starts;
- `inner_steps`: T, and `adjoint_steps`: N, ints or functions of the outer step k. Where z
  starts cold they are to grow, such as $\\lfloor 1000 \\ln k \\rfloor$ with k from 1 (Arbel and
  Mairal 2022, F.1): `lambda k: jnp.maximum(1, 1000 * jnp.log(k + 1)).astype(int)`. `itd` then
  needs `max_inner_steps`;
- of single-loop methods `batch_size`, `inner_batch_size` and `outer_batch_size`: one batch of
  each level serves all oracles of a step;
- otherwise `batch_size`, or one an oracle: `inner_batch_size`, `hvp_batch_size`,
  `cross_batch_size`, `outer_batch_size`; an int (fresh random rows at every call; one
  draw for all products of a conjugate gradient solve), a sampler, or `None` (all rows).

`table()` has all of them in rows: what they are made of, what they cost and what is known.
"""

import difflib

from ._accbio import accbio
from ._amigo import aid_cg, aid_cg_ws, aid_fp, aid_gd, aid_n, amigo_cg, amigo_gd
from ._amigo_variants import amigo_accelerated, amigo_sag
from ._ba import ba
from ._catalogue import table as table
from ._first_order import bome, f2sa, pzobo
from ._itd import itd, reverse
from ._recursive import mrbo, sustain, vrbo
from ._sid import sid
from ._single_loop import fsla, ma_soba, saba, soba, srba
from ._stocbio import aid_bio, stocbio
from ._two_timescale import bsa, ttsa

__all__ = [
    "accbio",
    "aid_bio",
    "aid_cg",
    "aid_cg_ws",
    "aid_fp",
    "aid_gd",
    "aid_n",
    "amigo_accelerated",
    "amigo_cg",
    "amigo_gd",
    "amigo_sag",
    "ba",
    "bome",
    "bsa",
    "f2sa",
    "fsla",
    "itd",
    "ma_soba",
    "mrbo",
    "pzobo",
    "reverse",
    "saba",
    "sid",
    "soba",
    "srba",
    "stocbio",
    "sustain",
    "ttsa",
    "vrbo",
]


def __getattr__(name: str):
    near = difflib.get_close_matches(name, __all__, 1, cutoff=0.5)
    meant = f" Did you mean {near[0]!r}?" if near and not name.startswith("_") else ""
    raise AttributeError(f"There is no preset {name!r}.{meant} There are {', '.join(__all__)}.")
