"""The rules H1 to H6 on 20 Newsgroups.

H5 and H6 come from the paper's text alone; thresholds of the others from runs of seed 0.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..._run.minimize import minimize
from ...problems import penalised_logistic
from .._outcome import Check, at_least, at_most, reported, within
from ._adjoint import Adjoint
from ._learning import Learned, algorithm
from ._posts import Posts

_BETA, _COUNT = 10.0, 10
# Whose adjoints are carried on; H3 asks what it is worth, after these outer steps.
CARRIED = ("amigo_gd", "amigo_cg")
_STEPS = (6, 12)
# Relative errors of hypergradients by the outer step: of the carried adjoint, and of the other.
Errors = Mapping[int, tuple[float, float]]


def levels(whole: Learned) -> list[Check]:
    """H1 and H4: the accuracies of AmIGO-CG on all rows."""
    checks = [
        at_least("H1 test accuracy at k = 60", whole.at(60, "test accuracy"), 0.74),
        at_least("H1 test accuracy at k = 400", whole.at(400, "test accuracy"), 0.79),
        at_least("H1 validation accuracy at k = 400", whole.at(400, "accuracy"), 0.9),
    ]
    best = float(whole.history["test accuracy"].max())
    if whole.cut:
        return [*checks, reported("H4 best test accuracy, cut", best)]
    return [
        *checks,
        at_least("H4 validation accuracy at k = 1000", whole.at(1000, "accuracy"), 0.94),
        within("H4 best test accuracy", best, 0.8, 0.82),
    ]


def without_headers(bare: Learned) -> list[Check]:
    """The lower accuracies where headers, footers and quotes are removed."""
    measured = {200: (0.724, 0.622), 400: (0.771, 0.642)}
    checks = []
    for k, levels in measured.items():
        for name, level in zip(("accuracy", "test accuracy"), levels, strict=True):
            label = f"headers removed: {name} at k = {k}"
            checks.append(within(label, bare.at(k, name), level - 0.02, level + 0.02))
    return checks


def ordered(name: str, runs: dict[str, Learned], step: int, margin: float) -> list[Check]:
    """H2, H5: by the validation loss at equal steps."""
    methods = ("amigo_cg", "amigo_gd", "aid_gd", "aid_fp", "aid_n", "itd")
    loss = {method: runs[method].at(step, "loss") for method in methods if method in runs}
    gd = loss["amigo_gd"]
    checks = [
        at_most(f"{name} loss of AmIGO-CG above AmIGO-GD's", loss["amigo_cg"] - gd, 0 - margin),
        at_most(f"{name} loss of AmIGO-GD above AID-GD's", gd - loss["aid_gd"], 0),
    ]
    return checks + [
        at_most(f"{name} loss of AmIGO-GD above {method}'s", gd - loss[method], 1e-3)
        for method in ("aid_fp", "aid_n", "itd")
        if method in loss
    ]


def ahead(found: Mapping[str, Errors]) -> list[Check]:
    """H3: at the x and y of a run on all rows, the carried adjoint gives a hypergradient nearer
    to the exact one than as many steps from zero. `found`: by the carried one's method."""
    checks = []
    for method, after in found.items():
        name = method.removeprefix("amigo_").upper()
        for k, (own, other) in after.items():
            checks += [
                at_most(f"H3 AmIGO-{name} / AID-{name} in error, k = {k}", own / other, 0.9999),
                reported(f"H3 relative error of AmIGO-{name}, k = {k}", own),
            ]
    return checks


def errors(rows: Posts, method: str, seed: int) -> Errors:
    """Of the carried adjoint of a method, and of one from zero, after some outer steps."""
    task = penalised_logistic(rows.train, rows.valid)
    found, x, state = {}, jnp.zeros_like(task.x0), None
    run = lambda **k: minimize(task.problem, algorithm(method, rows.step_size, None), **k)
    start = {"x0": x, "y0": task.y0, "key": jax.random.key(seed)}
    done = 0
    for k in _STEPS:
        before = run(num_steps=k - 1 - done, **(start if state is None else {"state": state}))
        after = run(num_steps=1, state=before.state)
        state, done = after.state, k
        system = Adjoint.at(rows, before.x, after.y)
        exact = system.gradient(system.conjugate_gradient(3000, after.adjoint, 1e-5))
        other = (
            system.descent(_COUNT, _BETA)
            if method == "amigo_gd"
            else system.conjugate_gradient(_COUNT)
        )
        found[k] = tuple(system.distance(z, exact) for z in (after.adjoint, other))
    return found
